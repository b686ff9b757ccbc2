"""The learning curves of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deepfake_tf.plots import new_figure, save_figure


def plot_learning_curves(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and accuracy of training and validation over the epochs, as a PNG; `rows` are those of history.csv."""
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
