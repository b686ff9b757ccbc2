"""CLIP's ViT-B/16 in PyTorch, for `benchmark --photographs --peers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deepfake_tf.benchmark.peers import cores
from deepfake_tf.networks.vit_b16 import HEADS, LAYER_NORM_EPSILON, PATCH_SIZE, PIXEL_MEAN, PIXEL_STD, WIDTH
from deepfake_tf.networks.vit_b16_inference import count_blocks, dense_kernel


def vit_in_torch(arrays: Mapping[str, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The network in its fastest eager way on a CPU: dense layers and attention in bfloat16, the rest in float32.

    Args:
        arrays: as `vit_b16_inference.compute_features` takes them, with int8 kernels.

    Returns:
        A function: uint8 [N, S, S, 3] -> the class token after each block, float32 [N, blocks, 768].
    """
    import torch
    import torch.nn.functional as functional

    torch.set_num_threads(cores())
    half = torch.bfloat16
    tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array, np.float32))
    blocks = range(count_blocks(arrays))
    dense = {
        f"{block}.{layer}": (
            tensor(np.concatenate([dense_kernel(arrays, f"blocks.{block}.{part}") for part in parts], 1).T).to(half),
            tensor(np.concatenate([arrays[f"blocks.{block}.{part}.bias"] for part in parts])).to(half),
        )
        for block in blocks
        for layer, parts in (("qkv", ("q", "k", "v")), ("out", ("out",)), ("fc1", ("fc1",)), ("fc2", ("fc2",)))
    }
    norms = {
        name: (tensor(arrays[f"{name}.weight"]), tensor(arrays[f"{name}.bias"]))
        for name in ["pre_layernorm", *(f"blocks.{block}.layer_norm{which}" for block in blocks for which in (1, 2))]
    }
    patch_kernel = tensor(arrays["patch_embedding"])
    class_token, positions = tensor(arrays["class_embedding"]), tensor(arrays["position_embedding"])
    mean, deviation = tensor(PIXEL_MEAN) * 255, tensor(PIXEL_STD) * 255

    def norm(x, name: str):
        return functional.layer_norm(x, (WIDTH,), *norms[name], LAYER_NORM_EPSILON)

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        x = ((torch.from_numpy(pixels).float() - mean) / deviation).permute(0, 3, 1, 2)
        x = functional.conv2d(x, patch_kernel, stride=PATCH_SIZE).flatten(2).transpose(1, 2)
        x = torch.cat([class_token.expand(len(x), 1, WIDTH), x], 1) + positions
        x = norm(x, "pre_layernorm")
        count, tokens, _ = x.shape
        class_tokens = []
        for block in blocks:
            normed = norm(x, f"blocks.{block}.layer_norm1").to(half)
            heads = functional.linear(normed, *dense[f"{block}.qkv"])
            heads = heads.view(count, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(count, tokens, WIDTH)
            x = x + functional.linear(attended, *dense[f"{block}.out"])
            hidden = functional.linear(norm(x, f"blocks.{block}.layer_norm2").to(half), *dense[f"{block}.fc1"])
            x = x + functional.linear(hidden * torch.sigmoid(1.702 * hidden), *dense[f"{block}.fc2"])
            class_tokens.append(x[:, 0])
        return torch.stack(class_tokens, 1).float().numpy()

    return run
