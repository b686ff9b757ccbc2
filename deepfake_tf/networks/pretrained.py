"""Pretrained weights: reading them, and fitting them to our input range.

The ResNet-18 weights are torchvision's IMAGENET1K_V1 (BSD-3), as published in
https://huggingface.co/timm/resnet18.tv_in1k, or any file with torchvision's names and layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from deepfake_tf.detectors.cifake import PIXEL_MEAN, PIXEL_STD
from deepfake_tf.networks.cifake_vit import TEACHER, load_teacher
from deepfake_tf.networks.clip_weights import load_clip_weights
from deepfake_tf.networks.resnet18 import BATCH_NORM_EPSILON

RESNET18_URL = "https://huggingface.co/timm/resnet18.tv_in1k/resolve/main/model.safetensors"
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # RGB, of x / 255
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def load_pretrained(model: keras.Model, weights: str, calibration_images: np.ndarray | None = None) -> str:
    """Put pretrained weights into a network, in place.

    Args:
        model: keras.Model. Built by `deepfake_tf.networks.build_model`.
        weights: str. "none" leaves the fresh weights; "imagenet" downloads the published ones;
            else a file: `.weights.h5` of an earlier run, `.safetensors` or `.npz` in torchvision's
            names and layout, where batch norm may be folded into the convolutions; the folder of an
            exported ResNet-18 SavedModel, such as the shipped one; or, for cifake_vit, a file of
            `clip_weights.read_clip_weights`, or a teacher.npz, such as the shipped one.
        calibration_images: float32 [N, H, W, 3], -1..1. A few hundred training images; needed only
            where batch norm has to be put back from folded weights.

    Returns:
        One line that says what was loaded and what was left fresh.

    Raises:
        FileNotFoundError, ValueError, OSError: each says what was received and what to do.
    """
    if weights == "none":
        return "fresh weights"
    if weights == "imagenet" and model.name == "resnet50v2":
        source = keras.applications.ResNet50V2(include_top=False, weights="imagenet")
        for layer in source.layers:
            if layer.weights:
                model.get_layer(layer.name).set_weights(layer.get_weights())
        return "ImageNet weights of keras.applications; fresh: fc"
    if weights == "imagenet" and model.name == "cifake_vit":
        raise ValueError(
            "cifake_vit starts from CLIP ViT-B/16: give --weights saved_model/photograph/backbone.tflite, or from the "
            "teacher that ships: --weights saved_model/cifake_vit/teacher.npz"
        )
    check_weights(weights)
    path = Path(_download_resnet18() if weights == "imagenet" else weights)
    exported = (path / "saved_model.pb").is_file()
    if path.name.endswith(".h5"):
        model.load_weights(path)
        return f"weights of {path}"
    if model.name == "cifake_vit" and path.name == TEACHER:
        load_teacher(model, path)
        return f"weights of {path}"
    if model.name == "cifake_vit":
        load_clip_weights(model.get_layer("vit_b16"), path)
        return f"CLIP's weights of {path}, frozen; fresh: their adapters, and fc"
    if model.name != "resnet18":
        raise ValueError(f"{path} holds ResNet-18 weights in torchvision's layout. Received: model={model.name}")
    if exported:
        from deepfake_tf.networks.graph import torchvision_arrays  # needs TensorFlow, also where JAX trains

        arrays = torchvision_arrays(path)
    elif path.suffix == ".safetensors":
        import safetensors.numpy

        arrays = safetensors.numpy.load_file(path)
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            arrays = dict(archive)
    else:
        raise ValueError(f"Weights must be .weights.h5, .safetensors or .npz. Received: weights={weights!r}")
    fresh = load_torchvision_weights(model, arrays, calibration_images, imagenet_normalisation=not exported)
    return f"weights of {path}; fresh: {', '.join(fresh) or 'none'}"


def check_weights(weights: str) -> None:
    """Whether there are such weights, as far as their name tells; before work that would be lost.

    Raises:
        FileNotFoundError: there are none.
    """
    path = Path(weights)
    if weights not in ("imagenet", "none") and not path.is_file() and not (path / "saved_model.pb").is_file():
        raise FileNotFoundError(
            f"No such weights. Give 'imagenet', 'none', a .weights.h5, .safetensors or .npz file, or the folder of a "
            f"SavedModel, which holds saved_model.pb. Received: weights={weights!r}"
        )


def fetch_weights(weights: str, model: str) -> None:
    """Download what `load_pretrained` would, where it is not here yet; before work that would be lost.

    Raises:
        OSError: it cannot be downloaded.
    """
    if weights == "imagenet" and model == "resnet18":
        _download_resnet18()


def load_torchvision_weights(
    model: keras.Model,
    arrays: Mapping[str, np.ndarray],
    calibration_images: np.ndarray | None = None,
    imagenet_normalisation: bool = True,
) -> list[str]:
    """Copy torchvision's arrays (convolutions [out, in, kh, kw]) into our ResNet-18, in place.

    Args:
        model: keras.Model of `build_resnet18`.
        arrays: name -> array: `conv1.weight`, `bn1.running_mean`, ...; or, with batch norm folded,
            `conv1.weight` and `conv1.bias` and no batch-norm arrays. Missing layers stay fresh.
        calibration_images: float32 [N, H, W, 3], -1..1. For folded weights.
        imagenet_normalisation: bool. The arrays expect ImageNet's mean and standard deviation, so
            the first convolution is rescaled to read our -1..1.

    Returns:
        The names of the layers that stayed fresh.

    Raises:
        ValueError: nothing matches, a shape differs, or folded weights come without images.
    """
    folded = "conv1.bias" in arrays
    if folded and calibration_images is None:
        raise ValueError("These weights have batch norm folded in: calibration_images are needed to put it back.")
    fresh = []
    loaded_convolutions = []
    conv1_offset: np.ndarray = np.zeros(64, np.float32)  # what the rescaled conv1 lacks; batch norm takes it up
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and f"{layer.name}.weight" in arrays:
            kernel = np.transpose(arrays[f"{layer.name}.weight"], (2, 3, 1, 0)).astype(np.float32)
            bias = np.zeros(kernel.shape[-1], np.float32) + arrays.get(f"{layer.name}.bias", np.float32(0))
            if layer.name == "conv1" and imagenet_normalisation:
                kernel, conv1_offset = _rescale_input(kernel)
                bias = bias + conv1_offset
            _set_weights(layer, [kernel])
            loaded_convolutions.append((layer, bias))
        elif isinstance(layer, keras.layers.BatchNormalization) and f"{layer.name}.running_mean" in arrays:
            gamma, beta, mean, variance = _take(arrays, layer.name, "weight", "bias", "running_mean", "running_var")
            _set_weights(layer, [gamma, beta, mean - conv1_offset if layer.name == "bn1" else mean, variance])
        elif layer.name == "fc" and "fc.weight" in arrays and np.shape(arrays["fc.weight"]) == (1, 512):
            kernel, bias = _take(arrays, "fc", "weight", "bias")
            _set_weights(layer, [kernel.T, bias])
        elif layer.weights:
            fresh.append(layer.name)
    if not loaded_convolutions:
        raise ValueError(
            f"No array bears the name of a ResNet-18 convolution, such as 'conv1.weight'. "
            f"Received: {sorted(arrays)[:5]} ..."
        )
    if not folded or calibration_images is None:
        return fresh
    _restore_batch_norm(model, loaded_convolutions, calibration_images)
    restored = {_batch_norm_of(layer.name) for layer, _ in loaded_convolutions}
    return [name for name in fresh if name not in restored]


def _rescale_input(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From a kernel for (x - IMAGENET_MEAN) / IMAGENET_STD to one, and its bias, for -1..1."""
    scale = PIXEL_STD / IMAGENET_STD
    offset = np.einsum("hwio,i->o", kernel, (PIXEL_MEAN - IMAGENET_MEAN) / IMAGENET_STD)
    return kernel * scale[None, None, :, None], offset.astype(np.float32)


