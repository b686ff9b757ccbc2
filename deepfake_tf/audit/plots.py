"""The report's figures, drawn only where a report is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("tab:blue", "tab:orange")  # REAL, FAKE
BINS = 40


def plot_counts(by_split: Mapping[str, Mapping[str, int]]) -> Figure:
    """Bars: images of each class, a group a split."""
    figure = new_figure(4, 2.6)
    axes = figure.subplots()
    for label, name in enumerate(LABEL_NAMES):
        heights = [counts[name] for counts in by_split.values()]
        bars = axes.bar(np.arange(len(by_split)) + 0.4 * label, heights, 0.38, color=COLOURS[label], label=name)
        axes.bar_label(bars, fmt="{:,.0f}")
    axes.set_xticks(np.arange(len(by_split)) + 0.2, list(by_split))
    axes.margins(y=0.15)
    axes.set_ylabel("images")
    figure.legend(loc="outside upper center", ncols=len(LABEL_NAMES), frameon=False)
    return figure


def plot_histogram(values: np.ndarray, labels: np.ndarray) -> Figure:
    """The distribution of a number in each class.

    Args:
        values: float [N].
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
    """
    figure = new_figure(4, 2.6)
    axes = figure.subplots()
    low, high = float(values.min()), float(values.max())
    bins = np.linspace(low, high, BINS + 1) if high > low else np.linspace(low - 0.5, low + 0.5, 2)
    for label, name in enumerate(LABEL_NAMES):
        if np.any(labels == label):
            axes.hist(values[labels == label], bins.tolist(), density=True, alpha=0.5, color=COLOURS[label], label=name)
    axes.set_yticks([])
    axes.legend()
    return figure


def plot_aucs(features: Sequence[tuple[str, float]]) -> Figure:
    """Bars: the AUC of each feature alone; 0.5, chance, is where they start."""
    figure = new_figure(4, 0.8 + 0.22 * len(features))
    axes = figure.subplots()
    names, aucs = zip(*features)
    axes.barh(names, np.array(aucs) - 0.5, left=0.5, color="tab:grey")
    axes.invert_yaxis()  # the strongest on top
    axes.set_xlim(min(0.45, *aucs), 1.0)
    axes.set_xlabel("AUC")
    return figure
