"""The light engine: a `.tflite` file, run by LiteRT."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from deepfake_tf.engines.tflite import TFLiteEngine

SIGNATURE = "serving_default"


class LiteRTEngine(TFLiteEngine):
    """Runs the network by LiteRT, an image at a time."""

    def _load(self, model_file: Path, num_threads: int) -> tuple[list[str], list[str]]:
        self._interpreter = Interpreter(model_path=str(model_file), num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()  # one interpreter serves one caller at a time
        signature = self._interpreter.get_signature_list().get(SIGNATURE)
        if signature is None:
            return [], []
        self._runner = self._interpreter.get_signature_runner(SIGNATURE)
        inputs = [
            f"{name} {np.dtype(tensor['dtype']).name} {[int(length) for length in tensor['shape'][1:]]}"
            for name, tensor in self._runner.get_input_details().items()
        ]
        return inputs, list(signature["outputs"])

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:  # an image at a time: memory stays that of one, and the tensors need no new plan
            results = [self._runner(pixels=image[None]) for image in pixels]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}
