"""The detector of CIFAKE's images, 32 x 32 pixels: https://arxiv.org/abs/2303.14126."""

from __future__ import annotations

from deepfake_tf.detectors.spec import DetectorSpec

IMAGE_SIZE = 224  # pixels, the side of the square that the network reads
PIXEL_MEAN = 0.5  # of x / 255, per channel, as in the original project
PIXEL_STD = 0.5

SPEC = DetectorSpec(
    name="cifake",
    model_name="deepfake",
    judges="images of 16 to 64 pixels, such as CIFAKE's",
    view_side=IMAGE_SIZE,
    shortest_side=16,
    longest_side=64,
    central_square=False,
    upright=False,  # CIFAKE's files have no EXIF
    views="deepfake_tf.reading.pillow_reader",
    tensorflow_views="deepfake_tf.reading.tensorflow_reader",
)
