"""Plots as PNG files, drawn without a display and written whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_learning_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and accuracy of training and validation over the epochs.

    Args:
        rows: of history.csv.
        path: Path of the PNG.
    """
    figure = new_figure(9, 3.6)
    epochs = [row["epoch"] for row in rows]
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [row[metric] for row in rows], "o-", label="training")
        axes.plot(epochs, [row[f"val_{metric}"] for row in rows], "s-", label="validation")
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    save_figure(figure, path, dpi=120)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.figure import Figure  # not by pyplot: no window, nothing global

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    write_whole(path, encode_figure(figure, dpi))


def encode_figure(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
