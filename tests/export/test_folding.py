import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf import Detector
from deepfake_tf.data.examples import Examples
from deepfake_tf.decision.domain import Domain
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.export.folding import fold_batch_norm
from deepfake_tf.export.from_run import export_run
from deepfake_tf.export.savedmodel import exported_of, freeze, write_savedmodel
from deepfake_tf.networks import build_model, flip_averaged, with_features
from tests.images import broken_images, encode, photograph

FEATURES_TOLERANCE = 0.05  # of the largest value, after 20 layers that each round to bfloat16
LOGIT_TOLERANCE = 2**-9  # of the terms that it sums: one rounding to bfloat16; most of the 512 errors cancel


@pytest.fixture(scope="module")
def trained():
    """A network whose batch norms have something to fold."""
    model = build_model("resnet18", 56)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            low_high = ((0.5, 1.5), (-0.3, 0.3), (-0.5, 0.5), (0.5, 2.0))  # gamma, beta, mean, variance
            layer.set_weights([generator.uniform(*limits, size).astype(np.float32) for limits in low_high])
    return model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).uniform(-1, 1, (3, 224, 224, 3)).astype(np.float32)


def size_of_terms(model: keras.Model, images: np.ndarray) -> float:
    """What a logit adds up, each term taken as positive: rounding errors go with it, not with the sum."""
    head = model.get_layer("fc")
    pooled = keras.Model(model.input, head.input)(images, training=False).numpy()
    return float((np.abs(pooled) @ np.abs(head.get_weights()[0])).max())


def operations(function) -> set[str]:
    return {operation.type for operation in graph_of(function).get_operations()}


def constants(function) -> list[tf.Tensor]:
    return [operation.outputs[0] for operation in graph_of(function).get_operations() if operation.type == "Const"]


def graph_of(function) -> tf.Graph:
    """The frozen graph behind `freeze`."""
    (frozen,) = [
        cell.cell_contents for cell in function.__closure__ if hasattr(cell.cell_contents, "structured_outputs")
    ]
    return frozen.graph


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "resnet50v2"])
def test_a_folded_network_computes_the_same(name, trained):
    model = trained if name == "resnet18" else build_model(name, 64)
    images = np.random.default_rng(2).uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    before = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    folded = fold_batch_norm(model)
    after = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    assert after < before
    assert (after == 0) == (name != "resnet50v2")  # a ResNet V2 normalises sums too, which no convolution makes
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(folded(images, training=False), expected, rtol=1e-4, atol=1e-4)


def test_folding_leaves_the_network_as_it_is_and_ends(trained):
    before = [weights.copy() for weights in trained.get_weights()]
    folded = fold_batch_norm(trained)
    assert fold_batch_norm(folded) is folded
    for left, right in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_convolution_that_something_else_reads_is_not_folded():
    images = keras.Input((8, 8, 3))
    raw = keras.layers.Conv2D(4, 3, name="read_twice")(images)
    normed = keras.layers.BatchNormalization()(raw)
    features = keras.layers.Add(name="features")([raw, normed])
    model = keras.Model(images, features)
    assert fold_batch_norm(model) is model