def _restore_batch_norm(model, convolutions, images: np.ndarray) -> None:
    """Put batch norm back into a network whose convolutions have it folded in.

    First every batch norm only adds its convolution's bias; one pass then measures each convolution's
    output mean m and variance v. With moving mean m, moving variance v, gamma sqrt(v + epsilon) and
    beta bias + m inference is unchanged, and training sees normalised activations.

    Folding may also leave kernels of tiny size, in which each step of Adam, whose size is the learning rate, would turn
    everything over. So each kernel takes, channel by channel, the size of a fresh one (He et al.,
    https://arxiv.org/abs/1502.01852), which batch norm divides out again.
    """
    batch_norms = [model.get_layer(_batch_norm_of(layer.name)) for layer, _ in convolutions]
    for batch_norm, (_, bias) in zip(batch_norms, convolutions, strict=True):
        ones = np.ones_like(bias)
        _set_weights(batch_norm, [ones, bias, 0 * ones, (1 - BATCH_NORM_EPSILON) * ones])
    probe = keras.Model(model.input, [layer.output for layer, _ in convolutions])
    values, sums, squares = ([0.0] * len(convolutions) for _ in range(3))
    for start in range(0, len(images), 32):
        for index, output in enumerate(probe.predict_on_batch(images[start : start + 32])):
            values[index] += output.size / output.shape[-1]
            sums[index] += output.sum((0, 1, 2), dtype=np.float64)
            squares[index] += np.square(output, dtype=np.float64).sum((0, 1, 2))
    for index, (batch_norm, (layer, bias)) in enumerate(zip(batch_norms, convolutions, strict=True)):
        mean = sums[index] / values[index]
        variance = np.maximum(squares[index] / values[index] - mean**2, 0)
        kernel = np.asarray(layer.kernel)
        size = np.sqrt(np.square(kernel, dtype=np.float64).mean((0, 1, 2)))
        scale = np.sqrt(2 / kernel[..., 0].size) / np.maximum(size, np.finfo(np.float32).tiny)
        scaled_variance = np.square(scale) * variance
        _set_weights(layer, [kernel * scale])
        gamma = np.sqrt(scaled_variance + BATCH_NORM_EPSILON) / scale
        _set_weights(batch_norm, [gamma, bias + mean, scale * mean, scaled_variance])


