"""The photograph detector's files: exact weights, and the same answer from LiteRT, OpenVINO and TensorFlow."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from deepfake_tf.engines.photograph import PhotographEngine, load_litert
from tests.detectors.photograph.conftest import BLOCKS, DESCRIPTION, random_head

from deepfake_tf.detectors.photograph.views import central_view
from deepfake_tf.export.photograph_bundle import read_training, write_bundle
from deepfake_tf.export.photograph_head import directions, head_outputs
from deepfake_tf.export.photograph_litert import read_arrays
from deepfake_tf.networks.vit_b16_inference import compute_features, float_dense
from tests.images import broken_images, encode, photograph

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
def expected(arrays, views):
    """In float32: features and outputs."""
    features = compute_features(arrays, tf.constant(views), float_dense(arrays))
    outputs = head_outputs(random_head(), DESCRIPTION["decision"], directions(random_head(), arrays), features)
    return {name: value.numpy() for name, value in {**features, **outputs}.items()}


@pytest.fixture(scope="module")
def saved_model(bundle, encoded, tmp_path_factory):
    return export_savedmodel(bundle, tmp_path_factory.mktemp("saved") / "photograph" / "1", encoded[:2], "float32")


def test_the_weights_come_back_bit_by_bit(arrays, bundle):
    found = read_arrays(bundle / "backbone.tflite")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_xnnpack_runs_the_whole_backbone(bundle):
    interpreter = Interpreter(str(bundle / "backbone.tflite"))
    interpreter.allocate_tensors()
    planned = interpreter._get_ops_details()  # delegates' nodes stand behind those that they took over
    assert sum(operator["op_name"] == "DELEGATE" for operator in planned) <= 2


@pytest.mark.parametrize("library", ["litert", "openvino"])
def test_light_engines_stay_near_float(bundle, views, expected, library):
    if library == "openvino":
        pytest.importorskip("openvino")
    outputs = PhotographEngine(bundle, num_threads=1, library=library).run(views)
    assert expected["logit"].std() > 2 * LOGIT_TOLERANCE
    np.testing.assert_allclose(outputs["logit"], expected["logit"], atol=LOGIT_TOLERANCE)
    np.testing.assert_allclose(outputs["distance"], expected["distance"], atol=LOGIT_TOLERANCE)
    np.testing.assert_allclose(outputs["probability"], 1 / (1 + np.exp(-outputs["logit"] / 1.5)), atol=1e-5)
    np.testing.assert_allclose(outputs["heatmap"], expected["heatmap"], atol=0.1)


def test_features_of_the_backbone(bundle, views, expected):
    features = load_litert(bundle / "backbone.tflite", 1)(pixels=views[:1])
    assert {name: values.shape for name, values in features.items()} == {
        "cls": (1, BLOCKS, 768),
        "attention": (1, BLOCKS, 12, 196),
        "values": (1, BLOCKS, 12, 196, 64),
    }
    found, wanted = features["cls"][0], expected["cls"][0]
    cosine = (found * wanted).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert cosine.min() > 0.999


def test_the_head_is_linear_and_explained_by_its_own_shares(arrays, expected):
    head, decision = random_head(), DESCRIPTION["decision"]
    logit = (expected["cls"] * head["weight"]).sum(axis=(1, 2)) + 0.25 - decision["offset"]
    np.testing.assert_allclose(expected["logit"][:, 0], logit, atol=1e-4)
    # One more unit of a patch's value in the direction of its head is worth the attention that it gets.
    towards = directions(head, arrays)
    features = {name: expected[name][:1] for name in ("cls", "attention", "values")}
    assert expected["heatmap"].shape == (4, 14, 14)
    assert expected["heatmap"].min() == 0
    np.testing.assert_allclose(expected["heatmap"].max(axis=(1, 2)), 1)
    label = 1 if logit[0] >= 0 else -1
    evidence = np.einsum("bhp,bhpd,bhd->p", features["attention"][0], features["values"][0], towards.reshape(2, 12, 64))
    shown = np.maximum(label * evidence, 0) / np.maximum(label * evidence, 0).max()
    np.testing.assert_allclose(expected["heatmap"][0].ravel(), shown, atol=1e-4)


def test_saved_model_and_light_engine_give_the_same_rows(bundle, saved_model, encoded):
    broken = broken_images()
    batch = [encoded[0], *(data for data, _ in broken.values()), encoded[1]]
    full = tf.saved_model.load(str(saved_model)).signatures["explain"](image_bytes=tf.constant(batch))
    light = PhotographEngine(bundle).explain(batch)
    assert set(full) == set(light)
    for name in ("label", "verdict", "reason", "error", "in_domain", "width", "height"):
        np.testing.assert_array_equal(np.asarray(full[name]), light[name], err_msg=name)
    for (_, message), row in zip(broken.values(), light["error"][1:-1]):
        assert message in row.decode()
    np.testing.assert_allclose(full["probability"], light["probability"], atol=LOGIT_TOLERANCE / 4)
    np.testing.assert_allclose(full["heatmap"], light["heatmap"], atol=0.1)
    assert not np.asarray(full["heatmap"])[1:-1].any()
    assert full["heatmap"].shape == (len(batch), 14, 14)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_batches_of_any_size_the_tf1_way(saved_model, encoded, count):
    """TensorFlow Serving loads graphs so."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(saved_model))
        signature = loaded.signature_def["serving_default"]
        outputs = {name: info.name for name, info in signature.outputs.items()}
        rows = session.run(outputs, {signature.inputs["image_bytes"].name: np.array(encoded[:count], object)})
    assert all(len(values) == count for values in rows.values())
    assert not any(rows["error"])


