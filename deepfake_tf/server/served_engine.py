"""An engine of `Detector` as the local server's model: it scores without a SavedModel, so without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from deepfake_tf.server import SAMPLE
from deepfake_tf.server.batching import Batcher
from deepfake_tf.server.loading import Signature, Version
from deepfake_tf.server.metrics import ServingMetrics

_INPUT = "image_bytes"
_VERSION = 1  # a file has no numbered versions
_DATA_TYPES = {"object": "DT_STRING", "float32": "DT_FLOAT", "int32": "DT_INT32", "bool": "DT_BOOL"}

Outputs = dict[str, np.ndarray]


class ServedEngine:
    """What `ServedModel` is for SavedModels, for an engine such as `LiteRTEngine`: one version, number 1.

    Attributes:
        input_errors: what the engine raises for an input that it cannot take, beside ValueError and TypeError.
    """

    input_errors: tuple[type[Exception], ...] = ()

    def __init__(self, name: str, engine: Any, labels: Mapping[str, int] | None = None):
        """
        Args:
            name: str. The model's name in URLs.
            engine: with `predict` and `explain`: N encoded images -> arrays [N, ...] of the score contract.
            labels: names of versions, such as {"stable": 1}.

        Raises:
            ValueError: a label names another version than 1.
        """
        self.name = name
        self.labels = dict(labels or {})
        if missing := {label: number for label, number in self.labels.items() if number != _VERSION}:
            raise ValueError(f"labels name versions that are not there: {missing}. Versions: [{_VERSION}]")
        self.metrics = ServingMetrics(name)
        self._executor = ThreadPoolExecutor(1, "model")
        methods = {"serving_default": engine.predict, "explain": engine.explain}
        photograph = [SAMPLE.read_bytes()]  # the first run prepares the engine
        self.latest = Version(
            _VERSION,
            {name: self._signature(method) for name, method in methods.items()},
            {name: _describe(method(photograph)) for name, method in methods.items()},
        )
        self.versions = {_VERSION: self.latest}

    async def call(self, version: Version, signature_name: str, inputs: Mapping[str, np.ndarray]) -> Outputs:
        """Score the images of a request, joined with those of others.

        Raises:
            Overloaded, ValueError: see `Batcher`; or the images are no list.
        """
        images = inputs[_INPUT]
        if images.ndim != 1 or not len(images):
            raise ValueError(f"{_INPUT} must be a list of at least one image. Received: shape {list(images.shape)}")
        batched = version.signatures[signature_name].batched
        assert batched is not None  # see `_signature`
        return await batched(images)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def _signature(self, method: Callable[[list[bytes]], Outputs]) -> Signature:
        def run_batch(images: np.ndarray) -> Outputs:
            self.metrics.count_batch(len(images))
            return method(list(images))

        return Signature({_INPUT: "string"}, Batcher(run_batch, self._executor))


def _describe(rows: Outputs) -> dict[str, Any]:
    """A signature as TensorFlow Serving's metadata shows it, from the rows of one image."""
    outputs = {name: _tensor(name, values.dtype.name, list(values.shape[1:])) for name, values in rows.items()}
    return {
        "inputs": {_INPUT: _tensor(_INPUT, "object", [])},
        "outputs": outputs,
        "method_name": "tensorflow/serving/predict",
    }


def _tensor(name: str, dtype: str, shape: list[int]) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in [-1, *shape]]
    return {"dtype": _DATA_TYPES[dtype], "tensor_shape": {"dim": dimensions, "unknown_rank": False}, "name": name}
