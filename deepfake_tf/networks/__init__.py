"""The networks, in Keras 3: any backend can run them.

Every network reads float32 [N, H, W, 3], -1..1, and returns the logit of FAKE, float32 [N, 1].
"""

from __future__ import annotations

import importlib

import keras

from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.detectors.cifake.config import MODEL_NAMES

FEATURES_LAYER = "features"  # the last feature map, [N, h, w, channels]
HEAD_LAYER = "fc"  # the dense unit that turns the pooled features into the logit


def build_model(
    name: str, image_size: int | None = IMAGE_SIZE, dropout: float = 0.0, dtype: str | None = None
) -> keras.Model:
    """Build a network with fresh weights.

    Args:
        name: str. "resnet18", "resnet50v2", "efficientnet_lite0" or "cifake_vit".
        image_size: int or None. Side of the input in pixels; None accepts any size.
        dropout: float, 0..1. Rate before the head, in training only.
        dtype: str or None. Keras dtype policy, such as "mixed_bfloat16"; None takes the global one.

    Returns:
        A `keras.Model`, float32 [N, image_size, image_size, 3] in -1..1 -> float32 [N, 1], the logit.

    Raises:
        ValueError: `name` is unknown.
    """
    if name not in MODEL_NAMES:
        raise ValueError(f"Unknown model. Known: {', '.join(MODEL_NAMES)}. Received: name={name!r}")
    module = importlib.import_module(f"deepfake_tf.networks.{name}")
    return getattr(module, f"build_{name}")(image_size=image_size, dropout=dropout, dtype=dtype)


def with_features(model: keras.Model) -> keras.Model:
    """The same network (shared weights) that also returns its last feature map.

    Returns:
        A `keras.Model` with a dict of outputs: `features` [N, h, w, channels], and `logit` [N, 1].
    """
    return keras.Model(
        model.input,
        {"features": model.get_layer(FEATURES_LAYER).output, "logit": model.output},
        name=f"{model.name}_with_features",
    )


def flip_averaged(model: keras.Model) -> keras.Model:
    """The same network (shared weights), averaged over each image and its mirror image; twice the cost.

    The feature maps are averaged, the second one mirrored back. Pooling and head are linear, so the logit is the mean
    of the two logits, and what is read off the map (Grad-CAM) still sums to it.

    Returns:
        A `keras.Model` of the same input and output, with the same layers for `with_features` to find.
    """
    base = keras.Model(model.input, model.get_layer(FEATURES_LAYER).output, name=model.name)
    mirror = lambda tensor: keras.ops.flip(tensor, axis=2)
    images = keras.Input(model.input_shape[1:], name="images")
    features = keras.layers.Average(name=FEATURES_LAYER)([base(images), mirror(base(mirror(images)))])
    pooled = keras.layers.GlobalAveragePooling2D(name="avgpool")(features)
    return keras.Model(images, model.get_layer(HEAD_LAYER)(pooled), name=f"{model.name}_flip_averaged")
