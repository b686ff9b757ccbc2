"""What the local server asks of a model, and a model that is loaded while the server answers for others."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from deepfake_tf.server.batching import Batcher
from deepfake_tf.server.metrics import ServingMetrics


@dataclasses.dataclass(frozen=True)
class Signature:
    """One function of a model.

    Attributes:
        dtypes: the names of its inputs, and TensorFlow's name of the dtype of each ("string", "float").
        batched: images [N] in, the outputs for them out, joined with those of other requests; None where
            the input is not one string [N].
        run: of a SavedModel: arrays by name in, arrays by name out; strings are object arrays of bytes.
        specs: of a SavedModel: a `tf.TensorSpec` of each input.
    """

    dtypes: dict[str, str]
    batched: Batcher | None
    run: Any = None
    specs: Any = None


@dataclasses.dataclass(frozen=True)
class Version:
    """One loaded version.

    Attributes:
        number: its folder's name; 1 of a model without.
        signatures: by name.
        signature_def: as TensorFlow Serving's metadata shows it.
    """

    number: int
    signatures: dict[str, Signature]
    signature_def: dict[str, Any]


class Served(Protocol):
    """A loaded model: `served_model.ServedModel`, or `served_engine.ServedEngine`."""

    name: str
    labels: dict[str, int]
    metrics: ServingMetrics
    input_errors: tuple[type[Exception], ...]

    @property
    def versions(self) -> Mapping[int, Version]: ...

    @property
    def latest(self) -> Version: ...

    async def call(
        self, version: Version, signature_name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature of `version`, one of `versions`."""

    def close(self) -> None: ...


class LoadingModel:
    """A model that a thread loads, so that the server's port need not wait for it; requests for the model do.

    Attributes:
        name: str. The model's name in URLs.
        numbers: of the versions that are loaded.
    """

    def __init__(self, name: str, numbers: Collection[int], load: Callable[[], Served]):
        """Begin to load."""
        self.name = name
        self.numbers = numbers
        executor = ThreadPoolExecutor(1, f"load {name}")
        self._future = executor.submit(load)
        executor.shutdown(wait=False)

    @property
    def served(self) -> Served | None:
        """The model, once it is loaded."""
        return self._future.result() if self._future.done() and not self._future.exception() else None

    async def wait(self) -> Served:
        """The model, when it is loaded.

        Raises:
            ConnectionError: it could not be loaded.
        """
        try:
            return await asyncio.shield(asyncio.wrap_future(self._future))
        except Exception as error:
            raise ConnectionError(f"{self.name} could not be loaded: {error}") from error

    def call_if_it_fails(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in whichever thread, when loading has failed."""
        self._future.add_done_callback(lambda future: callback() if future.exception() else None)

    def check(self) -> None:
        """
        Raises:
            Exception: whatever loading raised; not while it is under way.
        """
        if self._future.done():
            self._future.result()

    def close(self) -> None:
        """Wait for the thread, which nothing can interrupt, and close the model."""
        if not self._future.exception():
            self._future.result().close()