def test_pixels_and_bytes_give_the_same(saved_model, encoded):
    signatures = tf.saved_model.load(str(saved_model)).signatures
    pixels = np.asarray(photograph(300, 260, 0))[None]
    rows = signatures["from_pixels"](pixels=tf.constant(pixels))
    again = signatures["serving_default"](image_bytes=tf.constant(encoded[:1]))
    np.testing.assert_allclose(rows["logit"], again["logit"], atol=1e-4)
    empty = signatures["from_pixels"](pixels=tf.zeros([2, 0, 4, 3], tf.uint8))
    assert list(empty["error"].numpy()) == [b"empty file"] * 2


def test_bfloat16_stays_near_float(bundle, saved_model, encoded, tmp_path):
    path = export_savedmodel(bundle, tmp_path / "1", encoded[:1], "bfloat16")
    logits = [
        tf.saved_model.load(str(folder)).signatures["serving_default"](image_bytes=tf.constant(encoded))["logit"]
        for folder in (path, saved_model)
    ]
    np.testing.assert_allclose(*logits, atol=LOGIT_TOLERANCE)
    with pytest.raises(ValueError, match="Received: precision='int4'"):
        export_savedmodel(bundle, tmp_path / "1", encoded[:1], "int4")
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_new_head_leaves_the_backbone(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    write_bundle(None, random_head(1), DESCRIPTION, copy)
    changed = {path.name for path in copy.iterdir() if path.read_bytes() != (bundle / path.name).read_bytes()}
    assert changed == {"head.tflite", "head.npz", "detector.json"}
    PhotographEngine(copy)


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
    (tmp_path / "detector.json").write_text(json.dumps(trained))
    found, description = read_training(tmp_path)
    assert set(found) == set(head)
    for name, array in head.items():
        np.testing.assert_array_equal(found[name], array)
    assert description["decision"] == {
        "threshold": 0.5,
        "temperature": 0.8,
        "offset": -0.1,
        "uncertain_band": [0.2, 0.9],
    }
    assert description["domain"]["mahalanobis_threshold"] == 1.1
    assert description["domain"]["sides_accepted"][0] == 200
    assert description["card"] == trained


def test_unusable_bundles(bundle, weights, tmp_path):
    with pytest.raises(FileNotFoundError, match="has no backbone.tflite yet"):
        write_bundle(None, random_head(), DESCRIPTION, tmp_path)
    with pytest.raises(FileNotFoundError, match="backbone.tflite"):
        PhotographEngine(tmp_path)
    with pytest.raises(FileNotFoundError, match="backbone.tflite"):
        export_savedmodel(tmp_path, tmp_path / "1", [])
    copy = shutil.copytree(bundle, tmp_path / "copy")
    description = json.loads((copy / "detector.json").read_text())
    description["sha256"]["head.tflite"] = "0" * 64
    (copy / "detector.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="SHA-256 differs"):
        PhotographEngine(copy)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="is no SavedModel"):
        export_savedmodel(bundle, tmp_path / "other", [])
    with np.load(weights) as archive:
        floats = {name: array.astype(np.float32) for name, array in archive.items()}
    np.savez(tmp_path / "floats.npz", **floats)
    with pytest.raises(ValueError, match="must be int8"):
        write_bundle(tmp_path / "floats.npz", random_head(), DESCRIPTION, tmp_path / "new")
    assert not (tmp_path / "new").exists()
