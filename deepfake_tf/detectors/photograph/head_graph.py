"""The head in TensorFlow: what the exported files compute from the class tokens.

A head is a set of arrays, as training writes them (`head.npz`). All are float32; those in brackets may be absent.

    [layer_norm]                  []: each class token is first brought to mean 0 and variance 1
    [mean, scale]                 [blocks, 768]: then standardised, (x - mean) / scale
    weight, bias                  [blocks, 768], []: a linear head; or, instead, RINE's (https://arxiv.org/abs/2402.19091):
    project.I.weight, .bias       [in, out], [out]: dense layers with ReLU on each block's token, shared by all
    importance                    [blocks, out]: softmax over the blocks weighs their results, unit by unit
    classify.I.weight, .bias      dense layers with ReLU between them; the last one has one unit
    [offset]                      []: taken off the logit
    [domain.block]                []: the block whose standardised class token tells how usual an image is
    [domain.projection, .means]   [768, C], [K, C]: the distance is that of the projection to the nearest mean
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

_LAYER_NORM_EPSILON = 1e-5


def head_logit(arrays: Mapping[str, np.ndarray], cls: tf.Tensor) -> tf.Tensor:
    """Class tokens, float32 [N, blocks, 768] -> logit float32 [N]; positive speaks for FAKE."""
    x = standardise(arrays, cls)
    if "importance" in arrays:
        blocks, units = arrays["importance"].shape
        flat = _dense_layers(arrays, "project", tf.reshape(x, [-1, x.shape[2]]))
        importance = np.exp(arrays["importance"] - arrays["importance"].max(axis=0))
        importance = (importance / importance.sum(axis=0)).astype(np.float32)
        pooled = tf.reduce_sum(tf.reshape(flat, [-1, blocks, units]) * importance, axis=1)
        logit = _dense_layers(arrays, "classify", pooled, relu_at_the_end=False)[:, 0]
    elif "weight" in arrays:
        logit = tf.reduce_sum(x * arrays["weight"], axis=[1, 2]) + np.float32(arrays["bias"])
    else:
        raise ValueError(f"a head has the arrays weight and bias, or importance and others. Received: {sorted(arrays)}")
    return logit - np.float32(arrays.get("offset", 0))


def logit_and_gradient(arrays: Mapping[str, np.ndarray], cls: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The logit, float32 [N], and its derivative by the class tokens, float32 [N, blocks, 768].

    The derivative is written into the graph as plain products: nothing is differentiated when the graph runs.
    """
    with tf.GradientTape() as tape:
        tape.watch(cls)
        logit = head_logit(arrays, cls)
    return logit, tape.gradient(logit, cls)


def domain_distance(arrays: Mapping[str, np.ndarray], cls: tf.Tensor) -> tf.Tensor:
    """How unlike the training images: float32 [N], 0 and up; 0 for a head without a domain."""
    if "domain.projection" not in arrays:
        return tf.zeros_like(cls[:, 0, 0])
    projection = arrays["domain.projection"]
    x = standardise(arrays, cls)[:, int(arrays["domain.block"])]
    projected = tf.matmul(x, tf.constant(projection))[:, None]
    return tf.sqrt(tf.reduce_min(tf.reduce_sum(tf.square(projected - arrays["domain.means"]), axis=2), axis=1))


def standardise(arrays: Mapping[str, np.ndarray], cls: tf.Tensor) -> tf.Tensor:
    """The class tokens as the head reads them, of the same shape."""
    if "layer_norm" in arrays:
        cls -= tf.reduce_mean(cls, axis=-1, keepdims=True)
        cls *= tf.math.rsqrt(tf.reduce_mean(tf.square(cls), axis=-1, keepdims=True) + _LAYER_NORM_EPSILON)
    if "mean" in arrays:
        cls = (cls - arrays["mean"]) * (1 / arrays["scale"]).astype(np.float32)
    return cls


def _dense_layers(arrays: Mapping[str, np.ndarray], name: str, x: tf.Tensor, relu_at_the_end: bool = True) -> tf.Tensor:
    for index in itertools.count():
        if f"{name}.{index}.weight" not in arrays:
            return x
        x = tf.matmul(x, tf.constant(arrays[f"{name}.{index}.weight"])) + arrays[f"{name}.{index}.bias"]
        if relu_at_the_end or f"{name}.{index + 1}.weight" in arrays:
            x *= tf.cast(x > 0, tf.float32)  # ReLU, whose own gradient is no operation of LiteRT
    return x
