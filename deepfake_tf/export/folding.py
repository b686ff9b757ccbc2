"""Batch norm folded into the convolutions before it: the same network with fewer, larger steps.

    kernel' = kernel * gamma / sqrt(variance + epsilon)
    bias'   = (bias - mean) * gamma / sqrt(variance + epsilon) + beta

What is left of a block is convolution, bias, ReLU, which TensorFlow runs as one oneDNN call.
"""

from __future__ import annotations

import keras
import numpy as np

from deepfake_tf.networks import FEATURES_LAYER
from deepfake_tf.networks.batch_normalization import find_foldable

PRECISIONS = ("float32", "bfloat16")


def fold_batch_norm(model: keras.Model, precision: str = "float32") -> keras.Model:
    """A copy of a network for inference, without the batch norms that directly follow a convolution.

    Args:
        model: keras.Model of `build_model`, `flip_averaged` or `with_features`; float32. It is not changed.
        precision: "float32"; or "bfloat16": weights and arithmetic up to the last feature map, while what
            decides (pooling, head) and a batch norm that could not be folded stay float32.

    Returns:
        A keras.Model with the same inputs, outputs and layer names. `model` itself where there is nothing to do.

    Raises:
        ValueError: `precision` is unknown, or none of this network.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}. Received: precision={precision!r}")
    folded = find_foldable(model)
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    copies = {id(inner): fold_batch_norm(inner, precision) for inner in nested}  # one for each, however often called
    if not folded and precision == "float32" and all(copies[id(inner)] is inner for inner in nested):
        return model
    names = [layer.name for layer in model.layers]
    if precision == "bfloat16" and FEATURES_LAYER not in names:
        raise ValueError(f"A network with {model.name} is exported in float32 alone. Received: precision={precision!r}")
    narrow = set(names[: names.index(FEATURES_LAYER)]) if precision == "bfloat16" else set()

    def clone(layer):
        if id(layer) in copies or not isinstance(layer, keras.Layer):  # a bare operation has no state
            return copies.get(id(layer), layer)
        config = layer.get_config()
        if layer.name in folded.values():
            config["use_bias"] = True
        if layer.name in narrow and not isinstance(layer, keras.layers.BatchNormalization):
            config["dtype"] = precision
        copies[id(layer)] = layer.__class__.from_config(config)
        return copies[id(layer)]

    def call(layer, *inputs, **options):
        return inputs[0] if layer.name in folded else layer(*inputs, **options)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    convolutions = {convolution: batch_norm for batch_norm, convolution in folded.items()}
    for layer in copy.layers:
        if layer.name in convolutions:
            batch_norm = model.get_layer(convolutions[layer.name])
            layer.set_weights(_folded_weights(model.get_layer(layer.name), batch_norm))
        elif layer.weights and not isinstance(layer, keras.Model):
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy


def _folded_weights(convolution: keras.layers.Layer, batch_norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel [h, w, in, out], of a depthwise convolution [h, w, out, 1], and bias [out]; in float64, rounded once."""
    wide = lambda variable, default: default if variable is None else np.asarray(variable.numpy(), np.float64)
    scale = wide(batch_norm.gamma, 1.0) / np.sqrt(wide(batch_norm.moving_variance, None) + batch_norm.epsilon)
    offset = wide(convolution.bias if convolution.use_bias else None, 0.0) - wide(batch_norm.moving_mean, None)
    bias = offset * scale + wide(batch_norm.beta, 0.0)
    kernel = wide(convolution.kernel, None)
    kernel *= scale[:, None] if isinstance(convolution, keras.layers.DepthwiseConv2D) else scale
    return [kernel.astype(np.float32), bias.astype(np.float32)]
