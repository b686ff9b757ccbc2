import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepfake_tf.detectors.photograph.tensorflow_views import central_views
from deepfake_tf.detectors.photograph.views import central_view


def picture(height: int, width: int) -> np.ndarray:
    """Hard edges and grain, on which the bicubic filter overshoots."""
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8)).resize((width, height), 0)
    return np.clip(np.asarray(coarse) + generator.integers(-30, 31, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width"), [(300, 451), (451, 300), (224, 224), (1500, 2003), (200, 900), (3, 7), (1, 1)]
)
def test_equals_pillow_to_one_grey_level(height, width):
    pixels = picture(height, width)
    expected = central_view(pixels).astype(int)
    single, batch = central_views(tf.constant(pixels)).numpy(), central_views(tf.constant(pixels[None])).numpy()
    assert single.dtype == np.uint8
    np.testing.assert_array_equal(batch[0], single)
    assert np.abs(single - expected).max() <= 1
    assert np.mean(single != expected) < 0.005
