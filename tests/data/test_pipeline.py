from __future__ import annotations

import dataclasses
import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.data import pipeline
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.folders import load_folders
from deepfake_tf.data.pipeline import DecodedImages, evaluation_batches, training_batches
from deepfake_tf.detectors.cifake.config import TrainingConfig

IMAGE_SIZE = 32
AUGMENTED = TrainingConfig(image_size=IMAGE_SIZE, batch_size=4, shift=0.1, contrast=0.2, seed=7)
PLAIN = dataclasses.replace(AUGMENTED, flip=False, rotation_degrees=0.0, shift=0.0, brightness=0.0, contrast=0.0)


def encode(pixels: np.ndarray, image_format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, image_format)
    return stream.getvalue()


def make_examples(files, labels=None) -> Examples:
    labels = np.arange(len(files)) % 2 if labels is None else np.array(labels)
    return Examples([f"{i}" for i in range(len(files))], labels.astype(np.int64), files, [""] * len(files))


@pytest.fixture
def decoded():
    """Ten images of 32 x 32 pixels in one grey each, by which they are recognised: 0, 20, 40, ... 180."""
    files = [encode(np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 20 * index, np.uint8)) for index in range(10)]
    return DecodedImages(make_examples(files), IMAGE_SIZE)


def take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def indices_of(pixels):
    """Which of the images of `decoded` these are."""
    return np.rint((pixels[:, 0, 0, 0] + 1.0) * 127.5 / 20).astype(int)


def assert_same_batches(received, expected):
    assert len(received) == len(expected)
    for (pixels, targets), (expected_pixels, expected_targets) in zip(received, expected):
        np.testing.assert_array_equal(pixels, expected_pixels)
        np.testing.assert_array_equal(targets, expected_targets)


def test_an_epoch_is_every_image_once_in_another_order_each_time(decoded):
    batches = take(training_batches(decoded, PLAIN), 6)
    assert [len(pixels) for pixels, _ in batches] == [4, 4, 2, 4, 4, 2]
    first, second = (np.concatenate([indices_of(pixels) for pixels, _ in part]) for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    for pixels, targets in batches:
        np.testing.assert_array_equal(targets[:, 0], indices_of(pixels) % 2)


def test_targets_stand_in_place_of_the_labels(decoded):
    batches = take(training_batches(decoded, PLAIN, targets=np.linspace(0, 0.9, 10, dtype=np.float32)), 3)
    for pixels, targets in batches:
        np.testing.assert_allclose(targets[:, 0], indices_of(pixels) / 10, atol=1e-6)


def test_batches_have_the_documented_types_and_ranges(decoded):
    for dataset in (training_batches(decoded, AUGMENTED), evaluation_batches(decoded, 4)):
        (pixels, targets), *_ = take(dataset, 1)
        assert pixels.shape == (4, IMAGE_SIZE, IMAGE_SIZE, 3)
        assert targets.shape == (4, 1)
        assert pixels.dtype == targets.dtype == np.float32
        assert pixels.min() >= -1.0
        assert pixels.max() <= 1.0
        assert dataset.element_spec[0].shape.as_list() == [None, IMAGE_SIZE, IMAGE_SIZE, 3]


def test_same_seed_same_batches(decoded):
    assert_same_batches(take(training_batches(decoded, AUGMENTED), 5), take(training_batches(decoded, AUGMENTED), 5))
    other = dataclasses.replace(AUGMENTED, seed=8)
    assert not np.array_equal(
        take(training_batches(decoded, AUGMENTED), 1)[0][0], take(training_batches(decoded, other), 1)[0][0]
    )


@pytest.mark.parametrize("first_step", [1, 2, 3, 4, 6])
def test_resumed_run_goes_on_where_it_was_cut(decoded, first_step):
    whole = take(training_batches(decoded, AUGMENTED), 9)  # three epochs of three batches
    resumed = take(training_batches(decoded, AUGMENTED, first_step), 9 - first_step)
    assert_same_batches(resumed, whole[first_step:])


def test_degraded_batches_follow_from_the_seed():
    images = np.random.default_rng(0).integers(0, 256, (8, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    decoded = DecodedImages(make_examples([encode(image) for image in images]), IMAGE_SIZE)
    degraded = dataclasses.replace(PLAIN, degradation=1.0)
    first, again, clean = (take(training_batches(decoded, c), 1)[0][0] for c in (degraded, degraded, PLAIN))
    np.testing.assert_array_equal(first, again)
    assert (np.abs(first - clean).mean(axis=(1, 2, 3)) > 1 / 255).all()


def test_evaluation_is_in_order_and_unchanged(decoded):
    batches = take(evaluation_batches(decoded, 4), 100)
    assert [len(pixels) for pixels, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([indices_of(pixels) for pixels, _ in batches]), range(10))
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in batches])[:, 0], np.arange(10) % 2)


