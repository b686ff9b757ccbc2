"""A `Detector` with a bundle for small images and one for photographs."""

import pickle

import numpy as np
import pytest
from PIL import Image

from deepfake_tf import Detector
from deepfake_tf.detectors.bundle import write_bundle
from tests import light_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, model_name, sides, rows in (
        ("cifake", "deepfake", (16, 64), 2),
        ("photograph", "photograph", (200, None), 4),
    ):
        description = light_models.describe(name, sides)
        write_bundle(folder / model_name / "detector.json", description, light_models.chain(rows))
    return folder


@pytest.fixture(scope="module", params=["auto", "openvino"])
def detector(request, folder):
    return Detector(folder, engine=request.param)


def image(width, height, colour="blue"):
    return Image.new("RGB", (width, height), colour)


def test_the_size_chooses_and_rows_say_who_judged(detector):
    images = [image(640, 480), image(32, 32), b"no image", image(128, 100), image(200, 300, "white")]
    predictions = detector.predict(images)
    assert [one.detector for one in predictions] == ["photograph", "cifake", "", "photograph", "photograph"]
    assert [round(one.logit) for one in predictions] == [4, 4, 0, 4, 7]
    assert [one.in_domain for one in predictions] == [True, True, False, False, True]
    assert predictions[3].reason.startswith("128 x 100 pixels")
    assert list(predictions[0].to_dict())[:3] == ["file", "detector", "label"]


def test_one_by_one_in_a_batch_and_pickled_they_are_the_same(detector):
    images = [image(32 + 200 * (index % 2), 240, colour) for index, colour in enumerate(("red", "green", "blue") * 3)]
    expected = detector.predict(images)
    assert [detector.predict(one) for one in images] == expected
    assert list(detector.predict_iter(iter(images), batch_size=2)) == expected
    assert pickle.loads(pickle.dumps(detector)).predict(images) == expected


def test_the_working_folder_may_change(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    detector = Detector(folder.name, engine="litert")
    monkeypatch.chdir(tmp_path)
    expected = [round(one.logit) for one in detector.predict([image(640, 480), image(32, 32)])]
    assert [round(one.logit) for one in pickle.loads(pickle.dumps(detector)).predict([image(640, 480)])] == expected[:1]


def test_each_map_has_its_detectors_shape(detector):
    explanations = detector.explain([image(300, 300), image(32, 32), b""])
    assert [one.heatmap.shape for one in explanations] == [(4, 3), (2, 3), (2, 3)]
    np.testing.assert_allclose(explanations[0].heatmap[0], [0, 0, 1], atol=0.01)
    assert not explanations[2].heatmap.any()


def test_each_has_its_card(detector):
    assert detector.card == {"detector": "cifake"}
    assert detector.cards == {name: {"detector": name} for name in ("cifake", "photograph")}


def test_a_model_that_cannot_be_loaded_is_no_fault_of_the_image(tmp_path):
    write_bundle(
        tmp_path / "deepfake" / "detector.json", light_models.describe("cifake", (16, 64)), light_models.chain()
    )
    described = light_models.describe("photograph", (200, None))
    write_bundle(tmp_path / "photograph" / "detector.json", described, {"network.tflite": b"no model" * 100})
    detector = Detector(tmp_path)
    assert detector.predict(image(32, 32)).detector == "cifake"
    with pytest.raises(ValueError, match=r"network\.tflite is no LiteRT model"):
        detector.predict(image(640, 480))
