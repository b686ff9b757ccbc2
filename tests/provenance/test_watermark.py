"""The invisible watermark: what the reference encoder wrote is read, what it did not write is not."""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deepfake_tf.provenance import inspect
from deepfake_tf.provenance.watermark import FALSE_ALARMS, find_watermark, matching_bits_needed
from deepfake_tf.samples import write_samples
from tests.provenance.marking import mark
from tests.provenance.metadata_files import PARAMETERS

HERE = Path(__file__).parent
PROGRAMS = ["Stable Diffusion 1", "Stable Diffusion 2", "Stable Diffusion XL", "FLUX"]


def encoded(pixels: np.ndarray, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


def found_in(content: bytes) -> str:
    with Image.open(io.BytesIO(content)) as image:
        found = find_watermark(image)
    return found.program if found else ""


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> np.ndarray:
    """uint8 [424, 640, 3]: a sample photograph."""
    paths = {path.name: path for path in write_samples(tmp_path_factory.mktemp("samples"))}
    with Image.open(paths["china.jpg"]) as image:
        return np.asarray(image.convert("RGB"))[:424]


@pytest.mark.parametrize(
    ("name", "program"),
    [("stable_diffusion_1", "Stable Diffusion 1"), ("stable_diffusion_xl", "Stable Diffusion XL")],
)
def test_what_the_reference_package_wrote_is_read_bit_by_bit(name, program):
    with Image.open(HERE / f"reference_marked_{name}.webp") as image:
        found = find_watermark(image)
    assert found is not None
    assert found.program == program
    assert found.matching == found.bits


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_marked_photograph_is_recognised(photograph, program):
    assert found_in(encoded(mark(photograph, program))) == program


def test_with_the_colours_in_the_other_order(photograph):
    assert found_in(encoded(mark(photograph, "Stable Diffusion XL", swapped=True))) == "Stable Diffusion XL"


@pytest.mark.parametrize("program", ["Stable Diffusion 1", "Stable Diffusion XL", "FLUX"])
@pytest.mark.parametrize("quality", [95, 90, 80])
def test_after_jpeg_with_whole_chroma(photograph, program, quality):
    marked = mark(photograph, program)
    assert found_in(encoded(marked, "JPEG", quality=quality, subsampling=0)) == program


@pytest.mark.parametrize("size", [(640, 424), (637, 421), (420, 424)])
def test_of_a_jpeg_that_halves_chroma_the_stored_chroma_is_read(photograph, size):
    width, height = size
    marked = mark(photograph[:height, :width], "Stable Diffusion XL")
    content = encoded(marked, "JPEG", quality=95, subsampling=2)
    assert found_in(content) == "Stable Diffusion XL"
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # a picture that was decoded already is taken as it is
        find_watermark(image)


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "L", "1", "I;16", "F"])
def test_any_mode_is_looked_at(photograph, mode):
    marked = Image.fromarray(mark(photograph, "Stable Diffusion 1"))
    image = marked.convert("L").convert("I").convert(mode) if mode == "I;16" else marked.convert(mode)
    assert bool(find_watermark(image)) == (mode in ("RGBA", "CMYK"))  # the mark is in the colours


def test_nothing_is_found_where_nothing_is(photograph):
    assert found_in(encoded(photograph)) == ""
    chance = np.random.default_rng(1)
    for pixels in (
        np.zeros((512, 512, 3), np.uint8),
        np.full((512, 512, 3), 255, np.uint8),
        chance.integers(0, 256, (512, 512, 3), np.uint8),
        np.tile(np.arange(512, dtype=np.uint8)[None, :, None], (512, 1, 3)),
        np.kron(chance.integers(0, 256, (64, 64, 3), np.uint8), np.ones((8, 8, 1), np.uint8)),
    ):
        assert found_in(encoded(pixels)) == ""