@pytest.mark.parametrize("fold_first", [False, True])
def test_a_network_inside_another_is_folded_once(trained, pixels, fold_first):
    model = flip_averaged(fold_batch_norm(trained) if fold_first else trained)
    function = freeze(with_features(model))
    assert "Rsqrt" not in operations(function)
    pooled = pixels.reshape(3, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    expected = (trained(pooled, training=False) + trained(pooled[:, :, ::-1], training=False)) / 2
    np.testing.assert_allclose(function(tf.constant(pixels))["logit"], expected, rtol=1e-4, atol=1e-4)
    narrow = freeze(with_features(model), "bfloat16")
    tolerance = LOGIT_TOLERANCE * size_of_terms(trained, pooled)
    np.testing.assert_allclose(narrow(tf.constant(pixels))["logit"], expected, atol=tolerance)
    kernels = [t for t in constants(narrow) if t.shape.rank == 4 and t.dtype == tf.bfloat16]
    assert len(kernels) == 20  # shared by both calls


def test_the_exported_graph_is_convolution_bias_and_relu(trained):
    kinds = operations(freeze(with_features(trained)))
    assert "BiasAdd" in kinds
    assert not kinds & {"Rsqrt", "FusedBatchNormV3", "ReadVariableOp", "Sub"}


def test_bfloat16_scores_closely_and_answers_in_float32(trained, pixels):
    exact = freeze(with_features(trained))(tf.constant(pixels))
    narrow = freeze(with_features(trained), "bfloat16")(tf.constant(pixels))
    pooled = pixels.reshape(3, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    tolerances = {
        "logit": LOGIT_TOLERANCE * size_of_terms(trained, pooled),
        "features": FEATURES_TOLERANCE * np.abs(exact["features"]).max(),
    }
    for name, values in exact.items():
        assert narrow[name].dtype == tf.float32
        np.testing.assert_allclose(narrow[name], values, atol=tolerances[name], err_msg=name)
    assert not np.array_equal(narrow["logit"], exact["logit"])


def test_an_unknown_precision_is_refused(trained):
    with pytest.raises(ValueError, match="float32, bfloat16.*Received: precision='float8'"):
        freeze(with_features(trained), "float8")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_bfloat16_savedmodel_is_half_the_size_and_runs_in_the_loader_of_tensorflow_serving(exported_model, tmp_path):
    domain = Domain(32, 32, np.zeros((2, 512), np.float32), np.eye(512, dtype=np.float32), threshold=1e6)
    path = tmp_path / "1"
    exported = exported_of(exported_model.keras_model, domain, "bfloat16")
    write_savedmodel(exported, exported_model.calibration, {}, path, exported_model.warmup_images)
    size = lambda folder: (folder / "saved_model.pb").stat().st_size
    assert size(path) < 0.6 * size(exported_model.path)
    batch = [encode(photograph(32, 32, seed), "PNG") for seed in range(6)] + [broken_images()["cut.png"][0]]
    expected = tf.saved_model.load(str(exported_model.path)).signatures["explain"](image_bytes=tf.constant(batch))
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
        definition = graph.signature_def["explain"]
        outputs = {name: tensor.name for name, tensor in definition.outputs.items()}
        found = session.run(outputs, {definition.inputs["image_bytes"].name: batch})
    assert found["error"].tolist() == expected["error"].numpy().tolist()
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=0.03)
    np.testing.assert_allclose(found["heatmap"], expected["heatmap"], atol=0.1)


def test_a_run_exported_in_bfloat16_states_what_it_costs(write_images, tmp_path):
    folder = write_images({"REAL": 12, "FAKE": 12}, size=(32, 32))
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.png"))]
    labels = np.array([int(name.startswith("FAKE")) for name in names])
    examples = Examples(names, labels, [str(folder / name) for name in names], [""] * len(names))
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.json").write_text(TrainingConfig(image_size=56).to_json())
    keras.utils.set_random_seed(0)
    build_model("resnet18", 56).save_weights(run_dir / "best.weights.h5")
    for file, parity in (("train_files.txt", 0), ("validation_files.txt", 1)):
        (run_dir / file).write_text("".join(f"{name}\n" for name in names[parity::2]))
    card = export_run(run_dir, examples, tmp_path / "deepfake" / "1", precision="bfloat16")
    assert card["precision"] == "bfloat16"
    cost = card["against_float32"]
    assert 0 < cost["probability_difference_mean"] <= cost["probability_difference_max"] < 0.05
    assert 0.9 <= cost["same_label"] <= 1
    detector = Detector(tmp_path / "deepfake")
    right = [
        int(found.label == "FAKE") == label
        for found, label in zip(detector.predict(list(examples.files[1::2])), labels[1::2])
    ]
    assert cost["accuracy"] == pytest.approx(
        np.mean(right)
    )  # not the card's metrics, whose calibration is cross-fitted
    assert json.loads(json.dumps(card)).items() <= detector.card.items()
    assert not any(prediction.error for prediction in detector.predict(list(examples.files[:3])))
