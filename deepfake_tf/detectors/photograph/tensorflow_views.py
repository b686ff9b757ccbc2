"""What the network sees of a photograph, in TensorFlow: the twin of `views`, to one grey level."""

from __future__ import annotations

import tensorflow as tf

from deepfake_tf.detectors.photograph.views import VIEW_SIZE


def central_views(images: tf.Tensor) -> tf.Tensor:
    """The central square, scaled to the network's input.

    The square has the short side's length and starts at (long side - short side) // 2. It is cut out first, so that
    the filter sees nothing outside it, then scaled by the antialiased bicubic filter (Keys, a = -0.5): across the rows,
    rounded to whole grey levels, then down the columns, rounded again.

    Args:
        images: uint8 [N, H, W, 3] or [H, W, 3], RGB, any size from 1 x 1.

    Returns:
        uint8 [N, 224, 224, 3] or [224, 224, 3].
    """
    batch = images if images.shape.rank == 4 else images[None]
    height, width = tf.shape(batch)[1], tf.shape(batch)[2]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = batch[:, top : top + side, left : left + side]
    # ScaleAndTranslate could cut by itself, but would filter over the edge of the square. Across the rows, rounded,
    # then down the columns, as Pillow does: in one pass, overshoots that Pillow cuts off would come through, 13 grey
    # levels of noise.
    views = _scale(_scale(square, side, VIEW_SIZE), VIEW_SIZE, VIEW_SIZE)
    return views if images.shape.rank == 4 else views[0]


def _scale(images: tf.Tensor, height, width) -> tf.Tensor:
    """uint8 [N, H, W, 3] -> uint8 [N, height, width, 3]."""
    size = tf.stack([height, width])
    resized = tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=size,
        scale=tf.cast(size, tf.float32) / tf.cast(tf.shape(images)[1:3], tf.float32),
        translation=[0.0, 0.0],
        kernel_type="keyscubic",
        antialias=True,
    )
    return tf.cast(tf.clip_by_value(tf.floor(resized + 0.5), 0.0, 255.0), tf.uint8)


tensorflow_view = central_views
