import numpy as np
import pytest
from PIL import Image

from deepfake_tf.detectors.photograph.views import central_view
from deepfake_tf.training.photograph.random_views import random_view


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colour with a little grain, uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8)).resize((width, height), 3)
    return np.clip(np.asarray(coarse) + generator.integers(-4, 5, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 451), (451, 300), (224, 224), (500, 500), (200, 900), (3, 7)])
def test_the_central_square_is_seen(height, width):
    pixels = picture(height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    expected = Image.fromarray(pixels[top : top + side, left : left + side]).resize((224, 224), Image.BICUBIC)
    view = central_view(pixels)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view, np.asarray(expected))


def test_nothing_outside_the_square_is_seen():
    pixels = picture(300, 500)
    changed = pixels.copy()
    changed[:, :100], changed[:, 400:] = 0, 255
    np.testing.assert_array_equal(central_view(changed), central_view(pixels))


def test_a_view_of_its_own_size_is_unchanged():
    pixels = picture(224, 224)
    np.testing.assert_array_equal(central_view(pixels), pixels)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="uint8"):
        central_view(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="float"):
        central_view(np.zeros((5, 5, 3)))


def test_random_views_repeat_and_differ():
    pixels = picture(336, 420)
    first = random_view(pixels, "a.jpg", 1)
    assert first.shape == (224, 224, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(random_view(pixels, "a.jpg", 1), first)
    assert np.any(random_view(pixels, "a.jpg", 2) != first)
    assert np.any(random_view(pixels, "b.jpg", 1) != first)


@pytest.mark.parametrize(("height", "width"), [(120, 120), (200, 640), (2000, 1500)])
def test_random_views_of_any_size_keep_the_picture(height, width):
    pixels = picture(height, width)
    mean = pixels.reshape(-1, 3).mean(0)
    for copy in range(1, 7):
        view = random_view(pixels, "x", copy).astype(float)
        assert np.abs(view.reshape(-1, 3).mean(0) - mean).max() < 60  # a crop of the same picture, not another
        assert view.std() > 5


def test_half_of_the_random_views_are_mirrored():
    ramp = np.repeat(np.tile(np.linspace(0, 255, 336, dtype=np.uint8)[None, :, None], (336, 1, 3)), 1, 0)
    mirrored = [random_view(ramp, "ramp", copy)[:, :50].mean() > 128 for copy in range(1, 101)]
    assert 30 <= sum(mirrored) <= 70
