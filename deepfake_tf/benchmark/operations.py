"""Where the time goes: TensorFlow's profiler, its kernels' time by operation."""

from __future__ import annotations

import collections
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from deepfake_tf.benchmark.measuring import Row

SECTION = "share of the kernels' time"
_KERNEL = re.compile(r"(?!Eager)[^:]+:(\w+)")  # NAME:OPERATION; others are threads, functions and steps
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}  # their time is that of the kernels within
_MOST = 6  # operations a table


def measure_operations(what: str, call: Callable[[], Any], runs: int) -> list[Row]:
    """Percent of the time of all kernels, of the operations that take most of it, and of the others together.

    Args:
        what: str. What is called.
        call: a function that runs TensorFlow and waits for the result.
        runs: int. Calls that are watched.
    """
    for _ in range(3):  # warmed up
        call()
    with tempfile.TemporaryDirectory(prefix="deepfake-tf-benchmark-") as folder:
        tf.profiler.experimental.start(folder)
        try:
            for _ in range(runs):
                call()
        finally:
            tf.profiler.experimental.stop()
        seconds = _seconds_by_operation(Path(folder))
    total = sum(seconds.values())
    shares = {name: 100 * value / total for name, value in seconds.most_common(_MOST)}
    if len(seconds) > _MOST:
        shares["all others"] = 100 - sum(shares.values())
    return [Row(SECTION, f"{what}: {name}", share, "%", share, share, runs) for name, share in shares.items()]


def _seconds_by_operation(folder: Path) -> collections.Counter[str]:
    # Part of TensorFlow's package, though not of its documented interface: the format that TensorBoard reads.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    seconds: collections.Counter[str] = collections.Counter()
    for file in folder.rglob("*.xplane.pb"):
        for plane in xplane_pb2.XSpace.FromString(file.read_bytes()).planes:
            for line in plane.lines:
                for event in line.events:
                    match = _KERNEL.fullmatch(plane.event_metadata[event.metadata_id].name)
                    if match and match[1] not in _CALLS:
                        seconds[match[1]] += event.duration_ps / 1e12
    return seconds
