"""What the models that ship got wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_tf.decision.known_image import known_image
from deepfake_tf.engines.litert import LiteRTEngine
from deepfake_tf.engines.openvino import OpenVINOEngine
from tests.images import encode, photograph

SHIPPED = Path(__file__).parents[2] / "saved_model"

pytestmark = pytest.mark.cases


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_openvino_gives_what_litert_gives_for_many_images_at_once(threads):
    # With two streams every row was 0 or 1, most times that the model was compiled.
    images = [encode(photograph(32, 32, seed), "PNG") for seed in range(59)] + [known_image()]
    expected = LiteRTEngine(SHIPPED / "deepfake.tflite", threads).predict(images)["logit"]
    actual = OpenVINOEngine(SHIPPED / "deepfake.tflite", threads).predict(images)["logit"]
    np.testing.assert_allclose(actual, expected, atol=OpenVINOEngine.LOGIT_TOLERANCE)
