import numpy as np
import pytest

from deepfake_tf.audit.files import check_files
from deepfake_tf.audit.survey import read_all
from deepfake_tf.data.examples import Examples
from tests.images import encode, photograph, png_that_claims


def check(files: dict):
    examples = Examples(list(files), np.arange(len(files)) % 2, list(files.values()), [""] * len(files))
    return check_files(examples, read_all(examples, thorough=False))


def good_files(count: int = 40) -> dict:
    return {f"{seed}.png": encode(photograph(16, 16, seed), "PNG") for seed in range(count)}


def animation() -> bytes:
    return encode(photograph(16, 16, 0), "GIF", save_all=True, append_images=[photograph(16, 16, 1)])


def test_nothing_planted():
    found = check(good_files())
    assert found.verdict == "ok"
    assert found.details["faults"] == {}
    assert found.remedy == ""


@pytest.mark.parametrize(
    ("name", "make", "fault"),
    [
        ("missing.png", lambda: "/nowhere/missing.png", "missing"),
        ("empty.png", lambda: b"", "empty"),
        ("text.png", lambda: b"no image at all", "unreadable"),
        ("cut.jpg", lambda: encode(photograph(64, 64, 0), "JPEG")[:600], "truncated"),
        ("bomb.png", lambda: png_that_claims(30_000, 30_000), "too large"),
        ("large.png", lambda: png_that_claims(8_100, 8_000), "too large"),
        ("moves.gif", animation, "animated"),
        ("strip.png", lambda: encode(photograph(200, 16, 0), "PNG"), "absurd shape"),
        ("dot.png", lambda: encode(photograph(1, 1, 0), "PNG"), "absurd shape"),
        ("liar.jpg", lambda: encode(photograph(16, 16, 99), "PNG"), "extension lies"),
    ],
)
def test_one_fault_is_found_and_named(name, make, fault):
    found = check(good_files() | {name: make()})
    assert found.verdict == "look"
    assert list(found.details["faults"]) == [fault]
    assert [row["file"] for row in found.details["faults"][fault]] == [name]
    assert fault in found.finding
    assert found.remedy


def test_many_unreadable_files_stop():
    assert check(good_files(10) | {"empty.png": b""}).verdict == "stop"


def test_byte_copies_are_counted():
    files = good_files()
    found = check(files | {"copy.png": files["0.png"]})
    assert found.details["byte_copies"] == 1
    assert found.verdict == "ok"
