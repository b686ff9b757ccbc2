"""What the local server asks of the model that it serves: `ServedModel` and `ServedEngine` are such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from deepfake_tf.contract import Rows
from deepfake_tf.server.metrics import ServingMetrics


class ServedSignature(Protocol):
    """One function of the model."""

    @property
    def dtypes(self) -> Mapping[str, str]:
        """The names of its inputs, and TensorFlow's name of the dtype of each ("string", "float")."""


class ServedVersion(Protocol):
    """One loaded version."""

    @property
    def number(self) -> int: ...

    @property
    def signatures(self) -> Mapping[str, ServedSignature]: ...

    @property
    def signature_def(self) -> Mapping[str, Any]:
        """As TensorFlow Serving's metadata shows it."""


AnyVersion = TypeVar("AnyVersion", bound=ServedVersion)


class Served(Protocol[AnyVersion]):
    """The loaded versions of one model, found by number or label.

    Attributes:
        input_errors: what the model raises for an input that it cannot take, beside ValueError and TypeError.
    """

    name: str
    labels: dict[str, int]
    metrics: ServingMetrics
    versions: dict[int, AnyVersion]
    input_errors: tuple[type[Exception], ...]

    @property
    def latest(self) -> AnyVersion: ...

    async def call(self, version: AnyVersion, signature_name: str, inputs: Mapping[str, np.ndarray]) -> Rows:
        """Run a signature; requests that send encoded images are joined into batches.

        Raises:
            Overloaded, ValueError, TypeError, one of `input_errors`: see `Batcher`, and what the model says.
        """

    def close(self) -> None: ...
