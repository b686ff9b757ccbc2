import json
import resource
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from deepfake_tf.contract import MAX_PIXELS
from deepfake_tf.decision.calibration import Calibration
from deepfake_tf.decision.domain import Domain
from deepfake_tf.decision.known_image import known_image
from deepfake_tf.evaluation.scoring import load_scorer
from deepfake_tf.export.savedmodel import exported_of, freeze, read_exported, write_savedmodel
from deepfake_tf.export.warmup import WARMUP_FILE
from deepfake_tf.networks import build_model, with_features
from deepfake_tf.reading import tensorflow_reader
from deepfake_tf.server.served_model import ServedModel
from tests.images import broken_images, encode, gif_bomb, good_images, photograph, png_that_claims

FIELDS = {
    "label",
    "verdict",
    "reason",
    "error",
    "confidence",
    "probability",
    "logit",
    "in_domain",
    "width",
    "height",
}


@pytest.fixture(scope="module")
def loaded(exported_model):
    return tf.saved_model.load(str(exported_model.path))


def call(loaded, encoded, signature="serving_default"):
    outputs = loaded.signatures[signature](image_bytes=tf.constant(list(encoded), tf.string))
    return {name: output.numpy() for name, output in outputs.items()}


def test_signatures_have_the_fields_and_types_of_the_contract(loaded):
    outputs = loaded.signatures["serving_default"].structured_outputs
    assert set(outputs) == FIELDS
    kinds = {name: spec.dtype for name, spec in outputs.items()}
    assert {name for name, kind in kinds.items() if kind == tf.string} == {"label", "verdict", "reason", "error"}
    assert {name for name, kind in kinds.items() if kind == tf.float32} == {"confidence", "probability", "logit"}
    assert kinds["in_domain"] == tf.bool
    assert kinds["width"] == kinds["height"] == tf.int32
    assert set(loaded.signatures["explain"].structured_outputs) == FIELDS | {"heatmap"}
    assert set(loaded.signatures["from_pixels"].structured_outputs) == FIELDS


def test_scores_are_those_of_the_keras_model(loaded, exported_model):
    encoded = good_images()
    rows = call(loaded, encoded.values())
    assert not any(rows["error"])
    for index, name in enumerate(encoded):
        pixels = tf.io.decode_image(encode(photograph(), "PNG"), channels=3) if name == "colour.png" else None
        if pixels is None:
            continue
        resized = tf.round(tf.image.resize(pixels[None], (224, 224), antialias=True))
        logit = float(exported_model.keras_model((resized / 255 - 0.5) / 0.5, training=False)[0, 0])
        assert rows["logit"][index] == pytest.approx(logit, abs=1e-4)
        probability = 1 / (1 + np.exp(-logit / exported_model.calibration.temperature))
        assert rows["probability"][index] == pytest.approx(probability, abs=1e-5)


def test_every_format_is_read_and_its_size_reported(loaded):
    encoded = good_images()
    rows = call(loaded, encoded.values())
    for index, name in enumerate(encoded):
        expected = (1, 1) if name == "single_pixel.png" else (48, 40)
        assert (rows["width"][index], rows["height"][index]) == expected, name


def test_lossless_formats_of_one_picture_get_one_probability(loaded):
    lossless = [good_images()[name] for name in ("colour.png", "alpha.png", "colour.bmp", "lossless.webp")]
    assert np.ptp(call(loaded, lossless)["probability"]) < 1e-6


def test_broken_images_get_their_own_error_and_disturb_nobody(loaded):
    good, broken = encode(photograph(), "PNG"), broken_images()
    batch = [good]
    for data, _ in broken.values():
        batch += [data, good]
    rows = call(loaded, batch)
    alone = call(loaded, [good])["probability"][0]
    np.testing.assert_allclose(rows["probability"][::2], alone, atol=1e-6)
    for index, (name, (_, message)) in enumerate(broken.items()):
        row = {field: values[2 * index + 1] for field, values in rows.items()}
        assert message in row["error"].decode(), name
        assert (row["label"], row["confidence"], row["probability"]) == (b"INVALID", 0.0, -1.0), name
        assert (row["verdict"], row["in_domain"]) == (b"uncertain", False), name


def test_a_batch_of_broken_images_only_and_an_empty_batch(loaded):
    assert call(loaded, [b"", b"x"])["label"].tolist() == [b"INVALID", b"INVALID"]
    assert {name: len(values) for name, values in call(loaded, []).items()} == dict.fromkeys(FIELDS, 0)
    assert call(loaded, [], "explain")["heatmap"].shape == (0, 7, 7)


