"""Random changes of training images: flip, rotation, shift, zoom, brightness, contrast.

A batch is changed as a function of `draws`, uniform numbers that the caller makes from a seed, so that
the same seed gives the same images however many threads run, and a resumed run continues exactly. Everything is
`keras.ops`: it runs in tf.data as well as on an accelerator, under any backend.
"""

from __future__ import annotations

import math

from keras import ops

from deepfake_tf.detectors.cifake.config import TrainingConfig

DRAWS_PER_IMAGE = 7  # flip, rotation, shift x, shift y, zoom, brightness, contrast


def augment(pixels, draws, config: TrainingConfig):
    """Change each image of a batch in its own way.

    The geometry comes after the resize, on the larger picture: interpolating 32 x 32 pixels in place
    would blur the very traces that the network is to find. One resampling does all of it, and what
    comes in at the borders is mirrored.

    Args:
        pixels: float32 [N, S, S, 3], 0..255.
        draws: float32 [N, DRAWS_PER_IMAGE], uniform in 0..1.
        config: TrainingConfig. The ranges.

    Returns:
        float32 [N, S, S, 3], 0..255.
    """
    flip, rotation, shift_x, shift_y, zoom, brightness, contrast = (draws[:, i] for i in range(DRAWS_PER_IMAGE))
    centred = lambda draw: 2.0 * draw - 1.0  # 0..1 -> -1..1
    if config.flip:
        pixels = ops.where((flip < 0.5)[:, None, None, None], pixels[:, :, ::-1], pixels)
    if config.rotation_degrees or config.shift or config.zoom:
        size = ops.cast(ops.shape(pixels)[1], "float32")
        angle = centred(rotation) * (config.rotation_degrees * math.pi / 180.0)
        offset_x = centred(shift_x) * config.shift * size
        offset_y = centred(shift_y) * config.shift * size
        pixels = _transform(pixels, angle, 1.0 - zoom * config.zoom, offset_x, offset_y, size)
    if config.contrast:
        mean = ops.mean(pixels, axis=[1, 2, 3], keepdims=True)
        factor = 1.0 + centred(contrast) * config.contrast
        pixels = (pixels - mean) * factor[:, None, None, None] + mean
    if config.brightness:
        pixels = pixels + (centred(brightness) * config.brightness * 255.0)[:, None, None, None]
    return ops.clip(pixels, 0.0, 255.0)


def _transform(pixels, angle, scale, offset_x, offset_y, size):
    cos, sin, centre = scale * ops.cos(angle), scale * ops.sin(angle), (size - 1.0) / 2.0
    zeros = ops.zeros_like(angle)
    # Rows of the projective transform that maps an output point to the input point it is taken from.
    from_x = centre - cos * centre + sin * centre + offset_x
    from_y = centre - sin * centre - cos * centre + offset_y
    transforms = ops.stack([cos, -sin, from_x, sin, cos, from_y, zeros, zeros], axis=1)
    return ops.image.affine_transform(
        pixels, transforms, interpolation="bilinear", fill_mode="reflect", data_format="channels_last"
    )
