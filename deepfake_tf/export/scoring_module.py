"""What every detector's SavedModel has in common: its three signatures, from images to rows."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from deepfake_tf.contract import FAKE, LABEL_NAMES, ErrorCode
from deepfake_tf.decision import tensorflow_verdict
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors.spec import DetectorSpec
from deepfake_tf.reading.tensorflow_batches import read_images, texts_of


class ScoringModule(tf.Module, abc.ABC):
    """Encoded images in, the rows of the score contract out; see `reading.tensorflow_batches` and `decision`."""

    def __init__(self, spec: DetectorSpec, decision: Decision):
        super().__init__()
        self._spec = spec
        self._decision = decision

    @abc.abstractmethod
    def _outputs(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """The network: uint8 [N, side, side, 3] -> `logit` and `distance`, float32 [N], and what `_heatmap` reads."""

    @abc.abstractmethod
    def _heatmap(self, outputs: dict[str, tf.Tensor], is_fake: tf.Tensor) -> tf.Tensor:
        """Where the evidence for the label lies, bool [N] -> float32 [N, h, w], 0..1."""

    def signatures(self) -> dict[str, Any]:
        encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
        pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")
        return {
            "serving_default": tf.function(self.serving_default).get_concrete_function(encoded),
            "explain": tf.function(self.explain).get_concrete_function(encoded),
            "from_pixels": tf.function(self.from_pixels).get_concrete_function(pixels),
        }

    def serving_default(self, image_bytes):
        """string [N] -> dict of [N]: the fields of the score contract."""
        return self._score(*self._read(image_bytes))[0]

    def explain(self, image_bytes):
        """string [N] -> the same, and `heatmap` float32 [N, h, w], 0..1."""
        rows, outputs = self._score(*self._read(image_bytes))
        heatmap = self._heatmap(outputs, rows["label"] == LABEL_NAMES[FAKE])
        is_valid = tf.cast(rows["error"] == "", tf.float32)[:, None, None]
        return {**rows, "heatmap": heatmap * is_valid}

    def from_pixels(self, pixels):
        """uint8 [N, H, W, 3] -> the same as `serving_default`."""
        count, height, width = tf.shape(pixels)[0], tf.shape(pixels)[1], tf.shape(pixels)[2]
        has_pixels = (height > 0) & (width > 0)
        padded = tf.cond(has_pixels, lambda: pixels, lambda: tf.zeros([count, 1, 1, 3], tf.uint8))
        codes = tf.fill([count], tf.where(has_pixels, int(ErrorCode.OK), int(ErrorCode.EMPTY)))
        seen = self._spec.tensorflow_view(padded)
        return self._score(seen, codes, tf.fill([count], width), tf.fill([count], height))[0]

    def _read(self, image_bytes):
        return read_images(image_bytes, self._spec.tensorflow_view, self._spec.view_side)

    def _score(self, pixels, codes, width, height):
        """The rows, and the network's outputs."""
        count = tf.shape(pixels)[0]
        # Fused convolutions refuse an empty batch: it travels as one black image, cut off again.
        pixels = tf.pad(pixels, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        outputs = {name: values[:count] for name, values in self._outputs(pixels).items()}
        logit, distance = outputs["logit"], outputs["distance"]
        rows = tensorflow_verdict.decide(logit, distance, width, height, texts_of(codes), self._decision)
        return rows, outputs
