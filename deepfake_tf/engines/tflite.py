"""What the engines of a `.tflite` file share: reading images by Pillow, deciding by NumPy; TensorFlow is not imported.

They differ in what runs the network: `litert_engine` and `openvino_engine`.
"""

from __future__ import annotations

import abc
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf import config
from deepfake_tf.contract import REASON_UNLIKE, reason_for_size
from deepfake_tf.reading.pillow_reader import ReadImage, read_image

INPUT_SHAPE = (1, config.IMAGE_SIZE, config.IMAGE_SIZE, 3)
INPUT = f"pixels uint8 {list(INPUT_SHAPE[1:])}"
OUTPUTS = frozenset(("probability", "heatmap", "logit", "distance"))
MOST_THREADS = 4  # more help a network of this size little


class TFLiteEngine(abc.ABC):
    """Holds a `.tflite` file of `deepfake_tf.export.litert` and answers like `SavedModelEngine`.

    Attributes:
        description: dict. The JSON beside the file: decision, domain, model card.

    Raises:
        FileNotFoundError: the file, or the JSON beside it, is missing.
        ValueError: the file is damaged, no LiteRT model, or not one of ours.
    """

    def __init__(self, model_file: str | os.PathLike[str], num_threads: int | None = None):
        """Load a model.

        Args:
            model_file: path of the `.tflite`; the JSON of the same name stands beside it.
            num_threads: int. None takes as many as there are processors, at most `MOST_THREADS`.
        """
        model_file = Path(model_file)
        self.description = read_description(model_file)
        if hashlib.sha256(model_file.read_bytes()).hexdigest() != self.description.get("sha256"):
            raise ValueError(
                f"{model_file} is damaged, or not the file that {_json_beside(model_file).name} describes: its "
                f"SHA-256 differs. Copy both files again, or make both with: deepfake-tf export RUN_DIR --output DIR "
                f"--litert DIR"
            )
        try:
            inputs, outputs = self._load(model_file, num_threads or min(os.cpu_count() or 1, MOST_THREADS))
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{model_file} is no LiteRT model: {' '.join(str(error).split())}") from error
        if inputs != [INPUT] or not set(outputs) >= OUTPUTS:
            raise ValueError(
                f"{model_file} is not a model of deepfake-tf export --litert: it must read {INPUT} and return "
                f"{', '.join(sorted(OUTPUTS))}. Received: {', '.join(inputs)} -> {', '.join(outputs) or 'no signature'}"
            )

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """N encoded images -> the rows of the score contract, an array [N] each; strings are bytes."""
        rows = self._score(encoded)
        del rows["heatmap"]
        return rows

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        return self._score(encoded)

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The network alone.

        Args:
            pixels: uint8 [N, 224, 224, 3], RGB 0..255.

        Returns:
            `probability`, `logit` and `distance`, float32 [N, 1], and `heatmap`, float32 [N, h, w].

        Raises:
            ValueError: another shape or type.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != INPUT_SHAPE[1:]:
            raise ValueError(
                f"pixels must be uint8 [N, {', '.join(map(str, INPUT_SHAPE[1:]))}]. "
                f"Received: {pixels.dtype} {list(pixels.shape)}"
            )
        return self._run(pixels)

    @abc.abstractmethod
    def _load(self, model_file: Path, num_threads: int) -> tuple[list[str], list[str]]:
        """Prepare `_run`.

        Returns:
            The inputs, written as `INPUT`, and the names of the outputs.

        Raises:
            ValueError, RuntimeError: the file is no model.
        """

    @abc.abstractmethod
    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """`run`, of pixels that were checked; may be called by several threads at once."""

    def _score(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        images = [read_image(image_bytes) for image_bytes in encoded]
        blank = np.zeros(INPUT_SHAPE[1:], np.uint8)
        # An image without pixels keeps its row; so does an empty request, cut off again.
        pixels = [blank if image.pixels is None else image.pixels for image in images] or [blank]
        outputs = {name: output[: len(images)] for name, output in self.run(np.stack(pixels)).items()}
        return decide(images, outputs, self.description)


def decide(
    images: list[ReadImage], outputs: dict[str, np.ndarray], description: dict[str, Any]
) -> dict[str, np.ndarray]:
    """From the network's outputs to the rows of the score contract; the twin of the exported graph's.

    Args:
        images: N of them, as read.
        outputs: of `TFLiteEngine.run`, for N images.
        description: the JSON beside the model: `decision` and `domain`.

    Returns:
        The outputs of the SavedModel's signature `explain`: an array [N] a field, strings as bytes, and
        `heatmap` float32 [N, h, w].
    """
    probability, logit = outputs["probability"][:, 0], outputs["logit"][:, 0]
    is_valid = np.array([not image.error for image in images], bool)
    reasons = [_reason(image, distance, description["domain"]) for image, distance in zip(images, outputs["distance"])]
    in_domain = is_valid & np.array([not reason for reason in reasons], bool)
    is_fake = probability >= np.float32(description["decision"]["threshold"])
    low, high = (np.float32(limit) for limit in description["decision"]["uncertain_band"])
    verdict = np.where(is_fake, config.VERDICT_GENERATED, config.VERDICT_REAL)
    verdict = np.where((probability > low) & (probability < high), config.VERDICT_UNCERTAIN, verdict)
    real, fake = config.LABEL_NAMES
    zero = np.float32(0)
    return {
        "label": _as_bytes(np.where(is_valid, np.where(is_fake, fake, real), config.LABEL_INVALID)),
        "verdict": _as_bytes(np.where(in_domain, verdict, config.VERDICT_UNCERTAIN)),
        "reason": _as_bytes([reason if valid else "" for reason, valid in zip(reasons, is_valid)]),
        "error": _as_bytes([image.error for image in images]),
        "confidence": np.where(is_valid, np.where(is_fake, probability, 1 - probability), zero),
        "probability": np.where(is_valid, probability, np.float32(-1)),
        "logit": np.where(is_valid, logit, zero),
        "in_domain": in_domain,
        "width": np.array([image.width for image in images], np.int32),
        "height": np.array([image.height for image in images], np.int32),
        "heatmap": outputs["heatmap"] * is_valid[:, None, None].astype(np.float32),
    }


def read_description(model_file: Path) -> dict[str, Any]:
    """The JSON beside a `.tflite`.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: the JSON is not one of ours.
    """
    file = _json_beside(model_file)
    for needed in (model_file, file):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} does not exist. The light engine needs a .tflite and the .json beside it; make both "
                f"with: deepfake-tf export RUN_DIR --output DIR --litert DIR"
            )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        missing = {"sha256", "decision", "domain"} - set(description)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no JSON object: {error}") from error
    if missing:
        raise ValueError(f"{file} lacks {sorted(missing)}: it was not made by deepfake-tf export --litert")
    return description


def _json_beside(model_file: Path) -> Path:
    return model_file.with_suffix(".json")


def _reason(image: ReadImage, distance: np.ndarray, domain: dict[str, Any]) -> str:
    """Why an image is out of domain, or empty."""
    low, high = domain["sides_accepted"]
    if min(image.width, image.height) < low or max(image.width, image.height) > high:
        return reason_for_size(f"{image.width} x {image.height}", *domain["sides_seen_in_training"])
    return REASON_UNLIKE if distance[0] > domain["mahalanobis_threshold"] else ""


def _as_bytes(texts: Any) -> np.ndarray:
    """object [N] of UTF-8 bytes, as TensorFlow hands strings out."""
    return np.array([str(text).encode() for text in texts], object)
