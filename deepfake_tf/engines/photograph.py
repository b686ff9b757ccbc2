"""The light engines of the photograph detector: a backbone and a head, by LiteRT or by OpenVINO.

TensorFlow is not imported. The backbone stays the same from head to head.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf.detectors.photograph.views import VIEW_SIZE, central_view
from deepfake_tf.engines.tflite import decide
from deepfake_tf.reading.pillow_reader import read_image

BACKBONE = "backbone.tflite"
HEAD = "head.tflite"
HEAD_ARRAYS = "head.npz"  # the head once more, for the SavedModel
DESCRIPTION = "detector.json"
MOST_THREADS = 8

Network = Callable[..., dict[str, np.ndarray]]  # inputs by name, N = 1 -> outputs by name


class PhotographEngine:
    """Holds a bundle of the photograph detector and answers like `SavedModelEngine`.

    Attributes:
        description: dict. `detector.json`: decision, domain, digests.

    Raises:
        FileNotFoundError: the bundle lacks a file.
        ValueError: a file is damaged.
    """

    def __init__(self, bundle: str | os.PathLike[str], num_threads: int | None = None, library: str = "litert"):
        """Load a bundle.

        Args:
            bundle: the folder.
            num_threads: int. None takes as many as there are processors, at most `MOST_THREADS`.
            library: "litert" or "openvino".
        """
        self._bundle = Path(bundle)
        for name in (BACKBONE, HEAD, DESCRIPTION):
            if not (self._bundle / name).is_file():
                raise FileNotFoundError(
                    f"A bundle of the photograph detector holds {name}. Received: {str(self._bundle)!r}"
                )
        self.description = json.loads((self._bundle / DESCRIPTION).read_text(encoding="utf-8"))
        self._loader = {"litert": load_litert, "openvino": load_openvino}[library]
        self._num_threads = num_threads or min(os.cpu_count() or 1, MOST_THREADS)
        self._backbone, self._head = self._load(BACKBONE), self._load(HEAD)
        self._lock = threading.Lock()  # an interpreter serves one caller at a time

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """N encoded images -> the rows of the score contract, an array [N] each; strings are bytes."""
        rows = self.explain(encoded)
        del rows["heatmap"]
        return rows

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        images = [read_image(image_bytes, central_view) for image_bytes in encoded]
        blank = np.zeros((VIEW_SIZE, VIEW_SIZE, 3), np.uint8)
        # An image without pixels keeps its row; so does an empty request, cut off again.
        pixels = [blank if image.pixels is None else image.pixels for image in images] or [blank]
        outputs = {name: values[: len(images)] for name, values in self.run(np.stack(pixels)).items()}
        return decide(images, outputs, self.description)

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The network alone.

        Args:
            pixels: uint8 [N, 224, 224, 3], RGB 0..255: views, see `central_view`.

        Returns:
            `probability`, `logit` and `distance`, float32 [N, 1], and `heatmap`, float32 [N, h, w].

        Raises:
            ValueError: another shape or type.
        """
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (VIEW_SIZE, VIEW_SIZE, 3) or not len(pixels):
            raise ValueError(
                f"pixels must be uint8 [N, {VIEW_SIZE}, {VIEW_SIZE}, 3], not empty. "
                f"Received: {pixels.dtype} {list(pixels.shape)}"
            )
        with self._lock:  # an image at a time: memory stays that of one
            results = [self._head(**self._backbone(pixels=view[None])) for view in pixels]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def _load(self, name: str) -> Network:
        path = self._bundle / name
        expected = self.description["sha256"][name]
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{path} is damaged, or not the file that {DESCRIPTION} describes: its SHA-256 differs")
        return self._loader(path, self._num_threads)


def load_litert(path: Path, num_threads: int) -> Network:
    """A `.tflite` of one signature, by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=num_threads)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner()


def load_openvino(path: Path, num_threads: int, precision: str | None = None) -> Network:
    """The same by OpenVINO; `precision`, "f32" or "bf16", None as it chooses for the processor."""
    import openvino

    # One request at a time: with two streams, OpenVINO 2026.4 gets every image wrong from the fourth block on.
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        options["INFERENCE_PRECISION_HINT"] = precision
    request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    names = [name for tensor in request.model_outputs for name in tensor.names]  # some have two

    def run(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        request.infer(inputs)
        return {name: request.get_tensor(name).data.copy() for name in names}

    return run