@pytest.mark.parametrize("sizes", [[(20, 30)] * 4, [(20, 30), (20, 30), (32, 32), (50, 8)]])
def test_images_that_do_not_fit_into_memory_give_the_same_batches(sizes, monkeypatch):
    rng = np.random.default_rng(0)
    files = [encode(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]
    cached = DecodedImages(make_examples(files), IMAGE_SIZE)
    monkeypatch.setattr(pipeline, "CACHE_BYTES", 0)
    uncached = DecodedImages(make_examples(files), IMAGE_SIZE)
    assert cached.pixels is not None
    assert uncached.pixels is None
    assert cached.digests == uncached.digests
    assert_same_batches(take(evaluation_batches(uncached, 3), 9), take(evaluation_batches(cached, 3), 9))
    assert_same_batches(take(training_batches(uncached, AUGMENTED), 3), take(training_batches(cached, AUGMENTED), 3))
    np.testing.assert_array_equal(cached.sizes, sizes)


def test_digests_tell_pixels_not_files_apart():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 4, 3), np.uint8)
    files = [encode(pixels), encode(pixels, "BMP"), encode(pixels.reshape(4, 8, 3)), encode(255 - pixels)]
    first, same, other_shape, other_pixels = DecodedImages(make_examples(files), IMAGE_SIZE).digests
    assert first == same
    assert len({first, other_shape, other_pixels}) == 3


def test_unreadable_images_are_left_out_and_named(write_images):
    root = write_images({"REAL": 3, "FAKE": 3})
    (root / "REAL" / "1.png").write_bytes(b"not an image")
    (root / "FAKE" / "0.png").write_bytes(b"")
    examples = load_folders(root)
    images = DecodedImages(examples, IMAGE_SIZE)
    assert set(images.errors) == {"REAL/1.png", "FAKE/0.png"}
    assert all(images.errors.values())
    assert not re.search(r"[{}]|node|Op:", " ".join(images.errors.values()))
    assert list(images.examples.names) == ["FAKE/1.png", "FAKE/2.png", "REAL/0.png", "REAL/2.png"]
    np.testing.assert_array_equal(images.examples.labels, [1, 1, 0, 0])
    assert len(images) == len(images.pixels) == len(images.digests) == len(images.sizes) == 4


def test_paths_and_bytes_side_by_side(write_images):
    root = write_images({"images": 1}, size=(5, 3))
    on_disk = (root / "images" / "0.png").read_bytes()
    black = encode(np.zeros((3, 5, 3), np.uint8), "BMP")  # ends in zeros, which a C string would lose
    images = DecodedImages(make_examples([str(root / "images" / "0.png"), on_disk, black]), IMAGE_SIZE)
    assert images.errors == {}
    np.testing.assert_array_equal(images.pixels[0], images.pixels[1])
    assert images.pixels[2].max() == 0


def test_take(decoded):
    part = decoded.take(np.array([7, 2]))
    assert part.examples.names == ["7", "2"]
    assert part.digests == [decoded.digests[7], decoded.digests[2]]
    ((pixels, _),) = take(evaluation_batches(part, 4), 9)
    np.testing.assert_array_equal(indices_of(pixels), [7, 2])
    assert len(decoded) == 10
