import dataclasses
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.audit.duplicates import check_exact_duplicates, check_near_duplicates
from deepfake_tf.audit.neighbours import near_pairs
from deepfake_tf.audit.survey import read_all
from deepfake_tf.data.examples import Examples
from tests.images import encode, photograph

COUNT = 300


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [encode(photograph(48, 48, seed), "PNG") for seed in range(COUNT)]


def make(files, labels=None, splits=None) -> Examples:
    labels = np.arange(len(files)) % 2 if labels is None else np.array(labels)
    return Examples([f"{i}.png" for i in range(len(files))], labels, files, splits or [""] * len(files))


def run(check, examples, second=0):
    is_second = np.arange(len(examples)) >= len(examples) - second
    return check(examples, read_all(examples), is_second)


def jpeg_copy(encoded: bytes) -> bytes:
    import io

    return encode(Image.open(io.BytesIO(encoded)).convert("RGB").resize((40, 40)), "JPEG", quality=80)


@pytest.mark.parametrize("check", [check_exact_duplicates, check_near_duplicates])
def test_nothing_planted(check, pictures):
    found = run(check, make(pictures, splits=["train", "train", "test"] * (COUNT // 3)))
    assert found.verdict == "ok"
    assert "none" in found.finding
    assert found.remedy == ""


def test_exact_duplicate_inside_a_class(pictures):
    found = run(check_exact_duplicates, make([*pictures, pictures[0]]))  # position 300 and 0: both REAL
    assert found.verdict == "look"
    assert found.details["groups_inside"] == {"REAL": 1, "FAKE": 0}
    assert found.details["inside"]["REAL"] == [["0.png", "300.png"]]
    assert [list(row) for row in found.galleries[0].rows] == [[0, 300]]


def test_exact_duplicates_with_contradicting_labels(pictures):
    few = run(check_exact_duplicates, make([*pictures, pictures[1]]))  # FAKE at 1, REAL at 300
    assert few.verdict == "look"
    assert few.details["across_classes"] == [["1.png", "300.png"]]
    assert "contradict" in few.finding
    many = run(check_exact_duplicates, make(pictures * 2, labels=[0] * COUNT + [1] * COUNT))
    assert many.verdict == "stop"
    assert many.details["groups_across_classes"] == COUNT


def test_exact_duplicates_across_the_split(pictures):
    splits = ["train"] * (COUNT - 100) + ["test"] * 100
    leaking = [*pictures[:-10], *pictures[:10]]
    found = run(check_exact_duplicates, make(leaking, splits=splits))
    assert found.verdict == "stop"
    assert found.details["held_out_images_leaked"] == 10
    assert "leakage into the test split: 10 of 100 images held out (10.0%)" in found.finding


def test_exact_duplicates_in_a_second_source(pictures):
    second = [*pictures[-50:], pictures[0]]
    found = run(check_exact_duplicates, make([*pictures[:-50], *second], labels=[0] * (COUNT + 1)), second=51)
    assert found.details["groups_leaked"] == 1
    assert found.details["leaked"] == [["0.png", "300.png"]]
    assert found.verdict == "stop"  # 1 of 51
    assert "leakage into the second source: 1 of 51 images held out" in found.finding


def test_a_second_source_hides_no_leak_across_the_first_s_own_split(pictures):
    splits = ["train"] * 50 + ["test"] * 51 + [""] * (COUNT - 100)
    leaking = [*pictures[:100], pictures[0], *pictures[100:]]  # the second source holds nothing of the first
    found = run(check_exact_duplicates, make(leaking, labels=[0] * (COUNT + 1), splits=splits), second=COUNT - 100)
    assert found.verdict == "stop"
    assert "leakage into the test split: 1 of 51 images held out" in found.finding
    assert "second source" not in found.finding


@pytest.mark.parametrize(
    ("label", "split", "key"),
    [(1, "train", "across_classes"), (0, "test", "leaked")],
)
def test_near_duplicate_is_found(pictures, label, split, key):
    labels = [0] * COUNT + [label]
    found = run(check_near_duplicates, make([*pictures, jpeg_copy(pictures[7])], labels, ["train"] * COUNT + [split]))
    assert found.verdict == "look"
    assert found.details[key] == [["7.png", "300.png"]]


def test_equal_pictures_are_no_near_duplicates(pictures):
    assert run(check_near_duplicates, make([*pictures, *pictures[:20]])).verdict == "ok"


def test_unreadable_images_are_no_duplicates(pictures):
    found = run(check_exact_duplicates, make([*pictures, b"broken", b"broken"]))
    assert found.verdict == "ok"


def test_positions_survive_other_names(pictures):
    examples = dataclasses.replace(make([*pictures, pictures[0]]), names=[f"x/{i}" for i in range(COUNT + 1)])
    assert run(check_exact_duplicates, examples).details["inside"]["REAL"] == [["x/0", "x/300"]]


def test_near_pairs_equals_comparing_each_with_each():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, np.uint64)
    for bits in range(8):  # copies with 0 to 7 bits flipped
        for _ in range(10):
            flipped = sum(1 << int(bit) for bit in rng.choice(64, bits, replace=False))
            hashes = np.append(hashes, hashes[rng.integers(400)] ^ np.uint64(flipped))
    expected = {
        (i, j) for i, j in itertools.combinations(range(len(hashes)), 2) if int(hashes[i] ^ hashes[j]).bit_count() <= 4
    }
    assert set(map(tuple, near_pairs(hashes).tolist())) == expected


def test_near_pairs_of_thousands_of_like_hashes_costs_no_square():
    pairs = near_pairs(np.full(1_000, 7, np.uint64))
    assert 1_000 - 1 <= len(pairs) <= 1_000 * 64
    assert math.isclose(len(np.unique(pairs)), 1_000)


@pytest.mark.parametrize("count", [0, 1])
def test_near_pairs_of_too_few(count):
    assert near_pairs(np.zeros(count, np.uint64)).shape == (0, 2)


@pytest.mark.real_data
def test_cifake_has_its_920_groups(cifake_train):
    from deepfake_tf.audit.survey import read_all

    fakes = cifake_train.take(np.flatnonzero(cifake_train.labels == 1))
    found = check_exact_duplicates(fakes, read_all(fakes, thorough=False), np.zeros(len(fakes), bool))
    assert found.details["groups_inside"] == {"REAL": 0, "FAKE": 920}
    assert found.verdict == "look"
