"""The light engine: `.tflite` files, run by LiteRT."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from deepfake_tf.engines.tflite import Arrays, Network, TFLiteEngine, concatenated


class LiteRTEngine(TFLiteEngine):
    """Runs the network by LiteRT, an image at a time."""

    LIBRARY = f"LiteRT {importlib.metadata.version('ai-edge-litert')}"
    # 8 bits a value: where one kernel rounds up and another one down, it shows; pixels differ by one grey level too.
    LOGIT_TOLERANCE = 0.2
    REMEDY = "Use another engine: --engine openvino or saved_model; or a float32 file of deepfake-tf export --litert."

    def _load(self, files: Sequence[Path], num_threads: int) -> None:
        self._network = self._chain(files, lambda file: _open(file, num_threads))

    def _run(self, pixels: np.ndarray) -> Arrays:
        with self._lock:  # an image at a time: memory stays that of one, and the tensors need no new plan
            return concatenated([self._network.run(image[None]) for image in pixels])


def _open(file: Path, num_threads: int) -> Network:
    interpreter = Interpreter(model_path=str(file), num_threads=num_threads)
    interpreter.allocate_tensors()
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1:
        details = interpreter.get_input_details()
        return Network({tensor["name"]: _kind(tensor) for tensor in details}, (), lambda arrays: {})
    [(name, signature)] = signatures.items()
    runner = interpreter.get_signature_runner(name)
    inputs = {tensor_name: _kind(tensor) for tensor_name, tensor in runner.get_input_details().items()}
    return Network(inputs, signature["outputs"], lambda arrays: runner(**arrays))


def _kind(tensor: dict) -> str:
    return f"{np.dtype(tensor['dtype']).name} {[int(length) for length in tensor['shape'][1:]]}"
