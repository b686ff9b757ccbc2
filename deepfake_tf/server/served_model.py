"""The versions of a SavedModel: signatures, labels, and calls that are joined into batches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from deepfake_tf.contract import MAX_BATCH_SIZE
from deepfake_tf.engines.saved_model import check_saved_model
from deepfake_tf.engines.tensorflow_messages import without_node_names
from deepfake_tf.server import SAMPLE
from deepfake_tf.server.batching import MAX_WAITING_BATCHES, Batcher, check_size
from deepfake_tf.server.json_tensors import MAX_RANK
from deepfake_tf.server.loading import Signature, Version
from deepfake_tf.server.metrics import ServingMetrics

Outputs = dict[str, np.ndarray]
_WARM_UP_SIDE = 32  # of pixels and the like, where a signature leaves the size open


class ServedModel:
    """The loaded versions of one model, found by number or label.

    Attributes:
        input_errors: what the graph raises for an input that it cannot take, beside ValueError and TypeError.
    """

    input_errors: tuple[type[Exception], ...] = (tf.errors.OpError,)

    def __init__(
        self,
        name: str,
        folders: Mapping[int, Path],
        labels: Mapping[str, int] | None = None,
        max_batch_size: int = MAX_BATCH_SIZE,
        max_waiting_batches: int = MAX_WAITING_BATCHES,
    ):
        """Load every version.

        Args:
            name: str. The model's name in URLs.
            folders: version numbers, and the folder of the SavedModel of each.
            labels: names of versions, such as {"stable": 1, "canary": 2}.
            max_batch_size: int. Of `Batcher`.
            max_waiting_batches: int. Of `Batcher`.

        Raises:
            ValueError: a folder holds no readable SavedModel, or one that TensorFlow computes wrongly on this
                machine; or a label names a version that is not loaded.
        """
        self.name = name
        self.labels = dict(labels or {})
        self.metrics = ServingMetrics(name)
        # One thread: TensorFlow spreads one batch over all cores, and two batches at once only delay each other.
        self._executor = ThreadPoolExecutor(1, "model")
        self._limits = (max_batch_size, max_waiting_batches)
        self.versions = {number: self._load(number, folder) for number, folder in folders.items()}
        if missing := {label: number for label, number in self.labels.items() if number not in self.versions}:
            raise ValueError(f"labels name versions that are not there: {missing}. Versions: {sorted(self.versions)}")

    @property
    def latest(self) -> Version:
        return self.versions[max(self.versions)]

    async def call(self, version: Version, signature_name: str, inputs: Mapping[str, np.ndarray]) -> Outputs:
        """Run a signature; requests that send encoded images are joined into batches.

        Raises:
            Overloaded, ValueError, TypeError, tf.errors.OpError: see `Batcher`, and what the graph says.
        """
        signature = version.signatures[signature_name]
        if signature.batched is not None:
            [images] = inputs.values()
            if images.ndim == 0:
                raise ValueError("Batching session Run() input tensors must have at least one dimension.")
            if images.ndim == 1 and len(images):
                return await signature.batched(images)
        for images in inputs.values():  # pixels too: an image of one pixel becomes as large as any inside the graph
            check_size(len(images) if images.ndim else 1, self._limits[0])
        return await asyncio.get_running_loop().run_in_executor(self._executor, signature.run, inputs)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def _load(self, number: int, folder: Path) -> Version:
        try:
            definition = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
            model = tf.saved_model.load(str(folder))
        except (OSError, ValueError, DecodeError, tf.errors.OpError) as error:
            reason = without_node_names(str(error)).partition("\n")[0]  # TensorFlow goes on with advice on devices
            raise ValueError(f"{folder} holds no readable SavedModel: {reason}") from error
        if not model.signatures:
            raise ValueError(f"{folder} has no signatures: it was not made for serving")
        signatures = {name: self._signature(model, name) for name in model.signatures}
        _warm_up(signatures)
        check_saved_model(model, folder)
        signature_def = {
            name: json_format.MessageToDict(
                signature, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for name, signature in definition.meta_graphs[0].signature_def.items()
        }
        return Version(number, signatures, signature_def)

    def _signature(self, model: Any, name: str) -> Signature:
        function = model.signatures[name]
        specs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]

        def run(inputs: Mapping[str, np.ndarray]) -> Outputs:
            for input_name, spec in specs.items():
                _check_shape(input_name, inputs[input_name].shape, spec.shape)
            tensors = {input_name: tf.constant(inputs[input_name], spec.dtype) for input_name, spec in specs.items()}
            # Through `model`: a signature on its own does not keep the model's resources alive.
            outputs = model.signatures[name](**tensors)
            return {output_name: output.numpy() for output_name, output in outputs.items()}

        dtypes = {input_name: _dtype_name(spec.dtype) for input_name, spec in specs.items()}
        if [(spec.dtype, spec.shape.rank) for spec in specs.values()] != [(tf.string, 1)]:
            return Signature(dtypes, None, run, specs)
        [input_name] = specs

        def run_batch(images: np.ndarray) -> Outputs:
            self.metrics.count_batch(len(images))
            return run({input_name: images})

        return Signature(dtypes, Batcher(run_batch, self._executor, *self._limits), run, specs)


def _warm_up(signatures: Mapping[str, Signature]) -> None:
    """Run each signature once: its first run prepares the graph, which takes seconds.

    TensorFlow Serving plays the requests that travel with the model; to read those takes its package.
    """
    for signature in signatures.values():
        inputs = {name: _example(spec) for name, spec in signature.specs.items()}
        with contextlib.suppress(tf.errors.OpError, ValueError, TypeError):  # a model that takes other things
            signature.run(inputs)


def _example(spec: tf.TensorSpec) -> np.ndarray:
    """One photograph, as bytes or as black pixels; or what else fits an input."""
    lengths = spec.shape.as_list() if spec.shape.rank is not None else []
    open_lengths = [1] + [_WARM_UP_SIDE] * len(lengths)
    shape = [open_length if length is None else length for length, open_length in zip(lengths, open_lengths)]
    if spec.dtype != tf.string:
        return np.zeros(shape, spec.dtype.as_numpy_dtype)
    return np.full(shape, SAMPLE.read_bytes(), object)


def _check_shape(name: str, shape: tuple[int, ...], expected: tf.TensorShape) -> None:
    """In words of our own: TensorFlow's show its functions, and a tensor of too high a rank ends the process."""
    if len(shape) > MAX_RANK:
        raise ValueError(f"input {name}: at most {MAX_RANK} dimensions are accepted. Received: {len(shape)}")
    if not expected.is_compatible_with(shape):
        wanted = ", ".join("any" if length is None else str(length) for length in expected.as_list())
        raise ValueError(f"input {name}: the shape must be [{wanted}]. Received: {list(shape)}")


def _dtype_name(dtype: tf.DType) -> str:
    """As TensorFlow Serving's messages name it."""
    return {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
