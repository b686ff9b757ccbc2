"""A `.tflite` file, run by OpenVINO, which reads the format as it is.

https://docs.openvino.ai/2025/openvino-workflow/model-preparation/convert-model-tensorflow-lite.html
"""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path

import numpy as np
import openvino

from deepfake_tf.engines.tflite import INPUT_SHAPE, OUTPUTS, TFLiteEngine


class OpenVINOEngine(TFLiteEngine):
    """Runs the network by OpenVINO: one image on all threads, several images side by side, a thread each.

    It computes in what the file and the processor allow: 8 bits for the variant `int8`; else bfloat16 where the
    processor has it, as OpenVINO chooses, or float32.
    """

    def _load(self, model_file: Path, num_threads: int) -> tuple[list[str], list[str]]:
        self._core = openvino.Core()
        self._core.set_property("CPU", {"INFERENCE_NUM_THREADS": num_threads})
        self._model = self._core.read_model(model_file)
        self._lock = threading.Lock()  # a request, and a queue, serve one caller at a time
        inputs = [
            f"{tensor.any_name} {tensor.element_type.to_dtype().name} {list(tensor.partial_shape[1:].to_shape())}"
            for tensor in self._model.inputs
        ]
        return inputs, [tensor.any_name for tensor in self._model.outputs]

    @cached_property
    def _request(self) -> openvino.InferRequest:
        return self._compile("LATENCY").create_infer_request()

    @cached_property
    def _queue(self) -> openvino.AsyncInferQueue:
        queue = openvino.AsyncInferQueue(self._compile("THROUGHPUT"))
        queue.set_callback(lambda request, keep: keep(request))
        return queue

    def _compile(self, hint: str) -> openvino.CompiledModel:
        self._model.reshape(list(INPUT_SHAPE))  # one image: a model of an open batch size runs at half the rate
        return self._core.compile_model(self._model, "CPU", {"PERFORMANCE_HINT": hint})

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        results: list[dict[str, np.ndarray]] = [{}] * len(pixels)

        def keeper(index: int):
            def keep(request: openvino.InferRequest) -> None:
                results[index] = {name: request.get_tensor(name).data.copy() for name in OUTPUTS}

            return keep

        with self._lock:
            if len(pixels) == 1:
                self._request.infer([pixels])
                keeper(0)(self._request)
            else:
                for index, image in enumerate(pixels):
                    self._queue.start_async([image[None]], keeper(index))
                self._queue.wait_all()
        return {name: np.concatenate([result[name] for result in results]) for name in OUTPUTS}
