"""CLIP's published weights of the image tower: reading them, and putting them into `vit_b16.build_vit_b16`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from deepfake_tf.networks.vit_b16 import BLOCKS, DENSE_LAYERS, PRETRAINED_GRID, WIDTH

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


def load_clip_weights(model: keras.Model, path: str | Path) -> None:
    """Put CLIP's published weights into a network of `build_vit_b16`, in place.

    Args:
        model: keras.Model. Any input size: other grids get the positions interpolated (bicubic). Blocks beyond
            those of the network are ignored.
        path: str or Path. As of `read_clip_weights`.

    Raises:
        FileNotFoundError, ValueError: no such file, another format, or arrays of another network.
    """
    arrays = read_clip_weights(path)
    try:
        _assign(model, arrays)
    except KeyError as error:
        raise ValueError(f"{path} lacks an array of CLIP ViT-B/16: {error.args[0]}") from None


def read_clip_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by the names of the `.npz`.

    Args:
        path: str or Path. An `.npz` with int8 dense kernels and a float32 scale for each output channel
            (`blocks.0.q.weight` [in, out], `.scale`, `.bias`; a float kernel needs no scale); `model.safetensors` of
            Hugging Face's `openai/clip-vit-base-patch16`; or the `backbone.tflite` of a photograph bundle, such as the
            one that ships, which holds the first ten blocks.

    Raises:
        FileNotFoundError, ValueError: no such file, or another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No such weights of CLIP ViT-B/16 (.npz, .safetensors or .tflite). Received: {str(path)!r}"
        )
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return dict(archive)
    if path.suffix == ".safetensors":
        import safetensors.numpy

        return _from_hugging_face(safetensors.numpy.load_file(path))
    if path.suffix == ".tflite":
        return read_backbone(path)
    raise ValueError(f"Weights of CLIP ViT-B/16 must be .npz, .safetensors or .tflite. Received: {str(path)!r}")


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


def read_backbone(backbone: str | Path | bytes) -> dict[str, np.ndarray]:
    """The arrays that `export.photograph_litert.backbone_flatbuffer` was given, from the file or its bytes, by LiteRT.

    Raises:
        ValueError: the file is no LiteRT model.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = backbone if isinstance(backbone, bytes) else Path(backbone).read_bytes()
    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    arrays = {}
    for tensor in interpreter.get_tensor_details():
        name = tensor["name"]
        if name == "patch_embedding":
            arrays[name] = interpreter.get_tensor(tensor["index"]).transpose(0, 3, 1, 2)
        elif tensor["dtype"] == np.int8:
            arrays[name] = interpreter.get_tensor(tensor["index"]).T
            arrays[name.replace("weight", "scale")] = tensor["quantization_parameters"]["scales"]
        elif name.endswith(("embedding", ".weight", ".bias")):
            arrays[name] = interpreter.get_tensor(tensor["index"])
    return arrays
