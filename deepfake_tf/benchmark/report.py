"""The figures as a table, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from deepfake_tf.benchmark.measuring import Row
from deepfake_tf.benchmark.network import SECTION as NETWORK
from deepfake_tf.plots import encode_figure, new_figure
from deepfake_tf.writing import write_whole

_BATCH = re.compile(r"(.+), batch (\d+)")


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything of one run.

    Attributes:
        machine: what it ran on: processor, cores, versions, load when it started.
        model: str. What was measured.
        rows: the figures.
        notes: what was left out, and why.
    """

    machine: dict[str, Any]
    model: str
    rows: list[Row]
    notes: list[str]


def format_table(report: Report) -> str:
    """For people: a block a section, medians with their quartiles; ends in a newline."""
    lines = [", ".join(f"{name} {value}" for name, value in report.machine.items()), f"model {report.model}"]
    width = max(len(row.what) for row in report.rows)
    for section, rows in groupby(report.rows, lambda row: row.section):
        lines += ["", section]
        for row in rows:
            spread = f"({_number(row.low)} to {_number(row.high)}, {row.runs} runs)" if row.low < row.high else ""
            lines.append(f"  {row.what:<{width}}  {_number(row.value):>8} {row.unit:<8} {spread}".rstrip())
    return "\n".join([*lines, "", *report.notes]) + "\n"


def format_markdown(report: Report) -> str:
    """For a README: what, median, and the quartiles."""
    lines = ["| what | median | quartiles |", "| --- | ---: | ---: |"]
    for row in report.rows:
        spread = f"{_number(row.low)} to {_number(row.high)}" if row.low < row.high else ""
        lines.append(f"| {row.section}: {row.what} | {_number(row.value)} {row.unit} | {spread} |")
    return "\n".join(lines) + "\n"


def write_report(report: Report, output: str | Path) -> list[Path]:
    """Write `benchmark.json`, `benchmark.md` and `benchmark.png` into a folder; returns their paths."""
    folder = Path(output)
    contents: dict[str, str | bytes] = {
        "benchmark.json": json.dumps(dataclasses.asdict(report), indent=2) + "\n",
        "benchmark.md": format_markdown(report),
        "benchmark.png": _draw(report),
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return [folder / name for name in contents]


def _number(value: float) -> str:
    """Three digits that count, no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _draw(report: Report) -> bytes:
    """A bar a library and batch size for the network, and one for every other figure in images a second."""
    network: dict[str, dict[int, Row]] = {}
    others = []
    for row in report.rows:
        match = _BATCH.fullmatch(row.what)
        if row.unit == "images/s" and row.section == NETWORK and match:
            network.setdefault(match[1], {})[int(match[2])] = row
        elif row.unit == "images/s":
            others.append(row)
    figure = new_figure(12, 1.5 + 0.3 * max(len(others), 4 * len(network)))
    left, right = figure.subplots(1, 2)
    sizes = sorted({size for found in network.values() for size in found})
    for index, size in enumerate(sizes):
        rows = [found[size] for found in network.values()]
        offsets = [position + (index - (len(sizes) - 1) / 2) * 0.8 / len(sizes) for position in range(len(rows))]
        _bars(left, offsets, rows, 0.8 / len(sizes), f"batch {size}")
    left.set_yticks(range(len(network)), list(network))
    left.set_title("the network alone, images a second")
    if sizes:
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=len(sizes))  # below: bars reach every corner
    _bars(right, list(range(len(others))), others, 0.8, None)
    right.set_yticks(range(len(others)), [f"{row.section}: {row.what}" for row in others])
    right.set_title("everything around it, images a second")
    if others:
        right.set_xscale("log")
    for axes in (left, right):
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
    return encode_figure(figure, dpi=110)


def _bars(axes, positions: list[float], rows: list[Row], height: float, label: str | None) -> None:
    errors = [[row.value - row.low for row in rows], [row.high - row.value for row in rows]]
    bars = axes.barh(positions, [row.value for row in rows], height, xerr=errors if rows else None, label=label)
    axes.bar_label(bars, [_number(row.value) for row in rows], padding=3, fontsize=7)
