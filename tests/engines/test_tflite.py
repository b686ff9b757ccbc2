"""What is the light engines' own: files that are not theirs, the known image, the command line without TensorFlow."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepfake_tf.decision.known_image import known_image
from deepfake_tf.detectors.bundle import read_card, write_bundle
from deepfake_tf.engines import finding
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.finding import find_model
from deepfake_tf.engines.litert import LiteRTEngine
from deepfake_tf.engines.openvino import OpenVINOEngine
from tests import light_models
from tests.images import encode, photograph


@pytest.fixture(scope="module", params=[LiteRTEngine, OpenVINOEngine])
def engine_class(request):
    return request.param


@pytest.fixture(scope="module")
def engine(engine_class, exported_light_model):
    return engine_class(exported_light_model)


@pytest.fixture
def copied(exported_light_model, tmp_path):
    """A copy of both files that a test may spoil."""
    for file in (exported_light_model, exported_light_model.with_suffix(".json")):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / exported_light_model.name


def describe_anew(model_file, **changes) -> None:
    """Change the JSON beside a file, and let it describe the file as it is now."""
    description = json.loads(model_file.with_suffix(".json").read_text())
    description["light"][0]["sha256"] = hashlib.sha256(model_file.read_bytes()).hexdigest()
    description.update(changes)
    model_file.with_suffix(".json").write_text(json.dumps(description))


def test_an_unlike_image_is_out_of_domain(copied, engine_class):
    domain = json.loads(copied.with_suffix(".json").read_text())["domain"]
    describe_anew(copied, domain={**domain, "distance_threshold": 0.0})
    rows = engine_class(copied).predict([encode(photograph(32, 32), "PNG"), encode(photograph(300, 200), "PNG")])
    assert rows["in_domain"].tolist() == [False, False]
    assert rows["verdict"].tolist() == [b"uncertain"] * 2
    unlike, too_large = rows["reason"].tolist()
    assert unlike.startswith(b"unlike the images")
    assert too_large.startswith(b"300 x 200 pixels: the model was trained and measured on sides of 32 pixels")


def test_the_band_decides_the_verdict(copied, engine, engine_class):
    image = encode(photograph(32, 32), "PNG")
    probability = float(engine.predict([image])["probability"][0])
    stated = json.loads(copied.with_suffix(".json").read_text())["decision"]
    decision = {**stated, "threshold": probability + 0.01, "uncertain_band": [probability + 0.005, probability + 0.02]}
    describe_anew(copied, decision=decision)
    assert engine_class(copied).predict([image])["verdict"].tolist() == [b"likely real"]
    describe_anew(copied, decision={**decision, "uncertain_band": [probability - 0.01, probability + 0.01]})
    assert engine_class(copied).predict([image])["verdict"].tolist() == [b"uncertain"]


def test_wrong_pixels_are_refused(engine):
    for pixels in (np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 224, 224, 3), np.float32)):
        with pytest.raises(ValueError, match=r"pixels must be uint8 .*Received: (uint8|float32) \[1, "):
            engine.run(pixels)


def test_a_missing_file_is_named(copied, engine_class):
    copied.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"deepfake_float32\.json does not exist.*export"):
        engine_class(copied)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tflite does not exist"):
        engine_class(copied.with_name("nowhere.tflite"))


def test_a_foreign_json_is_refused(copied, engine_class):
    copied.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match=r"lacks \['decision', 'domain', 'light'\]"):
        engine_class(copied)
    copied.with_suffix(".json").write_text("<html>")
    with pytest.raises(ValueError, match="is no JSON object"):
        engine_class(copied)


def test_a_damaged_file_is_refused(copied, engine_class):
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 0xFF
    copied.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        engine_class(copied)


def test_the_description_states_the_logit_of_the_known_image(exported_light_model, engine):
    stated = json.loads(exported_light_model.with_suffix(".json").read_text())["known_image_logit"]
    for count in (1, 7):
        logits = engine.predict([known_image()] * count)["logit"]
        assert logits == pytest.approx([stated] * count, abs=engine.LOGIT_TOLERANCE)


@pytest.mark.parametrize("wrong", [1.0, np.inf, np.nan])
@pytest.mark.parametrize("from_images", [1, 2])
def test_an_engine_that_computes_wrongly_is_not_used(exported_light_model, engine_class, wrong, from_images):
    class Faulty(engine_class):
        """As OpenVINO was seen to do: right for one image, garbage for several."""

        def _run(self, pixels):
            outputs = super()._run(pixels)
            error = np.float32(wrong if len(pixels) >= from_images else 0)
            return {**outputs, "logit": outputs["logit"] + error}

    with pytest.raises(ValueError, match=rf"{Faulty.LIBRARY} computes .*tflite wrongly .* Use another engine") as error:
        Faulty(exported_light_model)
    stated = json.loads(exported_light_model.with_suffix(".json").read_text())["known_image_logit"]
    assert f"must be {stated:.4f}, at most {Faulty.LOGIT_TOLERANCE:g} off" in str(error.value)


def test_a_model_of_an_earlier_version_is_used_unchecked(copied, engine_class):
    description = json.loads(copied.with_suffix(".json").read_text())
    del description["known_image_logit"]
    copied.with_suffix(".json").write_text(json.dumps(description))
    assert engine_class(copied).predict([known_image()])["error"].tolist() == [b""]


def test_another_kind_of_file_is_refused(copied, engine_class):
    copied.write_bytes(b"this is no model" * 100)
    describe_anew(copied)
    with pytest.raises(ValueError, match="is no LiteRT model"):
        engine_class(copied)


def test_a_foreign_model_is_refused(copied, engine_class):
    class Foreign(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 96, 96, 3], tf.float32)])
        def score(self, images):
            return {"classes": tf.reduce_mean(images, axis=[1, 2])}

    foreign = Foreign()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([foreign.score.get_concrete_function()], foreign)
    copied.write_bytes(converter.convert())
    describe_anew(copied)
    with pytest.raises(ValueError, match=r"Received: \S+ float32 \[96, 96, 3\] -> \S+"):
        engine_class(copied)


@pytest.mark.parametrize("name", ["auto", "openvino"])
def test_detector_takes_the_engine_that_the_model_is_for(name, exported_light_model, exported_model, tmp_path):
    images = [encode(photograph(32, 32, seed), "PNG") for seed in range(3)] + [b"no image"]
    light, full = Detector(exported_light_model, engine=name), Detector(exported_model.path)
    assert (light.model_dir, light.card) == (exported_light_model, exported_model.card)
    for here, there in zip(light.predict_iter(images, batch_size=2), full.predict_iter(images)):
        assert here.probability == pytest.approx(there.probability, abs=2e-2)
        assert (here.error, here.in_domain, here.reason) == (there.error, there.in_domain, there.reason)
    explanation = light.explain(photograph(32, 32))
    assert explanation.heatmap.shape == (7, 7)
    assert explanation.prediction == light.predict(photograph(32, 32))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert "not an image" in light.predict(broken).error


def test_the_light_engine_takes_the_file_beside_the_folder(exported_light_model, exported_model, tmp_path, monkeypatch):
    (tmp_path / "v1.5").symlink_to(exported_model.path.parent)
    beside = tmp_path / "v1.5.tflite"
    with pytest.raises(FileNotFoundError, match=r"No LiteRT model .*v1\.5\.tflite.*--litert DIR"):
        find_model(tmp_path / "v1.5", "litert")
    beside.symlink_to(exported_light_model)
    assert find_model(tmp_path / "v1.5", "litert") == beside
    assert find_model(tmp_path / "v1.5", "auto") == tmp_path / "v1.5" / "1"
    monkeypatch.setattr(finding, "_is_installed", lambda package: package != "tensorflow")
    assert find_model(tmp_path / "v1.5", "auto") == beside
    with pytest.raises(ImportError, match="needs tensorflow, which is not installed: pip install"):
        Detector(exported_model.path, engine="saved_model")
    with pytest.raises(ValueError, match="Received: engine='onnx'"):
        Detector(engine="onnx")
    assert read_card(exported_light_model) == exported_model.card


FULL_ONLY = ("tensorflow", "keras", "tensorflow_datasets", "scipy", "sklearn", "matplotlib", "streamlit", "fastapi")


def run_light(*arguments):
    """The command line in a process that cannot import what the light installation leaves out."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({FULL_ONLY})); from deepfake_tf.cli import main; "
        f"sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def test_without_tensorflow_a_folder_becomes_a_csv(copied, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    photograph(32, 32).save(images / "photograph.png")
    (images / "broken.jpg").write_bytes(b"no image")
    for file in (copied, copied.with_suffix(".json")):
        file.rename(tmp_path / f"deepfake{file.suffix}")
    result = run_light("predict", images, "--format", "csv", "--model", tmp_path / "deepfake")
    assert result.returncode == 3, result.stderr
    broken, good = csv.DictReader(io.StringIO(result.stdout))
    assert (broken["label"], "not an image" in broken["error"]) == ("INVALID", True)
    assert good["label"] in ("REAL", "FAKE")
    demo = run_light("demo", "--model", tmp_path / "deepfake.tflite")
    assert demo.returncode == 0, demo.stderr
    assert len([line for line in demo.stdout.splitlines() if ".jpg" in line or ".png" in line]) == 9


