from __future__ import annotations

import hashlib

import numpy as np
import pytest

from deepfake_tf.data.examples import Examples, concatenate, select_split, split_validation
from deepfake_tf.data.pipeline import DecodedImages
from tests.images import encode, photograph


def make_examples(names, labels, splits=None, notes=()):
    files = [f"/data/{name}" for name in names]
    return Examples(names, np.array(labels, np.int64), files, splits or [""] * len(names), notes)


def make_digests(contents):
    return [hashlib.sha256(str(content).encode()).digest() for content in contents]


def test_take_and_counts():
    examples = make_examples(["a", "b", "c"], [0, 1, 1], ["train", "train", "test"])
    part = examples.take(np.array([2, 0]))
    assert part.names == ["c", "a"]
    assert part.files == ["/data/c", "/data/a"]
    assert part.splits == ["test", "train"]
    np.testing.assert_array_equal(part.labels, [1, 0])
    assert examples.counts() == {"REAL": 1, "FAKE": 2}
    assert len(part) == 2
    assert len(examples.take(np.array([], np.int64))) == 0


def test_concatenate_keeps_names_that_do_not_clash():
    both = concatenate([make_examples(["a"], [0], notes=("one",)), make_examples(["b", "c"], [1, 0], notes=("two",))])
    assert both.names == ["a", "b", "c"]
    np.testing.assert_array_equal(both.labels, [0, 1, 0])
    assert both.notes == ("one", "two")


def test_concatenate_tells_equal_names_apart():
    both = concatenate([make_examples(["a", "b"], [0, 0]), make_examples(["a"], [1])])
    assert both.names == ["0:a", "0:b", "1:a"]
    assert both.files == ["/data/a", "/data/b", "/data/a"]


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
def test_split_holds_out_the_fraction_of_each_class(fraction):
    labels = np.array([0] * 600 + [1] * 200)
    training, validation = split_validation(labels, make_digests(range(800)), fraction, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(800))
    assert np.all(np.diff(training) > 0)
    assert np.all(np.diff(validation) > 0)
    assert np.sum(labels[validation] == 0) == pytest.approx(600 * fraction, abs=1)
    assert np.sum(labels[validation] == 1) == pytest.approx(200 * fraction, abs=1)


def test_split_keeps_equal_images_together():
    contents = np.random.default_rng(0).integers(0, 300, 1000)  # most stand there several times
    labels = contents % 2
    training, validation = split_validation(labels, make_digests(contents), 0.2, seed=0)
    assert set(contents[training]).isdisjoint(contents[validation])
    assert len(validation) == pytest.approx(200, abs=20)


def test_split_follows_from_content_and_seed_not_from_order():
    contents, labels = np.arange(200), np.arange(200) % 2
    order = np.random.default_rng(0).permutation(200)
    _, validation = split_validation(labels, make_digests(contents), 0.3, seed=5)
    _, shuffled = split_validation(labels[order], make_digests(contents[order]), 0.3, seed=5)
    _, other_seed = split_validation(labels, make_digests(contents), 0.3, seed=6)
    assert set(contents[validation]) == set(contents[order][shuffled])
    assert set(validation) != set(other_seed)


def random_images(count, splits=None):
    files = [encode(photograph(8, 8, seed), "PNG") for seed in range(count)]
    names = [f"{index}.png" for index in range(count)]
    return DecodedImages(Examples(names, np.arange(count) % 2, files, splits or [""] * count))


def test_splits_are_those_of_training():
    splits = ["test", ""] * 20
    images = random_images(40, splits)
    images.examples.labels[:] = np.arange(40) // 2 % 2  # both classes in both splits
    test = select_split(images, "test", 0.3, split_seed=0)
    assert test.examples.names == images.examples.names[::2]
    validation = select_split(images, "validation", 0.3, split_seed=0)
    assert set(validation.examples.splits) == {""}
    assert validation.examples.counts() == {"REAL": 3, "FAKE": 3}
    assert select_split(images, "validation", 0.3, split_seed=1).examples.names != validation.examples.names


def test_missing_or_unknown_split_is_an_error():
    images = random_images(4)
    with pytest.raises(ValueError, match="no test images: 4 images, marked test: 0"):
        select_split(images, "test", 0.2, split_seed=0)
    with pytest.raises(ValueError, match="split='train'"):
        select_split(images, "train", 0.2, split_seed=0)
