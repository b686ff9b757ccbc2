"""The detector for photographs: views of an image, features of CLIP's ViT-B/16, a head on them, calibration."""

from __future__ import annotations

from deepfake_tf.detectors.spec import DetectorSpec

SPEC = DetectorSpec(
    name="photograph",
    model_name="photograph",
    judges="photographs whose short side has 200 pixels or more",
    view_side=224,
    shortest_side=200,
    longest_side=None,
    central_square=True,
    upright=True,
    views="deepfake_tf.detectors.photograph.views",
    tensorflow_views="deepfake_tf.detectors.photograph.tensorflow_views",
)
