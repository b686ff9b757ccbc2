"""The fused batch normalisation against Keras's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf.networks.batch_normalization import BatchNormalization

SHAPE = (8, 5, 7, 16)
UNBIASED = 8 * 5 * 7 / (8 * 5 * 7 - 1)  # n / (n - 1): the fused kernel's moving variance is torchvision's


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def layers(request) -> tuple[keras.Layer, keras.Layer]:
    """Ours and Keras's with the same weights."""
    weights = np.random.default_rng(0).uniform(0.5, 2, (4, SHAPE[-1]))
    ours, reference = (
        cls(momentum=0.9, epsilon=1e-5, dtype=request.param)
        for cls in (BatchNormalization, keras.layers.BatchNormalization)
    )
    for layer in (ours, reference):
        layer.build(SHAPE)
        layer.set_weights(list(weights))
    return ours, reference


def _outputs_and_gradients(layer, training: bool) -> list[np.ndarray]:
    images = tf.cast(np.random.default_rng(1).normal(1, 3, SHAPE), layer.compute_dtype)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=training)
        loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
    gradients = tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])
    return [tf.cast(tensor, "float32").numpy() for tensor in (outputs, *gradients)]


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_keras(layers, training):
    rounding = 1e-5 if layers[0].compute_dtype == "float32" else 2e-2  # bfloat16 keeps 8 bits of mantissa
    for ours, reference in zip(*(_outputs_and_gradients(layer, training) for layer in layers), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=rounding, atol=rounding * np.abs(reference).max())


def test_training_moves_mean_and_variance_and_inference_does_not(layers):
    before = layers[0].get_weights()
    for layer in layers:
        _outputs_and_gradients(layer, training=True)
    ours, reference = (layer.get_weights() for layer in layers)
    for weight, expected in zip(ours[:3], reference[:3], strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5)
    np.testing.assert_allclose(ours[3] - 0.9 * before[3], UNBIASED * (reference[3] - 0.9 * before[3]), rtol=1e-4)
    _outputs_and_gradients(layers[0], training=False)
    for weight, expected in zip(layers[0].get_weights(), ours, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_frozen_layer_normalises_by_its_moving_statistics(layers):
    layers[0].trainable = False
    before = layers[0].get_weights()
    frozen, inference = (_outputs_and_gradients(layers[0], training)[0] for training in (True, False))
    np.testing.assert_array_equal(frozen, inference)
    np.testing.assert_array_equal(layers[0].get_weights(), before)


def test_files_of_weights_fit_keras_layer_too(layers, tmp_path):
    ours, reference = (keras.Sequential([keras.Input(SHAPE[1:]), layer]) for layer in layers)
    ours.save_weights(tmp_path / "ours.weights.h5")
    reference.set_weights([np.zeros(SHAPE[-1])] * 4)
    reference.load_weights(tmp_path / "ours.weights.h5")
    np.testing.assert_array_equal(reference.get_weights(), ours.get_weights())
