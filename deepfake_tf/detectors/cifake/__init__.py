"""The detector of CIFAKE's images, 32 x 32 pixels: https://arxiv.org/abs/2303.14126."""

from __future__ import annotations

from deepfake_tf.detectors.spec import DetectorSpec

SPEC = DetectorSpec(
    name="cifake",
    model_name="deepfake",
    judges="images of 16 to 64 pixels, such as CIFAKE's",
    view_side=224,
    shortest_side=16,
    longest_side=64,
    views="deepfake_tf.reading.pillow_reader",
    tensorflow_views="deepfake_tf.reading.tensorflow_reader",
)
