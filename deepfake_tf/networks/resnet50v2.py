"""ResNet50V2 of keras.applications with a one-unit head.

He et al., "Identity Mappings in Deep Residual Networks", https://arxiv.org/abs/1603.05027. Its
ImageNet weights were trained on -1..1, which is our normalisation: no conversion is needed.
"""

from __future__ import annotations

import keras

from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.networks.batch_normalization import BatchNormalization


def build_resnet50v2(
    image_size: int | None = IMAGE_SIZE, dropout: float = 0.0, dtype: str | None = None
) -> keras.Model:
    """ResNet50V2 with one output, 23,521,409 trainable parameters: see `build_model`. The head is float32."""
    global_policy = keras.config.dtype_policy()
    if dtype is not None:  # keras.applications takes its dtype from the global policy only
        keras.config.set_dtype_policy(dtype)
    try:
        backbone = keras.applications.ResNet50V2(
            include_top=False, weights=None, input_shape=(image_size, image_size, 3)
        )
        backbone = keras.models.clone_model(backbone, clone_function=_with_our_batch_norm)
    finally:
        keras.config.set_dtype_policy(global_policy)
    x = keras.layers.Activation("linear", name="features", dtype="float32")(backbone.output)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype="float32")(x)
    x = keras.layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    logit = keras.layers.Dense(1, name="fc", dtype="float32")(x)
    return keras.Model(backbone.input, logit, name="resnet50v2")


def _with_our_batch_norm(layer: keras.layers.Layer) -> keras.layers.Layer:
    ours = BatchNormalization if isinstance(layer, keras.layers.BatchNormalization) else type(layer)
    return ours.from_config(layer.get_config())
