import numpy as np
import pytest
from PIL import Image

from deepfake_tf.audit.shortcuts import check_metadata, check_statistics
from deepfake_tf.audit.survey import read_all
from deepfake_tf.data.examples import Examples
from tests.images import encode

COUNT = 120


def noise(seed: int, size: tuple[int, int] = (24, 24), blue: float = 0) -> Image.Image:
    """Width x height pixels; `blue` is added to that channel."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(128 + rng.normal(0, 10), 30, (size[1], size[0], 3)) + np.array([0, 0, blue])
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def run(check, encode_one):
    """`encode_one(seed, is_fake)` makes the encoded image."""
    labels = np.arange(COUNT) % 2
    files = [encode_one(seed, bool(label)) for seed, label in enumerate(labels)]
    return check(labels, read_all(Examples(list(map(str, range(COUNT))), labels, files, [""] * COUNT)))


@pytest.mark.parametrize("check", [check_metadata, check_statistics])
def test_nothing_planted(check):
    found = run(check, lambda seed, is_fake: encode(noise(seed), "JPEG", quality=90))
    assert found.verdict == "ok"
    assert 0.3 < found.details["auc"] < 0.7
    assert found.remedy == ""


def test_png_fakes_and_jpeg_photographs_stop():
    found = run(check_metadata, lambda seed, is_fake: encode(noise(seed), "PNG" if is_fake else "JPEG"))
    assert found.verdict == "stop"
    assert found.details["auc"] > 0.99
    assert "REAL: 100% JPEG; FAKE: 100% PNG" in found.finding
    assert "one format" in found.remedy


@pytest.mark.parametrize(
    ("encode_one", "feature"),
    [
        (lambda s, fake: encode(noise(s), "JPEG", quality=95 if fake else 75), "quantisation tables"),
        (lambda s, fake: encode(noise(s), "JPEG", subsampling=0 if fake else 2), "chroma subsampling"),
        (lambda s, fake: encode(noise(s, (24, 32) if fake else (24, 24)), "PNG"), "height"),
        (lambda s, fake: encode(noise(s), "JPEG", **({} if fake else {"icc_profile": b"profile"})), "ICC profile"),
        (lambda s, fake: encode(noise(s), "JPEG", **({} if fake else {"exif": camera()})), "EXIF"),
    ],
)
def test_each_kind_of_metadata_stops(encode_one, feature):
    found = run(check_metadata, encode_one)
    assert found.verdict == "stop"
    assert found.details["auc_of_each_alone"][feature] > 0.99
    assert found.remedy


def camera() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    return exif


def test_half_a_shortcut_is_worth_a_look():
    kind = lambda seed, fake: "PNG" if fake and seed % 4 == 1 else "JPEG"  # every second fake
    found = run(check_metadata, lambda seed, fake: encode(noise(seed), kind(seed, fake)))
    assert found.verdict == "look"
    assert 0.7 < found.details["auc"] < 0.9


def test_a_colour_cast_is_said():
    found = run(check_statistics, lambda seed, fake: encode(noise(seed, blue=60 if fake else 0), "PNG"))
    assert found.verdict == "look"
    assert found.details["auc"] > 0.95
    assert "blue mean" in found.finding


def test_too_few_images_are_not_judged():
    labels = np.array([0] * 20 + [1] * 9)
    files = [encode(noise(seed), "PNG" if label else "JPEG") for seed, label in enumerate(labels)]
    readings = read_all(Examples(list(map(str, range(29))), labels, files, [""] * 29))
    for check in (check_metadata, check_statistics):
        found = check(labels, readings)
        assert found.verdict == "look"
        assert "'FAKE': 9" in found.finding
