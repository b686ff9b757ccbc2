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

from deepfake_tf.decision.known_image import KNOWN_LOGIT, check_known_image
from deepfake_tf.decision.verdict import Decision, decide
from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.reading.pillow_reader import read_image
from deepfake_tf.writing import part_of

INPUT_SHAPE = (1, IMAGE_SIZE, IMAGE_SIZE, 3)
INPUT = f"pixels uint8 {list(INPUT_SHAPE[1:])}"
OUTPUTS = frozenset(("probability", "heatmap", "logit", "distance"))
MOST_THREADS = 4  # more help a network of this size little


class TFLiteEngine(abc.ABC):
    """Holds a `.tflite` file of `deepfake_tf.export.litert` and answers like `SavedModelEngine`.

    Attributes:
        description: dict. The JSON beside the file: decision, domain, model card.
        LIBRARY: str. What runs the network, with its version.
        LOGIT_TOLERANCE: float. What the known image's logit may be off by.
        REMEDY: str. What to do where it is off by more.

    Raises:
        FileNotFoundError: the file, or the JSON beside it, is missing.
        ValueError: the file is damaged, no LiteRT model, or not one of ours; or the library computes it wrongly on
            this machine.
    """

    ADMITS = True  # it brings images into the form that all engines take alike by itself
    LIBRARY: str
    LOGIT_TOLERANCE: float
    REMEDY: str

    def __init__(self, model_file: str | os.PathLike[str], num_threads: int | None = None):
        """Load a model.

        Args:
            model_file: path of the `.tflite`; the JSON of the same name stands beside it.
            num_threads: int. None takes as many as there are processors, at most `MOST_THREADS`.
        """
        model_file = Path(model_file)
        self.description = read_description(model_file)
        self._decision = Decision.from_description(self.description)
        try:
            inputs, outputs = self._load(model_file, num_threads or min(os.cpu_count() or 1, MOST_THREADS))
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{model_file} is no LiteRT model: {' '.join(str(error).split())}") from error
        if inputs != [INPUT] or not set(outputs) >= OUTPUTS:
            raise ValueError(
                f"{model_file} is not a model of deepfake-tf export --litert: it must read {INPUT} and return "
                f"{', '.join(sorted(OUTPUTS))}. Received: {', '.join(inputs)} -> {', '.join(outputs) or 'no signature'}"
            )
        batch_sizes = (1, 2 * self._side_by_side())  # images side by side take another way than one
        expected, logits_of = self.description.get(KNOWN_LOGIT), lambda images: self.predict(images)["logit"]
        check_known_image(logits_of, expected, self.LOGIT_TOLERANCE, batch_sizes, self.LIBRARY, model_file, self.REMEDY)

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

    def _side_by_side(self) -> int:
        """How many images are computed at the same time."""
        return 1

    def _score(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        images = [read_image(image_bytes) for image_bytes in encoded]
        blank = np.zeros(INPUT_SHAPE[1:], np.uint8)
        # An image without pixels keeps its row; so does an empty request, cut off again.
        pixels = [blank if image.pixels is None else image.pixels for image in images] or [blank]
        outputs = {name: output[: len(images)] for name, output in self.run(np.stack(pixels)).items()}
        rows = decide(
            outputs["logit"][:, 0],
            outputs["distance"][:, 0],
            np.array([image.width for image in images], np.int32),
            np.array([image.height for image in images], np.int32),
            [image.error for image in images],
            self._decision,
        )
        is_valid = np.array([not image.error for image in images], np.float32)
        return {**rows, "heatmap": outputs["heatmap"] * is_valid[:, None, None]}


def read_description(model_file: Path) -> dict[str, Any]:
    """The JSON beside a `.tflite`; where an export was cut between the two files, the one that it had ready.

    Raises:
        FileNotFoundError: one of the two is missing.
        ValueError: the JSON is not one of ours, or describes another file.
    """
    file = _json_beside(model_file)
    candidates = [candidate for candidate in (file, part_of(file)) if candidate.is_file()]
    if not (model_file.is_file() and candidates):
        raise FileNotFoundError(
            f"{file if model_file.is_file() else model_file} does not exist. The light engine needs a .tflite and the "
            f".json beside it; make both with: deepfake-tf export RUN_DIR --output DIR --litert DIR"
        )
    digest = hashlib.sha256(model_file.read_bytes()).hexdigest()
    for candidate in candidates:
        if (description := _read_json(candidate))["sha256"] == digest:
            return description
    raise ValueError(
        f"{model_file} is damaged, or not the file that {file.name} describes: its SHA-256 differs. Copy both files "
        f"again, or make both with: deepfake-tf export RUN_DIR --output DIR --litert DIR"
    )


def _read_json(file: Path) -> dict[str, Any]:
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