@pytest.mark.parametrize("shape", [(1, 65536), (65536, 1), (7, 20000), (20000, 9), (255, 256), (32, 32), (2056, 2056)])
def test_sizes_that_no_encoder_writes(shape):
    assert found_in(encoded(np.zeros((*shape, 3), np.uint8))) == ""


@pytest.mark.parametrize("side", [512, 1024])
def test_tiles_and_stripes_have_no_mark(side):
    """Their rhythm is one that the letters of a text have too."""
    chance = np.random.default_rng(0)
    alarms = []
    for _ in range(60):
        stripes = np.tile(chance.integers(0, 256, (1, 64, 3), np.uint8), (side, side // 64, 1))
        tiles = np.tile(chance.integers(0, 256, (64, 64, 3), np.uint8), (side // 64, side // 64, 1))
        alarms += [find_watermark(Image.fromarray(pixels)) for pixels in (stripes, tiles)]
    assert not any(alarms)


@pytest.mark.parametrize(
    ("bits", "ones"), [(136, (0, 16, 14, 6, 5, 10, 8, 9)), (136, (68,)), (48, (27,)), (46, (28,)), (32, (13,))]
)
def test_the_bound_on_false_alarms(bits, ones):
    """By chance: random bits, as many of them 1 as in the message; five messages, two readings."""
    needed = matching_bits_needed(bits, ones)
    size = bits // len(ones)
    chances = np.ones(1)  # that so many ones are read right
    for count in ones:
        ways = [math.comb(count, right) * math.comb(size - count, count - right) for right in range(count + 1)]
        chances = np.convolve(chances, np.array(ways, float) / math.comb(size, count))
    fewest = sum(ones) - (bits - needed) // 2
    assert 10 * chances[fewest:].sum() <= FALSE_ALARMS
    assert 10 * chances[fewest - 1 :].sum() > FALSE_ALARMS  # and no more are asked for than that
    assert bits / 2 < needed < bits


def test_votes_by_chance_match_as_often_as_assumed():
    """Messages that no image knows, against the votes of noise: the distribution that the bound is computed from."""
    chance = np.random.default_rng(3)
    votes = chance.standard_normal((20_000, 48)) + chance.standard_normal((20_000, 1))  # with something in common
    message = np.arange(48) < 27
    right = message[votes.argsort(axis=1)[:, -27:]].sum(axis=1)
    expected = np.array([math.comb(27, x) * math.comb(21, 27 - x) / math.comb(48, 27) for x in range(28)])
    np.testing.assert_allclose(np.bincount(right, minlength=28) / 20_000, expected, atol=0.015)


@pytest.mark.real_data
def test_nothing_is_found_in_real_photographs(shared):
    with tarfile.open(shared / "data" / "photographs.tar") as archive:
        names = [name for name in archive.getnames() if "/REAL/" in name][::20]
        found = [found_in(archive.extractfile(name).read()) for name in names]
    assert len(found) > 100
    assert not any(found)


def test_inspect_reports_the_mark(photograph):
    report = inspect(encoded(mark(photograph, "Stable Diffusion 1")))
    [finding] = report.findings
    assert (finding.source, finding.strength, finding.says) == ("watermark", "watermark", "generated")
    assert "Stable Diffusion 1" in finding.statement
    assert finding.raw.endswith("of 136 bits")
    assert report.summary == finding.statement
    assert inspect(encoded(mark(photograph, "Stable Diffusion 1")), check_watermark=False).findings == ()


def test_the_mark_stands_behind_what_the_file_declares(photograph):
    information = PngInfo()
    information.add_text("parameters", PARAMETERS)
    report = inspect(encoded(mark(photograph, "Stable Diffusion 1"), pnginfo=information))
    assert [finding.strength for finding in report.findings] == ["declared", "watermark"]
    assert "Stable Diffusion 1" in report.summary


def test_a_picture_that_is_cut_off_has_no_mark(photograph):
    content = encoded(mark(photograph, "Stable Diffusion 1"))
    assert inspect(content[: len(content) // 2]).findings == ()