def test_without_tensorflow_what_needs_it_names_the_remedy(exported_model, tmp_path):
    for extra, *arguments in (
        ("full", "predict", tmp_path, "--model", exported_model.path),
        ("full", "evaluate", "--data", tmp_path, "--output", tmp_path / "report"),
        ("app", "serve", "--model", exported_model.path),
    ):
        photograph(32, 32).save(tmp_path / "photograph.png")
        result = run_light(*arguments)
        assert result.returncode == 2
        assert re.fullmatch(
            rf"deepfake-tf \w+: .*needs \w+, which is not installed: pip install 'deepfake-tf\[{extra}\]'\n",
            result.stderr,
        )


def test_the_command_line_takes_the_engine_named(exported_light_model, tmp_path):
    photograph(32, 32).save(tmp_path / "photograph.png")
    result = run_light("predict", tmp_path, "--engine", "litert", "--model", tmp_path / "nowhere")
    assert result.returncode == 2
    assert "No LiteRT model" in result.stderr
    result = run_light("predict", tmp_path, "--engine", "litert", "--model", exported_light_model)
    assert result.returncode == 0, result.stderr


def test_a_light_model_may_be_a_chain_of_files(engine_class, tmp_path):
    light, described = light_models.chain(), light_models.describe("cifake", (16, 64))
    write_bundle(tmp_path / "detector.json", described, light)
    images = [encode(Image.new("RGB", (32, 32), colour), "PNG") for colour in ("red", "blue", "white")] + [b""]
    rows = engine_class(tmp_path).explain(images)
    np.testing.assert_allclose(rows["logit"], [1, 4, 7, 0], atol=0.02)
    np.testing.assert_allclose(rows["probability"][:3], 1 / (1 + np.exp(-(rows["logit"][:3] / 2 + 0.5))), atol=1e-5)
    np.testing.assert_allclose(rows["heatmap"][1], [[0, 0, 1]] * 2, atol=0.01)
    write_bundle(tmp_path / "detector.json", described, dict(reversed(light.items())))
    with pytest.raises(ValueError, match=r"head\.tflite is not a model .* must read pixels uint8 \[224, 224, 3\]"):
        engine_class(tmp_path)
