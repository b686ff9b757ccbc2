"""EfficientNet-Lite0 once more, in NumPy and float64: what the Keras network is held to.

Written from the paper's and the weights' description alone (NCHW, TensorFlow's "SAME" padding, batch norm with epsilon
1e-3), and sharing no line with the network.
"""

from __future__ import annotations

import functools

import numpy as np

from tests.networks.reference_resnet18 import add_convolution, normalise

# kernel, stride, expansion, channels in, channels out: one row a block
BLOCKS = [
    (3, 1, 1, 32, 16),
    *[(3, 2, 6, 16, 24), (3, 1, 6, 24, 24)],
    *[(5, 2, 6, 24, 40), (5, 1, 6, 40, 40)],
    *[(3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80)],
    *[(5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112)],
    *[(5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192)],
    (3, 1, 6, 192, 320),
]


def random_arrays(seed: int, classes: int = 1) -> dict[str, np.ndarray]:
    """Arrays with the published names and layout: convolutions [out, in, kh, kw], batch norm in four parts."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    add = functools.partial(add_convolution, arrays, generator)
    add("conv_stem", "bn0", 3, 32, 3)
    for index, (kernel, _, expansion, channels_in, channels_out) in enumerate(BLOCKS):
        name, wide = f"blocks.{index}", expansion * channels_in
        if expansion > 1:
            add(f"{name}.expand_conv", f"{name}.bn0", channels_in, wide, 1)
        add(f"{name}.depthwise_conv", f"{name}.bn1", 1, wide, kernel)
        add(f"{name}.project_conv", f"{name}.bn2", wide, channels_out, 1)
    add("conv_head", "bn1", 320, 1280, 1)
    arrays["fc.weight"] = generator.normal(0, 0.05, (classes, 1280))
    arrays["fc.bias"] = generator.normal(0, 0.05, classes)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def forward(arrays: dict[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """Every block's output, float64, channels last as in Keras.

    Args:
        arrays: of `random_arrays`.
        images: float [N, H, W, 3].

    Returns:
        `stem`, `0` ... `15`, `features`: [N, h, w, channels]; `fc`: [N, 1].
    """

    def step(x, convolution, batch_norm, stride=1, activation=True):
        y = normalise(_convolve(x, arrays[f"{convolution}.weight"], stride), arrays, batch_norm, epsilon=1e-3)
        return np.clip(y, 0, 6) if activation else y

    outputs = {}
    outputs["stem"] = x = step(np.moveaxis(images.astype(np.float64), -1, 1), "conv_stem", "bn0", 2)
    for index, (_, stride, expansion, channels_in, channels_out) in enumerate(BLOCKS):
        name = f"blocks.{index}"
        y = step(x, f"{name}.expand_conv", f"{name}.bn0") if expansion > 1 else x
        y = step(y, f"{name}.depthwise_conv", f"{name}.bn1", stride)
        y = step(y, f"{name}.project_conv", f"{name}.bn2", activation=False)
        outputs[str(index)] = x = x + y if stride == 1 and channels_in == channels_out else y
    outputs["features"] = x = step(x, "conv_head", "bn1")
    outputs["fc"] = x.mean((2, 3)) @ arrays["fc.weight"].T + arrays["fc.bias"]
    return {name: np.moveaxis(output, 1, -1) if output.ndim == 4 else output for name, output in outputs.items()}


def _convolve(x, weight, stride):
    """TensorFlow's "SAME": as much on both sides, and an odd pixel at the right and the bottom."""
    size = weight.shape[-1]
    total = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[2:]]
    x = np.pad(x, [(0, 0), (0, 0), *((pixels // 2, pixels - pixels // 2) for pixels in total)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]
    if weight.shape[1] == 1 < x.shape[1]:  # a filter for each channel
        return np.einsum("nchwij,cij->nchw", windows, weight[:, 0].astype(np.float64))
    return np.moveaxis(np.tensordot(windows, weight.astype(np.float64), ([1, 4, 5], [1, 2, 3])), -1, 1)
