"""CLIP's ViT-B/16, the image tower alone, in pure Keras 3: any backend, trainable, its intermediate features by name.

Dosovitskiy et al., https://arxiv.org/abs/2010.11929; Radford et al., https://arxiv.org/abs/2103.00020. Against the
plain ViT: a layer norm before the first block, quick GELU, no bias in the patch embedding.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from PIL import Image

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

_HUGGING_FACE = {
    "patch_embedding": "embeddings.patch_embedding.weight",
    "class_embedding": "embeddings.class_embedding",
    "position_embedding": "embeddings.position_embedding.weight",
    "pre_layernorm": "pre_layrnorm",  # spelled so there
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
    "layer_norm1": "layer_norm1",
    "layer_norm2": "layer_norm2",
}


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
    """ViT-B/16 with its class token after every block; fresh weights, see `load_clip_weights`.

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


def load_clip_weights(model: keras.Model, path: str | Path) -> None:
    """Put CLIP's published weights into a network of `build_vit_b16`, in place.

    Args:
        model: keras.Model. Any input size: other grids get the positions interpolated (bicubic). Blocks beyond
            those of the network are ignored.
        path: str or Path. An `.npz` with int8 dense kernels and a float32 scale for each output channel
            (`blocks.0.q.weight` [in, out], `.scale`, `.bias`; a float kernel needs no scale), or
            `model.safetensors` of Hugging Face's `openai/clip-vit-base-patch16`.

    Raises:
        FileNotFoundError, ValueError: no such file, another format, or arrays of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No such weights of CLIP ViT-B/16 (.npz or .safetensors). Received: {str(path)!r}")
    if path.suffix == ".npz":
        with np.load(path) as archive:
            arrays = dict(archive)
    elif path.suffix == ".safetensors":
        import safetensors.numpy

        arrays = _from_hugging_face(safetensors.numpy.load_file(path))
    else:
        raise ValueError(f"Weights of CLIP ViT-B/16 must be .npz or .safetensors. Received: {str(path)!r}")
    try:
        _assign(model, arrays)
    except KeyError as error:
        raise ValueError(f"{path} lacks an array of CLIP ViT-B/16: {error.args[0]}") from None


def _assign(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    kernel = np.asarray(arrays["patch_embedding"], np.float32).transpose(2, 3, 1, 0)
    model.get_layer("patch_embedding").set_weights([kernel])
    embedding = model.get_layer("class_and_positions")
    grid = round((embedding.position_embedding.shape[0] - 1) ** 0.5)
    positions = interpolate_positions(arrays["position_embedding"], grid)
    embedding.set_weights([arrays["class_embedding"], positions])
    layers = {"pre_layernorm": "pre_layernorm"}
    for block in range(sum(layer.name.endswith("_fc2") for layer in model.layers)):
        for part in ("layer_norm1", "layer_norm2", *DENSE_LAYERS):
            layers[f"block{block}_{part}"] = f"blocks.{block}.{part}"
    for layer, name in layers.items():
        weight = arrays[f"{name}.weight"].astype(np.float32)
        if f"{name}.scale" in arrays:
            weight = weight * arrays[f"{name}.scale"]
        model.get_layer(layer).set_weights([weight, arrays[f"{name}.bias"]])


def interpolate_positions(positions: np.ndarray, grid: int) -> np.ndarray:
    """The published positions for another number of patches: float32 [1 + 14 * 14, 768] -> [1 + grid * grid, 768].

    The class token's stays. The others are resized as a picture by Pillow's antialiased bicubic filter.
    """
    positions = np.asarray(positions, np.float32)
    if grid == PRETRAINED_GRID:
        return positions
    identity = Image.fromarray(np.eye(PRETRAINED_GRID, dtype=np.float32))
    # The filter is linear and separable: what it makes of the identity is the matrix for one axis.
    matrix = np.asarray(identity.resize((PRETRAINED_GRID, grid), Image.Resampling.BICUBIC))
    square = positions[1:].reshape(PRETRAINED_GRID, PRETRAINED_GRID, WIDTH)
    square = np.einsum("ai,bj,ijc->abc", matrix, matrix, square)
    return np.concatenate([positions[:1], square.reshape(-1, WIDTH)]).astype(np.float32)


def _from_hugging_face(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays in our names and layout (dense kernels [in, out]) from Hugging Face's."""
    arrays = {}
    for name in ("patch_embedding", "class_embedding", "position_embedding"):
        arrays[name] = tensors[f"vision_model.{_HUGGING_FACE[name]}"].astype(np.float32)
    layers = {"pre_layernorm": "vision_model.pre_layrnorm"}
    for block in range(BLOCKS):
        for part in ("layer_norm1", "layer_norm2", *DENSE_LAYERS):
            layers[f"blocks.{block}.{part}"] = f"vision_model.encoder.layers.{block}.{_HUGGING_FACE[part]}"
    for name, theirs in layers.items():
        weight = tensors[f"{theirs}.weight"].astype(np.float32)
        arrays[f"{name}.weight"] = weight.T if weight.ndim == 2 else weight
        arrays[f"{name}.bias"] = tensors[f"{theirs}.bias"].astype(np.float32)
    return arrays
