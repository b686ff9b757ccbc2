"""CLIP's ViT-B/16, the image tower alone, in pure Keras 3: any backend, trainable, its intermediate features by name.

Dosovitskiy et al., https://arxiv.org/abs/2010.11929; Radford et al., https://arxiv.org/abs/2103.00020. Against the
plain ViT: a layer norm before the first block, quick GELU, no bias in the patch embedding.
"""

from __future__ import annotations

import functools

import keras

WIDTH = 768
HEADS = 12
HIDDEN = 3072  # units between the two dense layers of a block
BLOCKS = 12
PATCH_SIZE = 16  # pixels
PRETRAINED_GRID = 14  # patches a side of the published positions, 224 px
LAYER_NORM_EPSILON = 1e-5
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # RGB, of x / 255
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
DENSE_LAYERS = ("q", "k", "v", "out", "fc1", "fc2")


@keras.saving.register_keras_serializable("deepfake_tf")
class ClassAndPositions(keras.layers.Layer):
    """Puts the class token before the patches and adds the positions: [N, patches, 768] -> [N, 1 + patches, 768]."""

    def build(self, input_shape):
        _, patches, width = input_shape
        self.class_embedding = self.add_weight(
            name="class_embedding", shape=(width,), initializer=keras.initializers.RandomNormal(0.0, 0.02)
        )
        self.position_embedding = self.add_weight(
            name="position_embedding",
            shape=(1 + patches, width),
            initializer=keras.initializers.RandomNormal(0.0, 0.02),
        )

    def call(self, patches):
        shape = keras.ops.shape(patches)
        class_token = keras.ops.broadcast_to(self.class_embedding, (shape[0], 1, shape[2]))
        return keras.ops.concatenate([class_token, patches], axis=1) + self.position_embedding

    def compute_output_shape(self, input_shape):
        batch, patches, width = input_shape
        return batch, 1 + patches, width


@keras.saving.register_keras_serializable("deepfake_tf")
def quick_gelu(x):
    """x * sigmoid(1.702 x), the activation that CLIP was trained with."""
    return x * keras.ops.sigmoid(1.702 * x)


def build_vit_b16(
    image_size: int = 224, blocks: int = BLOCKS, dtype: str | None = None, adapter_rank: int = 0
) -> keras.Model:
    """ViT-B/16 with its class token after every block; fresh weights, see `clip_weights.load_clip_weights`.

    Args:
        image_size: int. Side of the square input in pixels, a multiple of 16.
        blocks: int, 1 to 12. How many blocks are built; the last ones cost as much as the first.
        dtype: str or None. Keras dtype policy of the dense layers and the attention; None takes the global one.
            The residual stream and the layer norms stay float32, since the stream holds a few very large values.
        adapter_rank: int. Above 0, the dense layers are frozen, and to each is added a trainable product of two
            matrices of this rank, and a bias, which give 0 at first: LoRA, https://arxiv.org/abs/2106.09685.

    Returns:
        A `keras.Model`, uint8 or float32 [N, image_size, image_size, 3] in 0..255 -> a dict:
        `cls`, float32 [N, blocks, 768]: the class token in the residual stream after each block, before the next
        block's layer norm; `tokens`, float32 [N, 1 + patches, 768]: all tokens after the last block, class token first.

    Raises:
        ValueError: image_size is no multiple of 16, or there are not so many blocks.
    """
    if image_size < PATCH_SIZE or image_size % PATCH_SIZE:
        raise ValueError(f"image_size must be a multiple of {PATCH_SIZE}. Received: image_size={image_size}")
    if not 1 <= blocks <= BLOCKS:
        raise ValueError(f"blocks must lie in 1..{BLOCKS}. Received: blocks={blocks}")
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    scale = [1 / (255 * std) for std in PIXEL_STD]
    offset = [-mean / std for mean, std in zip(PIXEL_MEAN, PIXEL_STD)]
    x = keras.layers.Rescaling(scale, offset, name="normalise", dtype="float32")(pixels)
    x = keras.layers.Conv2D(
        WIDTH, PATCH_SIZE, strides=PATCH_SIZE, use_bias=False, name="patch_embedding", dtype="float32"
    )(x)
    x = keras.layers.Reshape((-1, WIDTH), name="patches", dtype="float32")(x)
    x = ClassAndPositions(name="class_and_positions", dtype="float32")(x)
    x = _layer_norm(x, "pre_layernorm")
    cls = []
    for block in range(blocks):
        x = _block(x, f"block{block}", dtype, adapter_rank)
        cls.append(x[:, 0])
    return keras.Model(pixels, {"cls": keras.ops.stack(cls, axis=1), "tokens": x}, name="vit_b16")


def _layer_norm(x, name: str):
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name, dtype="float32")(x)


def _block(x, name: str, dtype: str | None, adapter_rank: int):
    dense = functools.partial(_dense, dtype=dtype, adapter_rank=adapter_rank)
    tokens = x.shape[1]
    normed = _layer_norm(x, f"{name}_layer_norm1")
    heads = []
    for part in ("q", "k", "v"):
        projected = dense(normed, WIDTH, f"{name}_{part}")
        heads.append(keras.ops.reshape(projected, (-1, tokens, HEADS, WIDTH // HEADS)))
    attended = keras.ops.reshape(keras.ops.dot_product_attention(*heads), (-1, tokens, WIDTH))
    attended = dense(attended, WIDTH, f"{name}_out")
    x = keras.layers.Add(name=f"{name}_attention_sum", dtype="float32")([x, attended])
    hidden = dense(_layer_norm(x, f"{name}_layer_norm2"), HIDDEN, f"{name}_fc1", activation=quick_gelu)
    hidden = dense(hidden, WIDTH, f"{name}_fc2")
    return keras.layers.Add(name=f"{name}_sum", dtype="float32")([x, hidden])


def _dense(x, units: int, name: str, dtype: str | None, adapter_rank: int, activation=None):
    if not adapter_rank:
        return keras.layers.Dense(units, name=name, activation=activation, dtype=dtype)(x)
    down = keras.initializers.RandomNormal(stddev=x.shape[-1] ** -0.5)
    low = keras.layers.Dense(adapter_rank, use_bias=False, kernel_initializer=down, name=f"{name}_down", dtype=dtype)
    up = keras.layers.Dense(units, kernel_initializer="zeros", name=f"{name}_up", dtype=dtype)
    frozen = keras.layers.Dense(units, name=name, dtype=dtype, trainable=False)
    adapted = keras.layers.Add(name=f"{name}_adapted", dtype=dtype)([frozen(x), up(low(x))])
    return activation(adapted) if activation else adapted
