"""CLIP's ViT-B/16 for inference, in TensorFlow, from arrays: what the exported files compute.

The same numbers as `vit_b16.build_vit_b16`, and three differences. Weights come as arrays, so that int8 ones stay int8
until a caller decides how they are multiplied. The last block computes its class token alone, which saves a
fourteenth of the work. And each block also returns what an explanation needs: how the class token looks at the
patches, and what it finds there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from deepfake_tf.networks.vit_b16 import (
    DENSE_LAYERS,
    HEADS,
    LAYER_NORM_EPSILON,
    PATCH_SIZE,
    PIXEL_MEAN,
    PIXEL_STD,
    WIDTH,
)

FEATURES = ("cls", "attention", "values")
Dense = Callable[[tf.Tensor, str], tf.Tensor]  # x [n, in], a layer's name such as "blocks.0.q" -> [n, out]


def count_blocks(arrays: Mapping[str, Any]) -> int:
    """How many blocks there are arrays of."""
    return sum(name.endswith(".fc2.bias") for name in arrays)


def dense_kernel(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A dense layer's kernel, float32 [in, out]: int8 times the scale of its output channel, or float as it stands."""
    kernel = arrays[f"{name}.weight"].astype(np.float32)
    return kernel * arrays[f"{name}.scale"] if f"{name}.scale" in arrays else kernel


def float_dense(arrays: Mapping[str, np.ndarray]) -> Dense:
    """Dense layers with float32 constants."""
    return lambda x, name: tf.matmul(x, tf.constant(dense_kernel(arrays, name))) + arrays[f"{name}.bias"]


def compute_features(
    arrays: Mapping[str, Any], pixels: tf.Tensor, dense: Dense, dtype: tf.DType = tf.float32
) -> dict[str, tf.Tensor]:
    """Run the network.

    Args:
        arrays: name -> array or tensor, as of `clip_weights.read_clip_weights`, without the kernels. All blocks that
            they hold are computed.
        pixels: uint8 [N, S, S, 3], RGB 0..255; N may be unknown, S belongs to the positions.
        dense: multiplies by the kernels, see `float_dense`.
        dtype: of the attention. The residual stream and the layer norms are float32.

    Returns:
        `cls`, float32 [N, blocks, 768]: the class token in the residual stream after each block;
        `attention`, float32 [N, blocks, 12, patches]: softmax weights of the class token on the patches, by head; what
        they lack to 1 is its weight on itself; `values`, float32 [N, blocks, 12, patches, 64]: what is weighted.
    """
    batch = tf.shape(pixels)[0] if pixels.shape[0] is None else pixels.shape[0]
    x = _embed(arrays, pixels, batch)
    tokens = x.shape[1]
    blocks = count_blocks(arrays)
    cls, attention, values = [], [], []
    for block in range(blocks):
        name = f"blocks.{block}"
        normed = _layer_norm(x, arrays, f"{name}.layer_norm1")
        seen = tokens
        seeing = normed
        if block == blocks - 1:  # of the last block, the class token alone is wanted
            seen = 1
            x, seeing = x[:, :1], normed[:, :1]
        query = _split_heads(dense(_flat(seeing), f"{name}.q") * (WIDTH // HEADS) ** -0.5, batch, seen, dtype)
        key = _split_heads(dense(_flat(normed), f"{name}.k"), batch, tokens, dtype)
        value = _split_heads(dense(_flat(normed), f"{name}.v"), batch, tokens, dtype)
        scores = tf.matmul(query, key, transpose_b=True)  # [N, 12, seen, tokens]
        weights = tf.nn.softmax(tf.cast(scores, tf.float32))
        attended = tf.transpose(tf.matmul(tf.cast(weights, dtype), value), [0, 2, 1, 3])
        attended = dense(_flat(tf.cast(attended, tf.float32)), f"{name}.out")
        x += tf.reshape(attended, [batch, seen, WIDTH])
        hidden = dense(_flat(_layer_norm(x, arrays, f"{name}.layer_norm2")), f"{name}.fc1")
        hidden = dense(hidden * tf.sigmoid(1.702 * hidden), f"{name}.fc2")
        x += tf.reshape(hidden, [batch, seen, WIDTH])
        cls.append(x[:, :1])
        attention.append(tf.transpose(weights[:, :, :1, 1:], [0, 2, 1, 3]))
        values.append(tf.cast(value[:, None, :, 1:], tf.float32))
    return {name: tf.concat(parts, 1) for name, parts in zip(FEATURES, (cls, attention, values))}


def _flat(x: tf.Tensor) -> tf.Tensor:
    """[N, tokens, 768] -> [N * tokens, 768]."""
    return tf.reshape(x, [-1, WIDTH])


def _embed(arrays: Mapping[str, Any], pixels: tf.Tensor, batch) -> tf.Tensor:
    """Pixels -> float32 [N, tokens, 768] before the first block."""
    mean, std = 255 * np.array(PIXEL_MEAN, np.float32), 255 * np.array(PIXEL_STD, np.float32)
    images = (tf.cast(pixels, tf.float32) - mean) / std
    kernel = arrays["patch_embedding"].transpose(2, 3, 1, 0)
    patches = tf.nn.conv2d(images, tf.constant(kernel), PATCH_SIZE, "VALID")
    patches = tf.reshape(patches, [batch, patches.shape[1] * patches.shape[2], WIDTH])
    first = tf.broadcast_to(tf.reshape(arrays["class_embedding"], [1, 1, WIDTH]), [batch, 1, WIDTH])
    embedded = tf.concat([first, patches], axis=1) + arrays["position_embedding"]
    return _layer_norm(embedded, arrays, "pre_layernorm")


def _layer_norm(x: tf.Tensor, arrays: Mapping[str, Any], name: str) -> tf.Tensor:
    centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normed = centred * tf.math.rsqrt(variance + LAYER_NORM_EPSILON)
    return normed * arrays[f"{name}.weight"] + arrays[f"{name}.bias"]


def _split_heads(x: tf.Tensor, batch, tokens: int, dtype: tf.DType) -> tf.Tensor:
    """[N * tokens, 768] -> [N, 12, tokens, 64]."""
    x = tf.cast(tf.reshape(x, [batch, tokens, HEADS, WIDTH // HEADS]), dtype)
    return tf.transpose(x, [0, 2, 1, 3])


def dense_layer_names(arrays: Mapping[str, Any]) -> list[str]:
    """Such as "blocks.0.q", in the order of execution."""
    return [f"blocks.{block}.{part}" for block in range(count_blocks(arrays)) for part in DENSE_LAYERS]


def first_blocks(arrays: Mapping[str, np.ndarray], blocks: int) -> dict[str, np.ndarray]:
    """The arrays without those of later blocks, and without what stands behind the last block.

    Raises:
        ValueError: there are not so many blocks.
    """
    if not 1 <= blocks <= count_blocks(arrays):
        raise ValueError(f"blocks must lie in 1..{count_blocks(arrays)}. Received: blocks={blocks}")
    wanted = {"patch_embedding", "class_embedding", "position_embedding", "pre_layernorm.weight", "pre_layernorm.bias"}
    return {
        name: array
        for name, array in arrays.items()
        if name in wanted or (name.startswith("blocks.") and int(name.split(".")[1]) < blocks)
    }
