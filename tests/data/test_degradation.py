"""Degradation as training augmentation, held to Pillow and SciPy through the robustness battery's own changes."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_tf.data import degradation
from deepfake_tf.evaluation import changes
from tests.images import photograph

SIDE = 32


def images(count: int = 16, side: int = SIDE) -> np.ndarray:
    return np.stack([np.asarray(photograph(side, side, seed)) for seed in range(count)])


def by_matrix(matrix: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    pixels = np.einsum("nij,njwc->niwc", matrix, pixels.astype(np.float32))
    return np.clip(np.einsum("nij,nhjc->nhic", matrix, pixels), 0, 255)


def draws(kind: str, strength: float, count: int) -> np.ndarray:
    """Those that degrade every image by `kind`."""
    start = 0.0
    for name, (part, _) in degradation.KINDS.items():
        if name == kind:
            break
        start += part
    return np.tile(np.float32([0.0, start + 0.01, strength]), (count, 1))


@pytest.mark.parametrize("quality", [30, 50, 70, 90])
def test_jpeg_is_pillows(quality):
    def errors(pixels):
        ours = np.asarray(degradation.jpeg(pixels.astype(np.float32), np.full(len(pixels), quality, np.float32)))
        pillows = np.stack([changes.compress_jpeg(image, quality) for image in pixels])
        return np.abs(ours - pillows)

    grey = np.stack([changes.make_grey(image) for image in images()])
    assert np.median(errors(grey)) == 0
    assert errors(grey).mean() < 0.3  # grey levels
    # One tint an image: where chroma changes, libjpeg smooths it when it scales it up, and we do not.
    tints = np.random.default_rng(0).integers(0, 128, (16, 1, 1, 3), np.uint8)
    assert errors(grey // 2 + tints).mean() < 1.2  # libjpeg rounds chroma to whole levels in between


def test_jpeg_of_sides_that_16_does_not_divide():
    pixels = np.stack([changes.make_grey(image) for image in images(2, 45)]).astype(np.float32)
    assert np.abs(np.asarray(degradation.jpeg(pixels, np.float32([95, 95]))) - pixels).mean() < 2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_scipys(sigma):
    pixels = images()
    matrix = np.asarray(degradation.blur_matrix(SIDE, np.full(len(pixels), sigma, np.float32)))
    scipys = np.stack([changes.blur(image, sigma) for image in pixels])
    assert np.abs(by_matrix(matrix, pixels) - scipys).max() < 0.6  # rounding


@pytest.mark.parametrize("factor", [0.5, 0.75, 0.9])
def test_resize_is_pillows(factor):
    pixels = images()
    matrix = np.asarray(degradation.resize_matrix(SIDE, np.full(len(pixels), factor, np.float32)))
    pillows = np.stack([changes.resize_and_back(image, factor) for image in pixels])
    assert np.abs(by_matrix(matrix, pixels) - pillows).mean() < 1.0  # Pillow rounds and clips between its steps


@pytest.mark.parametrize("kind", degradation.KINDS)
def test_each_kind_changes_every_image_and_its_share_is_kept(kind):
    pixels = images().astype(np.float32)
    noise = np.random.default_rng(0).normal(size=pixels.shape).astype(np.float32)
    changed = np.asarray(degradation.degrade(pixels, draws(kind, 0.9, len(pixels)), noise, share=0.5))
    assert (np.abs(changed - pixels).mean(axis=(1, 2, 3)) > 0.5).all()
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert (changed == np.rint(changed)).all()
    if kind == "greyscale":
        np.testing.assert_array_equal(changed[..., 0], changed[..., 2])
    spared = draws(kind, 0.9, len(pixels)) + np.float32([0.6, 0, 0])  # beyond the share
    np.testing.assert_array_equal(degradation.degrade(pixels, spared, noise, share=0.5), pixels)


def test_kinds_cover_the_share():
    assert sum(part for part, _ in degradation.KINDS.values()) == pytest.approx(1.0)
