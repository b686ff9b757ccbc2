"""What the models that ship got wrong: garbage from one engine, a biased probability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_tf import Detector
from deepfake_tf.decision.known_image import known_image
from deepfake_tf.detectors.bundle import read_bundle, read_card
from deepfake_tf.engines import finding
from deepfake_tf.engines.litert import LiteRTEngine
from deepfake_tf.engines.openvino import OpenVINOEngine
from tests.images import encode, photograph

SHIPPED = Path(__file__).parents[2] / "saved_model"

pytestmark = pytest.mark.cases


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_openvino_gives_what_litert_gives_for_many_images_at_once(threads):
    # With two streams every row was 0 or 1, most times that the model was compiled.
    images = [encode(photograph(32, 32, seed), "PNG") for seed in range(59)] + [known_image()]
    expected = LiteRTEngine(SHIPPED / "deepfake", threads).predict(images)["logit"]
    actual = OpenVINOEngine(SHIPPED / "deepfake", threads).predict(images)["logit"]
    np.testing.assert_allclose(actual, expected, atol=OpenVINOEngine.LOGIT_TOLERANCE)


@pytest.mark.parametrize("engine", ["saved_model", "litert"])
def test_the_shipped_models_state_the_logit_of_the_known_image(engine):
    model = finding.find_model(SHIPPED / "deepfake", engine)
    if finding.is_saved_model(model):
        assert "known_image_logit" in read_card(model)
    else:
        assert read_bundle(model).known_logit is not None


def test_the_shipped_probability_is_not_biased():
    metrics = Detector(SHIPPED / "deepfake", engine="litert").card["validation_metrics"]
    assert metrics["classwise_ece"]["value"] <= 0.004
    assert metrics["mean_probability"]["value"] == pytest.approx(0.5, abs=0.002)
    accused, missed = metrics["confusion_matrix"]["false_fake"], metrics["confusion_matrix"]["false_real"]
    assert accused <= 1.25 * missed
