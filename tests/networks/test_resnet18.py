"""The ResNet-18 port against an independent NumPy implementation of torchvision's network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from deepfake_tf.networks import FEATURES_LAYER, HEAD_LAYER, build_model, flip_averaged, with_features
from deepfake_tf.networks.pretrained import load_published_weights
from deepfake_tf.networks.resnet18 import build_resnet18
from tests.networks.reference_resnet18 import forward, random_arrays

LAYER_OF = {"conv1": "conv1", "bn1": "bn1", "maxpool": "maxpool", "avgpool": "avgpool", "fc": "fc"} | {
    f"layer{stage}.{block}": f"layer{stage}.{block}.relu2" for stage in (1, 2, 3, 4) for block in (0, 1)
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)


def test_every_stage_equals_the_reference(images):
    arrays = random_arrays(seed=0)
    model = build_resnet18(image_size=64)
    assert load_published_weights(model, arrays, imagenet_normalisation=False) == []
    probe = keras.Model(model.input, {name: model.get_layer(layer).output for name, layer in LAYER_OF.items()})
    outputs = probe.predict_on_batch(images)
    for name, expected in forward(arrays, images).items():
        assert outputs[name].shape == expected.shape, name
        error = np.abs(outputs[name] - expected).max() / np.abs(expected).max()
        assert error < 5e-6, f"{name}: {error:.1e} of the largest activation"


@pytest.mark.parametrize("size", [33, 97])
def test_odd_sizes_are_padded_like_torch(size):
    arrays = random_arrays(seed=2)
    model = build_resnet18(image_size=None)
    load_published_weights(model, arrays, imagenet_normalisation=False)
    images = np.random.default_rng(3).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    expected = forward(arrays, images)["fc"]
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-5, atol=1e-5)


def test_parameters_and_layer_names():
    model = build_resnet18(image_size=32)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 11_177_025
    assert model.output_shape == (None, 1)
    arrays = random_arrays(seed=0)
    with_weights = {layer.name for layer in model.layers if layer.weights and layer.name != "dropout"}
    assert with_weights == {name.rpartition(".")[0] for name in arrays}
    assert model.get_layer(HEAD_LAYER).units == 1
    assert model.get_layer(FEATURES_LAYER).output.shape == (None, 1, 1, 512)


def test_with_features_shares_weights(images):
    model = build_resnet18(image_size=64)
    outputs = with_features(model).predict_on_batch(images)
    assert outputs["features"].shape == (2, 2, 2, 512)
    np.testing.assert_array_equal(outputs["logit"], model.predict_on_batch(images))
    head = model.get_layer(HEAD_LAYER)
    pooled = outputs["features"].mean((1, 2)) @ np.array(head.kernel) + np.array(head.bias)
    np.testing.assert_allclose(pooled, outputs["logit"], rtol=1e-4, atol=1e-5)


def test_flip_averaged_is_the_mean_of_both_views(images):
    model = build_resnet18(image_size=64)
    views = [model.predict_on_batch(view) for view in (images, images[:, :, ::-1])]
    averaged = flip_averaged(model)
    np.testing.assert_allclose(averaged.predict_on_batch(images), np.mean(views, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        averaged.predict_on_batch(images), averaged.predict_on_batch(images[:, :, ::-1]), rtol=1e-4, atol=1e-5
    )
    features, mirrored = (
        with_features(averaged).predict_on_batch(view)["features"] for view in (images, images[:, :, ::-1])
    )
    np.testing.assert_allclose(features, mirrored[:, :, ::-1], rtol=1e-3, atol=1e-4)


def test_dropout_acts_in_training_only(images):
    model = build_resnet18(image_size=64, dropout=0.9)
    first, second = (np.array(model(images, training=False)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    first, second = (np.array(model(images, training=True)) for _ in range(2))
    assert not np.allclose(first, second)


def test_mixed_precision_keeps_variables_and_logit_in_float32(images):
    model = build_resnet18(image_size=64, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert model.get_layer("layer4.1.conv2").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    reference = build_resnet18(image_size=64)
    reference.set_weights(model.get_weights())
    # bfloat16 keeps 8 bits of mantissa: a relative 0.4 % a rounding, over 20 layers.
    np.testing.assert_allclose(model.predict_on_batch(images), reference.predict_on_batch(images), atol=0.1)


def test_saved_and_loaded_model_gives_the_same_logit(images, tmp_path):
    model = build_resnet18(image_size=64, dropout=0.2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))


def test_weights_move_between_image_sizes(images, tmp_path):
    trained_small = build_resnet18(image_size=32)
    trained_small.save_weights(tmp_path / "small.weights.h5")
    model = build_resnet18(image_size=64)
    model.load_weights(tmp_path / "small.weights.h5")
    any_size = build_resnet18(image_size=None)
    any_size.set_weights(trained_small.get_weights())
    np.testing.assert_array_equal(model.predict_on_batch(images), any_size.predict_on_batch(images))


def test_unknown_name_is_an_error():
    with pytest.raises(
        ValueError, match="resnet18, resnet50v2, efficientnet_lite0, cifake_vit. Received: name='vgg16'"
    ):
        build_model("vgg16")


JAX_PROGRAM = """
import sys
sys.modules["tensorflow"] = None  # any import of it fails
import numpy as np
from deepfake_tf.networks import build_model
model = build_model("resnet18", image_size=64)
model.load_weights("model.weights.h5")
np.save("logit.npy", model.predict_on_batch(np.load("images.npy")))
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_jax_without_tensorflow_gives_the_same_logit(images, tmp_path):
    model = build_resnet18(image_size=64)
    model.save_weights(tmp_path / "model.weights.h5")
    np.save(tmp_path / "images.npy", images)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", JAX_PROGRAM], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "logit.npy"), model.predict_on_batch(images), rtol=1e-4, atol=1e-5)
