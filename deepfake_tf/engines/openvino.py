"""A `.tflite` file, run by OpenVINO, which reads the format as it is.

https://docs.openvino.ai/2025/openvino-workflow/model-preparation/convert-model-tensorflow-lite.html
"""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import openvino

from deepfake_tf.engines.tflite import INPUT, INPUT_SHAPE, OUTPUTS, TFLiteEngine


class OpenVINOEngine(TFLiteEngine):
    """Runs the network by OpenVINO: one image on all threads, several images side by side, a thread and a copy each.

    It computes in what the file and the processor allow: 8 bits for the variant `int8`; else bfloat16 where the
    processor has it, as OpenVINO chooses, or float32.
    """

    LIBRARY = f"OpenVINO {openvino.__version__.partition('-')[0]}"
    LOGIT_TOLERANCE = 0.5
    REMEDY = "Use another engine: --engine litert."

    def _load(self, model_file: Path, num_threads: int) -> tuple[list[str], list[str]]:
        core = openvino.Core()
        model = core.read_model(model_file)
        self._lock = threading.Lock()  # requests and queues serve one caller at a time
        inputs = [
            f"{tensor.any_name} {tensor.element_type.to_dtype().name} {list(tensor.partial_shape[1:].to_shape())}"
            for tensor in model.inputs
        ]
        if inputs != [INPUT]:
            return inputs, [tensor.any_name for tensor in model.outputs]
        model.reshape(list(INPUT_SHAPE))  # one image: a model of an open batch size runs at half the rate

        def compile_for(threads: int) -> openvino.CompiledModel:
            return core.compile_model(model, "CPU", {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads})

        self._request = compile_for(num_threads).create_infer_request()
        # Not one model of several streams: such a one computed garbage (2025.0 to 2026.4, 8-bit weights, most times
        # that it was compiled), while models of one stream each never did.
        copies = num_threads if num_threads > 1 else 0
        self._queues = [openvino.AsyncInferQueue(compile_for(1), 1) for _ in range(copies)]
        for queue in self._queues:
            queue.set_callback(lambda request, keep: keep(request))
        return inputs, [tensor.any_name for tensor in model.outputs]

    def _side_by_side(self) -> int:
        return max(len(self._queues), 1)

    def _run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        results: list[dict[str, np.ndarray]] = [{}] * len(pixels)

        def keeper(index: int):
            def keep(request: openvino.InferRequest) -> None:
                results[index] = {name: request.get_tensor(name).data.copy() for name in OUTPUTS}

            return keep

        with self._lock:
            if len(pixels) == 1 or not self._queues:
                for index, image in enumerate(pixels):
                    self._request.infer([image[None]])
                    keeper(index)(self._request)
            else:
                for (index, image), queue in zip(enumerate(pixels), itertools.cycle(self._queues)):
                    queue.start_async([image[None]], keeper(index))
                for queue in self._queues:
                    queue.wait_all()
        return {name: np.concatenate([result[name] for result in results]) for name in OUTPUTS}
