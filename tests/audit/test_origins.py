import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deepfake_tf.audit.origins import check_origins
from deepfake_tf.data.examples import Examples
from tests.images import encode, photograph

COUNT = 40


def plain(seed: int) -> bytes:
    return encode(photograph(16, 16, seed), "PNG")


def with_prompt(seed: int) -> bytes:
    text = PngInfo()
    text.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: sd15")
    return encode(photograph(16, 16, seed), "PNG", pnginfo=text)


def from_camera(seed: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "EOS 5D"
    exif.get_ifd(0x8769)[0x829A] = 0.01  # seconds of exposure
    return encode(photograph(16, 16, seed), "JPEG", exif=exif)


def run(make_real, make_fake):
    labels = np.arange(COUNT) % 2
    files = [(make_fake if label else make_real)(seed) for seed, label in enumerate(labels)]
    examples = Examples(list(map(str, range(COUNT))), labels, files, [""] * COUNT)
    return check_origins(examples, np.ones(COUNT, bool))


def test_nothing_planted():
    found = run(plain, plain)
    assert found.verdict == "ok"
    assert "none says how it came to be" in found.finding
    assert found.remedy == ""


@pytest.mark.parametrize(
    ("make_real", "make_fake", "said"),
    [
        (plain, with_prompt, "100.0% of FAKE say that they were generated"),
        (from_camera, plain, "100.0% of REAL name a camera"),
        (plain, lambda seed: with_prompt(seed) if seed % 4 == 1 else plain(seed), "50.0% of FAKE say"),
    ],
)
def test_metadata_that_give_the_label_away_are_said(make_real, make_fake, said):
    found = run(make_real, make_fake)
    assert found.verdict == "look"
    assert said in found.finding
    assert "Strip the metadata" in found.remedy


@pytest.mark.parametrize(("make_real", "make_fake"), [(with_prompt, plain), (plain, from_camera)])
def test_metadata_that_contradict_the_label_are_said(make_real, make_fake):
    found = run(make_real, make_fake)
    assert found.verdict == "look"
    assert "contradict" in found.remedy


def test_shares_are_of_each_class():
    shares = run(from_camera, with_prompt).details["shares"]
    assert shares["REAL"] == {"generated": 0.0, "ai_edited": 0.0, "captured": 1.0}
    assert shares["FAKE"] == {"generated": 1.0, "ai_edited": 0.0, "captured": 0.0}
