"""torchvision's ResNet-18 once more, in NumPy and float64: what the Keras port is held to.

Written from torchvision's description alone (NCHW, symmetric padding, batch norm with epsilon 1e-5), and
sharing no line with the port.
"""

from __future__ import annotations

import functools

import numpy as np

STAGES = ((1, 64, 64), (2, 64, 128), (3, 128, 256), (4, 256, 512))  # number, channels in, channels out


def random_arrays(seed: int, classes: int = 1) -> dict[str, np.ndarray]:
    """Arrays with torchvision's names and layout: convolutions [out, in, kh, kw], batch norm in four parts."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    add = functools.partial(add_convolution, arrays, generator)
    add("conv1", "bn1", 3, 64, 7)
    for stage, channels_in, channels_out in STAGES:
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", channels_out if block else channels_in, channels_out, 3)
            add(f"{name}.conv2", f"{name}.bn2", channels_out, channels_out, 3)
            if stage > 1 and block == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", channels_in, channels_out, 1)
    arrays["fc.weight"] = generator.normal(0, 0.05, (classes, 512))
    arrays["fc.bias"] = generator.normal(0, 0.05, classes)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def add_convolution(arrays, generator, convolution, batch_norm, channels_in, channels_out, kernel) -> None:
    """A convolution [out, in, kernel, kernel] and the four arrays of the batch norm behind it."""
    scale = np.sqrt(2 / (channels_in * kernel * kernel))
    arrays[f"{convolution}.weight"] = generator.normal(0, scale, (channels_out, channels_in, kernel, kernel))
    arrays[f"{batch_norm}.weight"] = generator.uniform(0.5, 1.5, channels_out)
    arrays[f"{batch_norm}.bias"] = generator.normal(0, 0.2, channels_out)
    arrays[f"{batch_norm}.running_mean"] = generator.normal(0, 0.2, channels_out)
    arrays[f"{batch_norm}.running_var"] = generator.uniform(0.5, 1.5, channels_out)


def fold_batch_norm(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same network with each batch norm folded into its convolution: `X.weight`, `X.bias`, no batch norm."""
    folded = {name: array for name, array in arrays.items() if name.startswith("fc.")}
    for name in [name for name in arrays if arrays[name].ndim == 4]:
        convolution = name.removesuffix(".weight")
        batch_norm = _batch_norm(convolution)
        scale = arrays[f"{batch_norm}.weight"] / np.sqrt(arrays[f"{batch_norm}.running_var"] + 1e-5)
        folded[f"{convolution}.weight"] = arrays[name] * scale[:, None, None, None]
        folded[f"{convolution}.bias"] = arrays[f"{batch_norm}.bias"] - arrays[f"{batch_norm}.running_mean"] * scale
    return folded


def forward(arrays: dict[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """Every stage's output, float64, channels last as in Keras.

    Args:
        arrays: of `random_arrays`.
        images: float [N, H, W, 3].

    Returns:
        `conv1`, `bn1`, `maxpool`, `layer1.0` ... `layer4.1`: [N, h, w, channels]; `avgpool`, `fc`: [N, channels].
    """
    outputs = {}
    x = np.moveaxis(images.astype(np.float64), -1, 1)
    outputs["conv1"] = x = _convolve(x, arrays["conv1.weight"], stride=2, padding=3)
    outputs["bn1"] = x = normalise(x, arrays, "bn1")
    x = np.pad(np.maximum(x, 0), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    outputs["maxpool"] = x = _windows(x, 3, 2).max((4, 5))
    for stage, _, _ in STAGES:
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = _convolve(x, arrays[f"{name}.conv1.weight"], stride, padding=1)
            y = np.maximum(normalise(y, arrays, f"{name}.bn1"), 0)
            y = _convolve(y, arrays[f"{name}.conv2.weight"], 1, padding=1)
            y = normalise(y, arrays, f"{name}.bn2")
            if stride == 2:
                x = _convolve(x, arrays[f"{name}.downsample.0.weight"], stride, padding=0)
                x = normalise(x, arrays, f"{name}.downsample.1")
            outputs[name] = x = np.maximum(y + x, 0)
    outputs["avgpool"] = x = x.mean((2, 3))
    outputs["fc"] = x @ arrays["fc.weight"].T + arrays["fc.bias"]
    return {name: np.moveaxis(output, 1, -1) if output.ndim == 4 else output for name, output in outputs.items()}


def _batch_norm(convolution: str) -> str:
    if "downsample" in convolution:
        return convolution.replace("downsample.0", "downsample.1")
    return convolution.replace("conv", "bn")


def _convolve(x, weight, stride, padding):
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = _windows(x, weight.shape[-1], stride)
    return np.moveaxis(np.tensordot(windows, weight.astype(np.float64), ([1, 4, 5], [1, 2, 3])), -1, 1)


def _windows(x, size, stride):
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]


def normalise(x, arrays, name, epsilon=1e-5):
    """Batch norm as at inference: x [N, channels, h, w]."""
    weight, bias, mean, variance = (
        arrays[f"{name}.{part}"].astype(np.float64)[None, :, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + epsilon) * weight + bias
