"""What every detector's SavedModel has in common: its three signatures, from images to rows."""

from __future__ import annotations

import abc
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from deepfake_tf.contract import FAKE, LABEL_NAMES, ErrorCode
from deepfake_tf.decision import tensorflow_verdict
from deepfake_tf.decision.known_image import KNOWN_LOGIT, known_image
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors.spec import DetectorSpec
from deepfake_tf.export.warmup import write_warmup_requests
from deepfake_tf.reading.tensorflow_batches import read_images, texts_of
from deepfake_tf.writing import replace_folder, restore_folder

MODEL_CARD = "model_card.json"
ARRAYS = "arrays.npz"  # what it takes to calibrate anew, or to convert


def checked_output(output: str | Path) -> Path:
    """Where a SavedModel may be written: what a killed export left there is put right first.

    Raises:
        ValueError: `output` exists and is no SavedModel.
    """
    output = Path(output)
    if output.is_symlink():  # what it links to is replaced, not the link
        output = output.resolve()
    restore_folder(output)
    if output.exists() and not (output / "saved_model.pb").is_file():
        raise ValueError(f"{output} exists and is no SavedModel: it is not replaced. Name another --output.")
    return output


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

    def save(
        self, output: Path, card: Mapping[str, Any], warmup_images: list[bytes], arrays: Mapping[str, np.ndarray] = {}
    ) -> Path:
        """Write the SavedModel with its card, and the logit that it gives for the known image.

        Args:
            output: Path, as `checked_output` returns it.
            card: JSON-able. Becomes the asset `model_card.json`.
            warmup_images: encoded images for the warm-up requests.
            arrays: become the asset `arrays.npz`, where there are some.

        Returns:
            `output`. It appears whole or not at all.
        """
        output.parent.mkdir(parents=True, exist_ok=True)
        # Beside the version folders, a server that watches them must not take this one for a version.
        temporary, assets = (output.with_name(f".{output.name}.{purpose}") for purpose in ("exporting", "assets"))
        for leftover in (temporary, assets):  # of an export that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        assets.mkdir()
        logit = float(self.serving_default(tf.constant([known_image()]))["logit"][0])
        described = json.dumps({**card, KNOWN_LOGIT: logit}, indent=2) + "\n"
        (assets / MODEL_CARD).write_text(described, encoding="utf-8")
        self.card = tf.saved_model.Asset(str(assets / MODEL_CARD))
        if arrays:
            np.savez(assets / ARRAYS, allow_pickle=False, **arrays)
            self.arrays = tf.saved_model.Asset(str(assets / ARRAYS))
        tf.saved_model.save(self, str(temporary), signatures=self.signatures())
        shutil.rmtree(assets)
        write_warmup_requests(temporary, warmup_images, self._spec.model_name)
        replace_folder(temporary, output)
        return output

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
        return read_images(image_bytes, self._spec.tensorflow_view, self._spec.view_side, self._spec.upright)

    def _score(self, pixels, codes, width, height):
        """The rows, and the network's outputs."""
        count = tf.shape(pixels)[0]
        # Fused convolutions refuse an empty batch: it travels as one black image, cut off again.
        pixels = tf.pad(pixels, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        outputs = {name: values[:count] for name, values in self._outputs(pixels).items()}
        logit, distance = outputs["logit"], outputs["distance"]
        rows = tensorflow_verdict.decide(logit, distance, width, height, texts_of(codes), self._decision)
        return rows, outputs
