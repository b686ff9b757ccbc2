"""The photograph detector's files: exact weights, and the same answer from LiteRT, OpenVINO and TensorFlow."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from deepfake_tf import Detector
from deepfake_tf.detectors.photograph.views import central_view
from deepfake_tf.engines.finding import engine_class
from deepfake_tf.export.photograph_bundle import read_training, write_photograph_bundle
from deepfake_tf.export.photograph_head import directions, head_outputs
from deepfake_tf.export.photograph_savedmodel import export_photograph_savedmodel
from deepfake_tf.networks.clip_weights import read_backbone
from deepfake_tf.networks.vit_b16_inference import compute_features, float_dense
from deepfake_tf.samples import write_samples
from tests.images import encode, photograph
from tests.photograph_models import BLOCKS, DECISION, random_head

LOGIT_TOLERANCE = 0.05  # of int8 activations, a scale a token


@pytest.fixture(scope="module")
def encoded():
    return [encode(photograph(300 + 20 * seed, 260, seed), "PNG") for seed in range(8)]


@pytest.fixture(scope="module")
def views():
    noise = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8)
    flat = np.full((1, 224, 224, 3), 90, np.uint8)
    pictures = [central_view(np.asarray(photograph(300, 260, seed)))[None] for seed in range(2)]
    return np.concatenate([*pictures, noise, flat])


@pytest.fixture(scope="module")
def expected(photograph_arrays, views):
    """In float32: features and outputs."""
    features = compute_features(photograph_arrays, tf.constant(views), float_dense(photograph_arrays))
    outputs = head_outputs(random_head(), DECISION, directions(random_head(), photograph_arrays), features)
    return {name: value.numpy() for name, value in {**features, **outputs}.items()}


def test_the_weights_come_back_bit_by_bit(photograph_arrays, photograph_bundle):
    found = read_backbone(photograph_bundle / "backbone.tflite")
    assert set(found) == set(photograph_arrays)
    for name, array in photograph_arrays.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_xnnpack_runs_the_whole_backbone(photograph_bundle):
    interpreter = Interpreter(str(photograph_bundle / "backbone.tflite"))
    interpreter.allocate_tensors()
    planned = interpreter._get_ops_details()  # delegates' nodes stand behind those that they took over
    assert sum(operator["op_name"] == "DELEGATE" for operator in planned) <= 2


@pytest.mark.parametrize("library", ["litert", "openvino"])
def test_light_engines_stay_near_float(photograph_bundle, views, expected, library):
    if library == "openvino":
        pytest.importorskip("openvino")
    outputs = engine_class(library)(photograph_bundle, num_threads=1).run(views)
    assert expected["logit"].std() > 2 * LOGIT_TOLERANCE
    np.testing.assert_allclose(outputs["logit"], expected["logit"], atol=LOGIT_TOLERANCE)
    np.testing.assert_allclose(outputs["distance"], expected["distance"], atol=LOGIT_TOLERANCE)
    probability = 1 / (1 + np.exp(-(outputs["logit"] / DECISION.temperature + DECISION.intercept)))
    np.testing.assert_allclose(outputs["probability"], probability, atol=1e-5)
    # The map is of the label, which a rounding decides where the logit stands at the threshold.
    scaled = expected["logit"] / DECISION.temperature + DECISION.intercept
    clear = (np.abs(scaled) > LOGIT_TOLERANCE / DECISION.temperature).ravel()
    assert clear.any()
    np.testing.assert_allclose(outputs["heatmap"][clear], expected["heatmap"][clear], atol=0.1)


def test_features_of_the_backbone(photograph_bundle, views, expected):
    interpreter = Interpreter(str(photograph_bundle / "backbone.tflite"))
    interpreter.allocate_tensors()
    features = interpreter.get_signature_runner()(pixels=views[:1])
    assert {name: values.shape for name, values in features.items()} == {
        "cls": (1, BLOCKS, 768),
        "attention": (1, BLOCKS, 12, 196),
        "values": (1, BLOCKS, 12, 196, 64),
    }
    found, wanted = features["cls"][0], expected["cls"][0]
    cosine = (found * wanted).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert cosine.min() > 0.999


def test_the_head_is_linear_and_explained_by_its_own_shares(photograph_arrays, expected):
    logit = (expected["cls"] * random_head()["weight"]).sum(axis=(1, 2)) + 0.25
    np.testing.assert_allclose(expected["logit"][:, 0], logit, atol=1e-4)
    # One more unit of a patch's value in the direction of its head is worth the attention that it gets.
    towards = directions(random_head(), photograph_arrays)
    features = {name: expected[name][:1] for name in ("cls", "attention", "values")}
    assert expected["heatmap"].shape == (4, 14, 14)
    assert expected["heatmap"].min() == 0
    np.testing.assert_allclose(expected["heatmap"].max(axis=(1, 2)), 1)
    label = 1 if logit[0] / DECISION.temperature + DECISION.intercept >= 0 else -1
    evidence = np.einsum("bhp,bhpd,bhd->p", features["attention"][0], features["values"][0], towards.reshape(2, 12, 64))
    shown = np.maximum(label * evidence, 0) / np.maximum(label * evidence, 0).max()
    np.testing.assert_allclose(expected["heatmap"][0].ravel(), shown, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_batches_of_any_size_the_tf1_way(photograph_saved_model, encoded, count):
    """TensorFlow Serving loads graphs so."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(photograph_saved_model))
        signature = loaded.signature_def["serving_default"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        rows = session.run(outputs, {signature.inputs["image_bytes"].name: np.array(encoded[:count], object)})
    assert all(len(values) == count for values in rows.values())
    assert not any(rows["error"])


def test_pixels_and_bytes_give_the_same(photograph_saved_model, encoded):
    signatures = tf.saved_model.load(str(photograph_saved_model)).signatures
    pixels = np.asarray(photograph(300, 260, 0))[None]
    rows = signatures["from_pixels"](pixels=tf.constant(pixels))
    again = signatures["serving_default"](image_bytes=tf.constant(encoded[:1]))
    np.testing.assert_allclose(rows["logit"], again["logit"], atol=1e-4)
    empty = signatures["from_pixels"](pixels=tf.zeros([2, 0, 4, 3], tf.uint8))
    assert list(empty["error"].numpy()) == [b"empty file"] * 2


@pytest.mark.parametrize("way_in", ["graph", "light engine", "Detector, paths", "Detector, PIL"])
def test_a_picture_is_judged_as_it_is_held(photograph_bundle, photograph_saved_model, tmp_path, way_in):
    """Phones store a picture as the sensor lies, and say in the EXIF how to turn it. The map shows what was seen."""
    shown, exif = Image.open(write_samples(tmp_path)[0]).crop((0, 0, 640, 426)), Image.Exif()
    exif[0x0112] = 6
    stored = shown.transpose(Image.Transpose.ROTATE_90)
    whole = {"quality": 100, "subsampling": 0}
    files = [
        encode(shown, "JPEG", **whole),
        encode(stored, "JPEG", exif=exif, **whole),
        encode(stored, "JPEG", **whole),
    ]
    if way_in == "graph":
        explain = tf.saved_model.load(str(photograph_saved_model)).signatures["explain"]
        maps = explain(image_bytes=tf.constant(files))["heatmap"].numpy()
    elif way_in == "light engine":
        maps = engine_class("litert")(photograph_bundle).explain(files)["heatmap"]
    else:
        images = [tmp_path / f"{index}.jpg" for index in range(3)]
        for path, file in zip(images, files):
            path.write_bytes(file)
        opened = images if way_in == "Detector, paths" else [Image.open(image) for image in images]
        maps = np.array([one.heatmap for one in Detector(photograph_bundle, engine="litert").explain(opened)])
    upright, turned, sideways = maps.reshape(3, -1)
    assert np.corrcoef(upright, turned)[0, 1] > 0.95
    assert np.corrcoef(upright, sideways)[0, 1] < 0.6


def test_bfloat16_stays_near_float(photograph_bundle, photograph_saved_model, encoded, tmp_path):
    path = export_photograph_savedmodel(photograph_bundle, tmp_path / "1", encoded[:1], "bfloat16")
    logits = [
        tf.saved_model.load(str(folder)).signatures["serving_default"](image_bytes=tf.constant(encoded))["logit"]
        for folder in (path, photograph_saved_model)
    ]
    np.testing.assert_allclose(*logits, atol=LOGIT_TOLERANCE)
    with pytest.raises(ValueError, match="Received: precision='int4'"):
        export_photograph_savedmodel(photograph_bundle, tmp_path / "1", encoded[:1], "int4")
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_new_head_leaves_the_backbone(photograph_bundle, tmp_path):
    copy = shutil.copytree(photograph_bundle, tmp_path / "bundle")
    write_photograph_bundle(None, random_head(1), DECISION, {}, copy)
    changed = {
        path.name for path in copy.iterdir() if path.read_bytes() != (photograph_bundle / path.name).read_bytes()
    }
    assert changed == {"head.tflite", "head.npz", "detector.json"}
    engine_class("litert")(copy)


def test_what_training_wrote_becomes_a_bundle(tmp_path):
    head = random_head()
    np.savez(tmp_path / "head.npz", weight=head["weight"], bias=head["bias"])
    np.savez(tmp_path / "domain_head.npz", weight=head["domain.weight"], bias=head["domain.bias"])
    trained = {
        "view": {"smallest_short_side": 200},
        "calibration": {"temperature": 0.8, "offset": -0.1},
        "threshold": 0.5,
        "band": [0.2, 0.9],
        "domain": {"limit": 1.1},
    }
    (tmp_path / "trained.json").write_text(json.dumps(trained))
    found, decision, card = read_training(tmp_path)
    assert set(found) == set(head)
    for name, array in head.items():
        np.testing.assert_array_equal(found[name], array)
    assert (decision.temperature, decision.intercept) == (0.8, pytest.approx(0.125))
    assert (decision.threshold, decision.band, decision.distance_threshold) == (0.5, (0.2, 0.9), 1.1)
    assert decision.sides_accepted == (200, None)
    assert card == trained


def test_unusable_bundles(photograph_bundle, photograph_weights, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no backbone.tflite yet"):
        write_photograph_bundle(None, random_head(), DECISION, {}, tmp_path)
    with pytest.raises(FileNotFoundError, match="detector.json"):
        export_photograph_savedmodel(tmp_path, tmp_path / "1", [])
    copy = shutil.copytree(photograph_bundle, tmp_path / "copy")
    (copy / "head.tflite").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="SHA-256 differs"):
        engine_class("litert")(copy)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="is no SavedModel"):
        export_photograph_savedmodel(photograph_bundle, tmp_path / "other", [])
    with np.load(photograph_weights) as archive:
        floats = {name: array.astype(np.float32) for name, array in archive.items()}
    np.savez(tmp_path / "floats.npz", **floats)
    with pytest.raises(ValueError, match="must be int8"):
        write_photograph_bundle(tmp_path / "floats.npz", random_head(), DECISION, {}, tmp_path / "new")
    assert not (tmp_path / "new").exists()