def test_hostile_sizes_cost_no_memory(loaded):
    call(loaded, [encode(photograph(), "PNG")])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = call(loaded, [png_that_claims(30_000, 30_000), gif_bomb(frames=50)])
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert rows["label"].tolist() == [b"INVALID", rows["label"][1]]
    assert rows["width"].tolist() == [30_000, 4_000]
    assert grown_mib < 400  # fifty unpacked frames are 2,400 MB


def test_a_photograph_just_within_the_limit_is_scored(loaded):
    side = int(MAX_PIXELS**0.5)
    rows = call(loaded, [encode(PIL.Image.new("L", (side, side), 77), "PNG")])
    assert rows["error"].tolist() == [b""]
    assert rows["width"].tolist() == [side]


def test_out_of_domain_is_uncertain_whatever_the_probability_and_says_why(loaded):
    large = encode(photograph(640, 480), "JPEG")
    small = encode(photograph(32, 32), "PNG")
    rows = call(loaded, [large, small])
    assert rows["in_domain"].tolist() == [False, True]
    assert rows["verdict"][0] == b"uncertain"
    assert rows["reason"][0].decode().startswith("640 x 480 pixels")
    assert rows["reason"][1] == b""


def test_label_confidence_and_verdict_follow_from_the_probability(loaded, exported_model):
    rows = call(loaded, [encode(photograph(32, 32, seed), "PNG") for seed in range(24)])
    low, high = exported_model.calibration.band
    for label, probability, confidence, verdict in zip(
        rows["label"], rows["probability"], rows["confidence"], rows["verdict"]
    ):
        is_fake = probability >= exported_model.calibration.threshold
        assert label == (b"FAKE" if is_fake else b"REAL")
        assert confidence == pytest.approx(probability if is_fake else 1 - probability, abs=1e-6)
        sure = b"likely generated" if is_fake else b"likely real"
        assert verdict == (b"uncertain" if low < probability < high else sure)
    assert set(rows["label"]) == {b"FAKE", b"REAL"}  # else the loop above has shown little
    assert b"uncertain" in set(rows["verdict"])


def test_heatmap_is_the_gradient_of_the_logit(loaded, exported_model):
    encoded = encode(photograph(32, 32, 3), "PNG")
    rows = call(loaded, [encoded, b"broken"], "explain")
    assert rows["heatmap"].shape == (2, 7, 7)
    assert rows["heatmap"][1].max() == 0
    pixels = tf.round(tf.image.resize(tf.io.decode_png(encoded)[None], (224, 224), antialias=True))
    network = with_features(exported_model.keras_model)
    head = exported_model.keras_model.get_layer("fc")
    features = network((pixels / 255 - 0.5) / 0.5, training=False)["features"]
    with tf.GradientTape() as tape:
        tape.watch(features)
        logit = head(tf.reduce_mean(features, axis=[1, 2]))[0, 0]
    sign = 1.0 if rows["label"][0] == b"FAKE" else -1.0
    weights = tf.reduce_mean(tape.gradient(logit, features), axis=[1, 2])  # the Grad-CAM paper's alpha
    expected = tf.nn.relu(sign * tf.reduce_sum(features * weights[:, None, None], axis=-1))[0].numpy()
    np.testing.assert_allclose(rows["heatmap"][0], expected / expected.max(), atol=1e-4)


def test_from_pixels_equals_encoded(loaded):
    images = [photograph(32, 32, seed) for seed in range(3)]
    pixels = tf.constant(np.stack([np.asarray(image) for image in images]))
    from_pixels = loaded.signatures["from_pixels"](pixels=pixels)
    encoded = call(loaded, [encode(image, "PNG") for image in images])
    for name in FIELDS - {"confidence", "probability", "logit"}:
        assert from_pixels[name].numpy().tolist() == encoded[name].tolist(), name
    np.testing.assert_allclose(from_pixels["probability"], encoded["probability"], atol=1e-6)
    assert loaded.signatures["from_pixels"](pixels=tf.zeros([2, 0, 5, 3], tf.uint8))["error"].shape == (2,)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_loader_of_tensorflow_serving_gives_the_same(loaded, exported_model):
    batch = [*good_images().values(), *(data for data, _ in broken_images().values())]
    for signature in ("serving_default", "explain"):
        expected = call(loaded, batch, signature)
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported_model.path))
            definition = graph.signature_def[signature]
            outputs = {name: tensor.name for name, tensor in definition.outputs.items()}
            found = session.run(outputs, {definition.inputs["image_bytes"].name: batch})
        assert set(found) == set(expected)
        for name, values in expected.items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)
            else:
                assert found[name].tolist() == values.tolist(), name


