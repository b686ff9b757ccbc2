"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6, made for phones.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946; Lite: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

import keras

from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.networks.batch_normalization import BatchNormalization

# (blocks, side of the depthwise kernel, stride of the first block, expansion, filters) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_FILTERS, HEAD_FILTERS = 32, 1280
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.97  # the published 0.99 is for a hundred times as many steps


def build_efficientnet_lite0(
    image_size: int | None = IMAGE_SIZE, dropout: float = 0.0, dtype: str | None = None
) -> keras.Model:
    """EfficientNet-Lite0 with one output, 3,372,289 trainable parameters: see `build_model`. The head is float32.

    Layers bear the names of the published PyTorch weights: `conv_stem`, `bn0`, `blocks.1.expand_conv`,
    `blocks.1.depthwise_conv`, `blocks.1.bn2`, `conv_head`, `bn1`. The published network reads (x - 127) / 128,
    which is our (x - 127.5) / 127.5 but for half a grey level.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    x = _convolution(images, STEM_FILTERS, 3, 2, "conv_stem", "bn0", dtype)
    index = 0
    for blocks, kernel_size, stride, expansion, filters in STAGES:
        for block in range(blocks):
            x = _block(x, kernel_size, stride if block == 0 else 1, expansion, filters, f"blocks.{index}", dtype)
            index += 1
    x = _convolution(x, HEAD_FILTERS, 1, 1, "conv_head", "bn1", dtype)
    x = keras.layers.Activation("linear", name="features", dtype="float32")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype="float32")(x)
    x = keras.layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    logit = keras.layers.Dense(1, name="fc", dtype="float32")(x)
    return keras.Model(images, logit, name="efficientnet_lite0")


def _block(x, kernel_size: int, stride: int, expansion: int, filters: int, name: str, dtype: str | None):
    """An inverted residual block: https://arxiv.org/abs/1801.04381."""
    shortcut, channels = x, x.shape[-1]
    if expansion > 1:
        x = _convolution(x, expansion * channels, 1, 1, f"{name}.expand_conv", f"{name}.bn0", dtype)
    x = keras.layers.DepthwiseConv2D(
        kernel_size, stride, padding="same", use_bias=False, name=f"{name}.depthwise_conv", dtype=dtype
    )(x)
    x = _relu6(_batch_norm(x, f"{name}.bn1", dtype), f"{name}.bn1", dtype)
    x = _convolution(x, filters, 1, 1, f"{name}.project_conv", f"{name}.bn2", dtype, activation=False)
    if stride == 1 and channels == filters:
        x = keras.layers.Add(name=f"{name}.add", dtype=dtype)([x, shortcut])
    return x


def _convolution(
    x, filters: int, kernel_size: int, stride: int, name: str, norm: str, dtype: str | None, activation: bool = True
):
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
        dtype=dtype,
    )(x)
    x = _batch_norm(x, norm, dtype)
    return _relu6(x, norm, dtype) if activation else x


def _batch_norm(x, name: str, dtype: str | None):
    return BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name, dtype=dtype)(x)


def _relu6(x, name: str, dtype: str | None):
    return keras.layers.ReLU(6.0, name=f"{name}.relu", dtype=dtype)(x)
