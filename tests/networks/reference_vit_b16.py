"""CLIP's ViT-B/16 once more, in NumPy and float64: what the Keras port is held to.

Written from the published description alone (pre-norm blocks, 12 heads, layer norm epsilon 1e-5, quick GELU, a layer
norm before the first block), and sharing no line with the port.
"""

from __future__ import annotations

import numpy as np

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
DENSE = {"q": (768, 768), "k": (768, 768), "v": (768, 768), "out": (768, 768), "fc1": (768, 3072), "fc2": (3072, 768)}


def random_arrays(seed: int, blocks: int) -> dict[str, np.ndarray]:
    """Arrays as in the .npz: int8 dense kernels [in, out] with a scale for each output channel, the rest float32."""
    generator = np.random.default_rng(seed)
    arrays = {
        "patch_embedding": generator.normal(0, 0.02, (768, 3, 16, 16)),
        "class_embedding": generator.normal(0, 0.5, 768),
        "position_embedding": generator.normal(0, 0.2, (197, 768)),
        "pre_layernorm.weight": generator.uniform(0.5, 1.5, 768),
        "pre_layernorm.bias": generator.normal(0, 0.2, 768),
    }
    for block in range(blocks):
        for norm in ("layer_norm1", "layer_norm2"):
            arrays[f"blocks.{block}.{norm}.weight"] = generator.uniform(0.5, 1.5, 768)
            arrays[f"blocks.{block}.{norm}.bias"] = generator.normal(0, 0.2, 768)
        for name, shape in DENSE.items():
            arrays[f"blocks.{block}.{name}.scale"] = generator.uniform(0.5, 1.5, shape[1]) / 127 / shape[0] ** 0.5
            arrays[f"blocks.{block}.{name}.bias"] = generator.normal(0, 0.2, shape[1])
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    for block in range(blocks):
        for name, shape in DENSE.items():
            arrays[f"blocks.{block}.{name}.weight"] = generator.integers(-127, 128, shape, np.int8)
    return arrays


def hugging_face(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same network in the names and layout of openai/clip-vit-base-patch16, in float32."""
    tower = "vision_model."
    tensors = {
        f"{tower}embeddings.patch_embedding.weight": arrays["patch_embedding"],
        f"{tower}embeddings.class_embedding": arrays["class_embedding"],
        f"{tower}embeddings.position_embedding.weight": arrays["position_embedding"],
        f"{tower}pre_layrnorm.weight": arrays["pre_layernorm.weight"],
        f"{tower}pre_layrnorm.bias": arrays["pre_layernorm.bias"],
    }
    theirs = {name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")} | {"fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    for name, scale in arrays.items():
        if name.endswith(".scale"):
            _, block, layer, _ = name.split(".")
            target = f"{tower}encoder.layers.{block}.{theirs[layer]}"
            kernel = arrays[name.replace("scale", "weight")].astype(np.float32) * scale
            tensors[f"{target}.weight"] = np.ascontiguousarray(kernel.T)
            tensors[f"{target}.bias"] = arrays[name.replace("scale", "bias")]
        elif ".layer_norm" in name:
            tensors[f"{tower}encoder.layers.{name.removeprefix('blocks.')}"] = scale
    return tensors


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def forward(arrays: dict[str, np.ndarray], pixels: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
    """Tokens [N, 1 + patches, 768] after each block; pixels [N, S, S, 3] in 0..255, positions [1 + patches, 768]."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    count, size = len(pixels), pixels.shape[1] // 16
    x = (pixels / 255 - MEAN) / STD
    patches = x.reshape(count, size, 16, size, 16, 3).transpose(0, 1, 3, 5, 2, 4).reshape(count, size * size, -1)
    x = patches @ arrays["patch_embedding"].reshape(768, -1).T
    x = np.concatenate([np.broadcast_to(arrays["class_embedding"], (count, 1, 768)), x], 1) + positions
    x = layer_norm(x, arrays["pre_layernorm.weight"], arrays["pre_layernorm.bias"])
    blocks = sum(name.endswith("fc2.bias") for name in arrays)
    states = []
    for block in range(blocks):
        part = {name.split(".", 2)[2]: array for name, array in arrays.items() if name.startswith(f"blocks.{block}.")}

        def dense(x, name, part=part):
            return x @ (part[f"{name}.weight"] * part[f"{name}.scale"]) + part[f"{name}.bias"]

        h = layer_norm(x, part["layer_norm1.weight"], part["layer_norm1.bias"])
        q, k, v = (dense(h, name).reshape(count, -1, 12, 64).transpose(0, 2, 1, 3) for name in "qkv")
        scores = q @ k.transpose(0, 1, 3, 2) / 8
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended = weights / weights.sum(-1, keepdims=True) @ v
        x = x + dense(attended.transpose(0, 2, 1, 3).reshape(x.shape), "out")
        h = layer_norm(x, part["layer_norm2.weight"], part["layer_norm2.bias"])
        h = dense(h, "fc1")
        x = x + dense(h / (1 + np.exp(-1.702 * h)), "fc2")
        states.append(x)
    return states