def test_warm_up_requests_replay(loaded, exported_model):
    """Read by the messages' own package where it is installed, and sent to the model: every signature has some."""
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="pip install -e '.[grpc]'")
    played = []
    for record in tf.data.TFRecordDataset(str(exported_model.path / WARMUP_FILE)).as_numpy_iterator():
        request = apis.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "deepfake"
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        outputs = loaded.signatures[request.model_spec.signature_name](**inputs)
        assert outputs["error"].numpy().tolist() == [b""] * len(outputs["error"])
        played.append((request.model_spec.signature_name, len(outputs["error"])))
    signatures = ("serving_default", "explain", "from_pixels")
    assert sorted(played) == sorted((name, size) for name in signatures for size in (1, 8))


def test_model_card_travels_along_with_the_logit_of_the_known_image(exported_model, loaded):
    card = json.loads((exported_model.path / "assets" / "model_card.json").read_text())
    logit = card.pop("known_image_logit")
    assert card == exported_model.card
    assert call(loaded, [known_image()])["logit"] == pytest.approx([logit], abs=1e-3)


def test_a_model_that_is_computed_wrongly_is_not_used(exported_model, tmp_path):
    folder = shutil.copytree(exported_model.path, tmp_path / "1")
    card_file = folder / "assets" / "model_card.json"
    card = json.loads(card_file.read_text())
    card["known_image_logit"] += 1
    card_file.write_text(json.dumps(card))
    for load in (load_scorer, lambda path: ServedModel("deepfake", {1: path})):
        with pytest.raises(ValueError, match=r"TensorFlow 2\S+ computes .* wrongly on this machine and is not used"):
            load(folder)


def test_another_calibration_leaves_logits_and_domain_as_they_are(exported_model, loaded, tmp_path):
    first = tmp_path / "first"
    means = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    domain = Domain(32, 48, means, np.eye(512, dtype=np.float32), threshold=30.0, roughness_limit=0.5)
    limits = {"sides_seen_in_training": [32, 48], "mahalanobis_threshold": 30.0, "roughness_limit": 0.5}
    images = [encode(photograph(32, 32, seed), "PNG") for seed in range(3)]
    exported = exported_of(exported_model.keras_model, domain)
    write_savedmodel(exported, exported_model.calibration, {"domain": limits}, first, images)
    calibration = Calibration(temperature=0.8, threshold=0.4, band=(0.3, 0.5), intercept=-0.6)
    second = write_savedmodel(read_exported(first), calibration, {"domain": limits}, tmp_path / "second", images)
    images.append(encode(photograph(300, 300), "PNG"))
    before, after = (call(tf.saved_model.load(str(path)), images, "explain") for path in (first, second))
    np.testing.assert_allclose(after["logit"], before["logit"], atol=1e-6)
    np.testing.assert_allclose(after["probability"], calibration.probabilities(before["logit"]), atol=1e-6)
    assert after["label"].tolist() == [b"FAKE" if p >= 0.4 else b"REAL" for p in after["probability"]]
    assert after["reason"].tolist() == before["reason"].tolist()
    assert after["in_domain"].tolist() == before["in_domain"].tolist()


def test_a_folder_that_is_no_savedmodel_is_not_replaced(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "precious.txt").write_text("keep")
    with pytest.raises(ValueError, match="is no SavedModel"):
        write_savedmodel(None, None, {}, tmp_path / "1", [])
    assert (tmp_path / "1" / "precious.txt").exists()


def test_a_network_trained_on_smaller_squares_reads_the_input_pooled():
    model = build_model("resnet18", 112)
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    pooled = pixels.reshape(2, 112, 2, 112, 2, 3).mean(axis=(2, 4))
    outputs = freeze(with_features(model))(tf.constant(pixels))
    np.testing.assert_allclose(outputs["logit"], model(pooled, training=False), atol=1e-4)
    assert outputs["features"].shape == (2, 4, 4, 512)


def test_a_network_of_a_side_that_does_not_divide_the_input_reads_it_interpolated():
    """Of a small image, enlarged to 224, it sees what it would see of one enlarged to its own side."""
    model = build_model("resnet18", 96)
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8))
    seen = [tensorflow_reader.normalise(tensorflow_reader.resize(pixels, side)) for side in (224, 96)]
    inner = tf.image.resize(seen[0], (96, 96))
    assert float(tf.reduce_mean(tf.abs(inner - seen[1]))) < 0.02  # of -1..1: rounding, and what lies between samples
    outputs = freeze(with_features(model))(seen[0])
    np.testing.assert_allclose(outputs["logit"], model(inner, training=False), atol=1e-4)
    assert outputs["features"].shape == (2, 3, 3, 512)
