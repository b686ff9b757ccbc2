from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf.data.augmentation import DRAWS_PER_IMAGE, augment
from deepfake_tf.detectors.cifake.config import TrainingConfig

NOTHING = {"flip": False, "rotation_degrees": 0.0, "shift": 0.0, "zoom": 0.0, "brightness": 0.0, "contrast": 0.0}
EVERYTHING = {"flip": True, "rotation_degrees": 30.0, "shift": 0.2, "brightness": 0.5, "contrast": 0.5}
FLIP, ROTATION, SHIFT_X, SHIFT_Y, ZOOM, BRIGHTNESS, CONTRAST = range(DRAWS_PER_IMAGE)
SIZE = 16


@pytest.fixture
def pixels():
    return np.random.default_rng(0).uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture
def random_draws():
    return np.random.default_rng(1).uniform(size=(5, DRAWS_PER_IMAGE)).astype(np.float32)


def run(pixels, draws, **ranges):
    return augment(tf.constant(pixels), tf.constant(draws), TrainingConfig(**(NOTHING | ranges))).numpy()


def draws_of(**values):
    """float32 [5, DRAWS_PER_IMAGE]: 0.5, the middle of each range, but for the draws named."""
    draws = np.full((5, DRAWS_PER_IMAGE), 0.5, np.float32)
    for name, value in values.items():
        draws[:, globals()[name]] = value
    return draws


def test_without_ranges_nothing_changes(pixels, random_draws):
    np.testing.assert_array_equal(run(pixels, random_draws), pixels)


def test_middle_of_every_range_changes_nothing(pixels):
    np.testing.assert_allclose(run(pixels, draws_of(), **EVERYTHING), pixels, rtol=0, atol=1e-3)


def test_flip_is_exact_and_of_half_the_images(pixels):
    draws = draws_of(FLIP=[0.0, 0.49, 0.5, 0.9, 1.0])
    flipped = run(pixels, draws, flip=True)
    np.testing.assert_array_equal(flipped[:2], pixels[:2, :, ::-1])
    np.testing.assert_array_equal(flipped[2:], pixels[2:])


@pytest.mark.parametrize(("draw", "turns"), [(1.0, 1), (0.0, -1), (0.5, 0)])
def test_rotation_about_the_centre(pixels, draw, turns):
    rotated = run(pixels, draws_of(ROTATION=draw), rotation_degrees=90.0)
    np.testing.assert_allclose(rotated, np.rot90(pixels, turns, axes=(1, 2)), rtol=0, atol=0.02)


def test_zoom_keeps_the_centre_and_cuts_the_sides(pixels):
    zoomed = run(pixels, draws_of(ZOOM=1.0), zoom=0.5)
    # Pixel 5 is 2.5 from the centre, 7.5, and shows what was at half that distance: 6.25, between 6 and 7.
    column = 0.75 * pixels[:, :, 6] + 0.25 * pixels[:, :, 7]
    expected = 0.75 * column[:, 6] + 0.25 * column[:, 7]
    np.testing.assert_allclose(zoomed[:, 5, 5], expected, rtol=0, atol=0.05)
    np.testing.assert_array_equal(run(pixels, draws_of(ZOOM=0.0), zoom=0.5), pixels)


def test_shift_mirrors_the_border(pixels):
    shifted = run(pixels, draws_of(SHIFT_X=1.0), shift=0.25)  # by 4 of 16 columns
    np.testing.assert_allclose(shifted[:, :, :12], pixels[:, :, 4:], rtol=0, atol=1e-3)
    np.testing.assert_allclose(shifted[:, :, 12:], pixels[:, :, :11:-1], rtol=0, atol=1e-3)
    up = run(pixels, draws_of(SHIFT_Y=1.0), shift=0.25)
    np.testing.assert_allclose(up[:, :12], pixels[:, 4:], rtol=0, atol=1e-3)


def test_brightness_adds_to_every_pixel(pixels):
    pixels = pixels * 0.5 + 50.0  # far from the limits
    brighter = run(pixels, draws_of(BRIGHTNESS=1.0), brightness=0.1)
    np.testing.assert_allclose(brighter, pixels + 25.5, rtol=0, atol=1e-3)


def test_contrast_keeps_the_mean(pixels):
    pixels = pixels * 0.5 + 50.0
    stronger = run(pixels, draws_of(CONTRAST=1.0), contrast=0.2)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(stronger, (pixels - mean) * 1.2 + mean, rtol=0, atol=1e-2)


def test_values_stay_in_range(pixels):
    for corner in (0.0, 1.0):
        changed = run(pixels, np.full((5, DRAWS_PER_IMAGE), corner, np.float32), **EVERYTHING | {"brightness": 1.0})
        assert changed.min() >= 0.0
        assert changed.max() <= 255.0
        assert changed.dtype == np.float32


def test_each_image_by_its_own_draws(pixels, random_draws):
    together = run(pixels, random_draws, **EVERYTHING)
    for index in range(5):
        alone = run(pixels[index : index + 1], random_draws[index : index + 1], **EVERYTHING)
        np.testing.assert_allclose(together[index], alone[0], rtol=0, atol=1e-3)
    assert not np.allclose(together, pixels)


def test_in_a_dataset_as_eagerly(pixels, random_draws):
    config = TrainingConfig(**EVERYTHING)
    dataset = tf.data.Dataset.from_tensors((pixels, random_draws)).map(lambda *batch: augment(*batch, config))
    (in_dataset,) = dataset.as_numpy_iterator()
    np.testing.assert_allclose(in_dataset, run(pixels, random_draws, **EVERYTHING), rtol=0, atol=1e-3)
