"""`.tflite` files, run by OpenVINO, which reads the format as it is.

https://docs.openvino.ai/2025/openvino-workflow/model-preparation/convert-model-tensorflow-lite.html
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino

from deepfake_tf.engines.tflite import Arrays, Chain, Network, TFLiteEngine, concatenated

_MOST_BYTES_TO_COPY = 64 * 2**20  # of the files; each copy unpacks their weights once more


class OpenVINOEngine(TFLiteEngine):
    """Runs the network by OpenVINO: one image on all threads, several images side by side, a thread and a copy each.

    A large network has no copies: its images follow each other. It computes in what the file and the processor allow:
    8 bits for the variants of int8; else bfloat16 where the processor has it, as OpenVINO chooses, or float32.
    """

    LIBRARY = f"OpenVINO {openvino.__version__.partition('-')[0]}"
    LOGIT_TOLERANCE = 0.5
    REMEDY = "Use another engine: --engine litert."

    def _load(self, files: Sequence[Path], num_threads: int) -> None:
        chain_for = lambda threads: self._chain(files, lambda file: _open(file, threads))
        self._network: Chain = chain_for(num_threads)
        is_small = sum(file.stat().st_size for file in files) <= _MOST_BYTES_TO_COPY
        # Not one model of several streams: such a one computed garbage (2025.0 to 2026.4, 8-bit weights, most times
        # that it was compiled), while models of one stream each never did.
        copies = num_threads if num_threads > 1 and is_small else 0
        self._copies: list[Chain] = [chain_for(1) for _ in range(copies)]
        self._threads = ThreadPoolExecutor(copies, "openvino") if copies else None

    def _side_by_side(self) -> int:
        return max(len(self._copies), 1)

    def _run(self, pixels: np.ndarray) -> Arrays:
        with self._lock:
            if len(pixels) == 1 or self._threads is None:
                return concatenated([self._network.run(image[None]) for image in pixels])
            results: list[Arrays] = [{}] * len(pixels)

            def run_share(first: int) -> None:
                for index in range(first, len(pixels), len(self._copies)):
                    results[index] = self._copies[first].run(pixels[index][None])

            list(self._threads.map(run_share, range(len(self._copies))))
            return concatenated(results)


def _open(file: Path, num_threads: int) -> Network:
    core = openvino.Core()
    model = core.read_model(file)
    inputs = {
        tensor.any_name: f"{tensor.element_type.to_dtype().name} {list(tensor.partial_shape[1:].to_shape())}"
        for tensor in model.inputs
    }
    # One image: a model of an open batch size runs at half the rate.
    model.reshape({tensor.any_name: [1, *tensor.partial_shape[1:].to_shape()] for tensor in model.inputs})
    # Not pinned: copies of one thread each, and other processes' networks, would all be pinned to the first core.
    options = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": num_threads, "ENABLE_CPU_PINNING": False}
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    names = [name for tensor in model.outputs for name in tensor.names]  # some have two

    def run(arrays: Arrays) -> Arrays:
        request.infer(arrays)
        return {name: request.get_tensor(name).data.copy() for name in names}

    return Network(inputs, names, run)
