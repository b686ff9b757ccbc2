"""ResNet-18, ported from torchvision with its topology, padding and layer names.

He et al., "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385, in
torchvision's form (the stride of a downsampling block sits in its first 3 x 3 convolution).
"""

from __future__ import annotations

import keras

from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.networks.batch_normalization import BatchNormalization

STAGE_FILTERS = (64, 128, 256, 512)
BLOCKS_PER_STAGE = 2
BATCH_NORM_EPSILON = 1e-5  # torchvision's
BATCH_NORM_MOMENTUM = 0.9  # torchvision's 0.1, in Keras's convention


def build_resnet18(image_size: int | None = IMAGE_SIZE, dropout: float = 0.0, dtype: str | None = None) -> keras.Model:
    """ResNet-18 with one output, 11,177,025 trainable parameters: see `build_model`. The head is float32.

    Layers bear torchvision's names: `conv1`, `layer1.0.conv1`, `layer2.0.downsample.1`, `fc`.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    x = _convolution(images, 64, 7, 2, "conv1", dtype)
    x = _batch_norm(x, "bn1", dtype)
    x = keras.layers.ReLU(name="relu", dtype=dtype)(x)
    # Padding with 0 instead of torch's -inf changes nothing: every value is >= 0 after the ReLU.
    x = keras.layers.ZeroPadding2D(1, name="maxpool.pad", dtype=dtype)(x)
    x = keras.layers.MaxPooling2D(3, 2, name="maxpool", dtype=dtype)(x)
    for stage, filters in enumerate(STAGE_FILTERS, start=1):
        for block in range(BLOCKS_PER_STAGE):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _basic_block(x, filters, stride, f"layer{stage}.{block}", dtype)
    x = keras.layers.Activation("linear", name="features", dtype="float32")(x)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype="float32")(x)
    x = keras.layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    logit = keras.layers.Dense(1, name="fc", dtype="float32")(x)
    return keras.Model(images, logit, name="resnet18")


def _basic_block(x, filters: int, stride: int, name: str, dtype: str | None):
    shortcut = x
    if stride != 1:
        shortcut = _convolution(x, filters, 1, stride, f"{name}.downsample.0", dtype)
        shortcut = _batch_norm(shortcut, f"{name}.downsample.1", dtype)
    x = _convolution(x, filters, 3, stride, f"{name}.conv1", dtype)
    x = _batch_norm(x, f"{name}.bn1", dtype)
    x = keras.layers.ReLU(name=f"{name}.relu1", dtype=dtype)(x)
    x = _convolution(x, filters, 3, 1, f"{name}.conv2", dtype)
    x = _batch_norm(x, f"{name}.bn2", dtype)
    x = keras.layers.Add(name=f"{name}.add", dtype=dtype)([x, shortcut])
    return keras.layers.ReLU(name=f"{name}.relu2", dtype=dtype)(x)


def _convolution(x, filters: int, kernel_size: int, stride: int, name: str, dtype: str | None):
    # torch pads (k - 1) / 2 on every side; Keras's "same" pads right and bottom only at stride 2.
    padding = "same"
    if stride > 1 and kernel_size > 1:
        padding = "valid"
        x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}.pad", dtype=dtype)(x)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding=padding,
        use_bias=False,
        # torchvision's kaiming_normal_(mode="fan_out")
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
        dtype=dtype,
    )(x)


def _batch_norm(x, name: str, dtype: str | None):
    return BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=BATCH_NORM_EPSILON, name=name, dtype=dtype)(x)
