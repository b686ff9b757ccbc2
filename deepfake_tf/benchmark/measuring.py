"""How everything here is timed: warmed up, in turns, and told as a median with its spread."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of the report.

    Attributes:
        section: str, such as "network".
        what: str. What was measured; unique within the section.
        value: float. The median.
        unit: str, such as "images/s", "ms", "s", "MiB" or "x".
        low, high: float. The quartiles; the value itself where it was measured once.
        runs: int. How often it was measured.
    """

    section: str
    what: str
    value: float
    unit: str
    low: float
    high: float
    runs: int


def time_in_turns(functions: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2) -> dict[str, np.ndarray]:
    """Seconds of each call, `rounds` of them a function.

    In turns, one of each after the other, so that whatever else the machine does meets all of them alike.

    Returns:
        name -> float64 [rounds].
    """
    for function in functions.values():
        for _ in range(warm_up):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def row(section: str, what: str, unit: str, values: Sequence[float] | np.ndarray) -> Row:
    """The median and the quartiles of what was measured, in the unit of the row."""
    low, middle, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
    return Row(section, what, middle, unit, low, high, len(values))


def peak_memory_mib(process_id: int | str = "self") -> float:
    """The largest resident set of a process so far, MiB; 0 where the system does not tell (not Linux)."""
    return memory_mib(process_id, "VmHWM")  # not getrusage: it counts what the parent held when it was started


def memory_mib(process_id: int | str, field: str) -> float:
    """A figure of /proc/PID/status, MiB; 0 where the system does not tell (not Linux)."""
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), 0.0)
