"""What TensorFlow Serving tells Prometheus about requests, under the same names."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Sequence

CONTENT_TYPE = "text/plain"  # as TensorFlow Serving sends it
_REQUEST_COUNT = ":tensorflow:serving:request_count"
_REQUEST_LATENCY = ":tensorflow:serving:request_latency"
_BATCH_SIZE = ":tensorflow:serving:batching_session:processed_batch_size"
_LATENCY_BOUNDS = [10 * 1.8**exponent for exponent in range(33)]  # microseconds, as TensorFlow Serving's
_BATCH_SIZE_BOUNDS = [float(2**exponent) for exponent in range(8)]


class Histogram:
    """Counts of observations up to each bound, and their sum."""

    def __init__(self, bounds: list[float]):
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add(self, other: Histogram) -> None:
        """Count in what another one of the same bounds has counted."""
        self._counts = [count + more for count, more in zip(self._counts, other._counts, strict=True)]
        self._sum += other._sum

    def lines(self, name: str, labels: str) -> list[str]:
        separator = "," if labels else ""
        totals = list(itertools.accumulate(self._counts))
        ends = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        lines = [f'{name}_bucket{{{labels}{separator}le="{end}"}} {total}' for end, total in zip(ends, totals)]
        return [*lines, f"{name}_sum{{{labels}}} {self._sum:g}", f"{name}_count{{{labels}}} {totals[-1]}"]


class ServingMetrics:
    """The metrics of one served model."""

    def __init__(self, model_name: str):
        self._label = f'model_name="{model_name}"'
        self._requests: Counter[str] = Counter()
        self._latency = Histogram(_LATENCY_BOUNDS)
        self.batch_sizes = Histogram(_BATCH_SIZE_BOUNDS)

    def count_request(self, status: str, seconds: float) -> None:
        """
        Args:
            status: str. The canonical name of a status code, such as "OK" or "INVALID_ARGUMENT".
            seconds: float. What the answer took.
        """
        self._requests[status] += 1
        self._latency.observe(seconds * 1e6)

    def count_batch(self, size: int) -> None:
        self.batch_sizes.observe(size)

    @property
    def request_lines(self) -> list[str]:
        return [
            f'{_REQUEST_COUNT}{{{self._label},status="{status}"}} {count}'
            for status, count in sorted(self._requests.items())
        ]

    @property
    def latency_lines(self) -> list[str]:
        return self._latency.lines(_REQUEST_LATENCY, f'{self._label},API="Predict",entrypoint="REST"')


def exposition(models: Sequence[ServingMetrics]) -> str:
    """Prometheus text format 0.0.4: requests by model; batches of all models together, as the real server has them."""
    batch_sizes = Histogram(_BATCH_SIZE_BOUNDS)
    for model in models:
        batch_sizes.add(model.batch_sizes)
    lines = [
        f"# TYPE {_REQUEST_COUNT} counter",
        *(line for model in models for line in model.request_lines),
        f"# TYPE {_REQUEST_LATENCY} histogram",
        *(line for model in models for line in model.latency_lines),
        f"# TYPE {_BATCH_SIZE} histogram",
        *batch_sizes.lines(_BATCH_SIZE, ""),
    ]
    return "\n".join(lines) + "\n"