def _batch_norm_of(convolution: str) -> str:
    """`layer1.0.conv2` -> `layer1.0.bn2`; `layer2.0.downsample.0` -> `layer2.0.downsample.1`."""
    if convolution.endswith("downsample.0"):
        return convolution[:-1] + "1"
    return convolution.replace("conv", "bn")


def _take(arrays: Mapping[str, np.ndarray], layer: str, *names: str) -> list[np.ndarray]:
    if missing := [f"{layer}.{name}" for name in names if f"{layer}.{name}" not in arrays]:
        raise ValueError(f"The weights lack {missing}. Received: {sorted(key for key in arrays if layer in key)}")
    return [np.asarray(arrays[f"{layer}.{name}"]) for name in names]


def _set_weights(layer, arrays) -> None:
    for variable, array in zip(layer.weights, arrays, strict=True):
        if tuple(variable.shape) != np.shape(array):
            raise ValueError(f"{layer.name}: expected shape {tuple(variable.shape)}. Received: {np.shape(array)}")
    layer.set_weights([np.asarray(array, np.float32) for array in arrays])


def _download_resnet18() -> str:
    try:
        return keras.utils.get_file("resnet18.tv_in1k.safetensors", RESNET18_URL, cache_subdir="models")
    except Exception as error:  # keras.utils.get_file raises a bare Exception on any network trouble
        raise OSError(
            f"Could not download ImageNet weights from {RESNET18_URL} ({error}). Give a local copy with "
            f"--weights FILE (.safetensors or .npz), or train from scratch with --weights none."
        ) from error
