"""The versions of a SavedModel: signatures, labels, and calls that are joined into batches."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from deepfake_tf.server import SAMPLE
from deepfake_tf.server.batching import MAX_BATCH_SIZE, MAX_WAITING_BATCHES, Batcher
from deepfake_tf.server.metrics import ServingMetrics

Outputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of the model.

    Attributes:
        dtypes: the names of its inputs, and TensorFlow's name of the dtype of each ("string", "float").
        run: arrays by name in, arrays by name out; strings are object arrays of bytes.
        batched: images [N] in, the outputs for them out, joined with those of other requests; None where
            the input is not one string [N].
    """

    dtypes: dict[str, str]
    run: Callable[[Mapping[str, np.ndarray]], Outputs]
    batched: Batcher | None


@dataclasses.dataclass(frozen=True)
class Version:
    """One loaded version.

    Attributes:
        number: its folder's name.
        signatures: by name.
        signature_def: as TensorFlow Serving's metadata shows it.
    """

    number: int
    signatures: dict[str, Signature]
    signature_def: dict[str, Any]


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
            ValueError: a folder holds no readable SavedModel, or a label names a version that is not loaded.
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
        return await asyncio.get_running_loop().run_in_executor(self._executor, signature.run, inputs)

    def close(self) -> None:
        self._executor.shutdown(cancel_futures=True)

    def _load(self, number: int, folder: Path) -> Version:
        try:
            definition = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
            model = tf.saved_model.load(str(folder))
        except (OSError, ValueError, DecodeError, tf.errors.OpError) as error:
            reason = str(error).strip().partition("\n")[0]  # TensorFlow goes on with advice on devices
            raise ValueError(f"{folder} holds no readable SavedModel: {reason}") from error
        if not model.signatures:
            raise ValueError(f"{folder} has no signatures: it was not made for serving")
        signatures = {name: self._signature(model, name) for name in model.signatures}
        _warm_up(signatures)
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
            tensors = {input_name: tf.constant(inputs[input_name], spec.dtype) for input_name, spec in specs.items()}
            # Through `model`: a signature on its own does not keep the model's resources alive.
            outputs = model.signatures[name](**tensors)
            return {output_name: output.numpy() for output_name, output in outputs.items()}

        dtypes = {input_name: _dtype_name(spec.dtype) for input_name, spec in specs.items()}
        if [(spec.dtype, spec.shape.rank) for spec in specs.values()] != [(tf.string, 1)]:
            return Signature(dtypes, run, None)
        [input_name] = specs

        def run_batch(images: np.ndarray) -> Outputs:
            self.metrics.count_batch(len(images))
            return run({input_name: images})

        return Signature(dtypes, run, Batcher(run_batch, self._executor, *self._limits))


def _warm_up(signatures: Mapping[str, Signature]) -> None:
    """Run each signature that takes images once: its first run prepares the graph, which takes seconds.

    TensorFlow Serving plays the requests that travel with the model; to read those takes its package.
    """
    image = np.empty(1, object)
    image[0] = SAMPLE.read_bytes()
    for signature in signatures.values():
        if signature.batched is not None:
            with contextlib.suppress(tf.errors.OpError):  # a model that takes other bytes than a photograph's
                signature.run(dict.fromkeys(signature.dtypes, image))


def _dtype_name(dtype: tf.DType) -> str:
    """As TensorFlow Serving's messages name it."""
    return {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
