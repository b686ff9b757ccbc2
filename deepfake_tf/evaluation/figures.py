"""Figures of metrics: confusion matrix, ROC curve, reliability diagram."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.contract import FAKE, REAL
from deepfake_tf.evaluation.metrics import FALSE_POSITIVE_RATE, equal_width_bins, wilson_interval
from deepfake_tf.plots import new_figure, save_figure
from deepfake_tf.text import plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RELIABILITY_BINS = 15  # of equal width over 0..1, in the diagram
COLOURS = ("#0072B2", "#D55E00")  # of REAL and FAKE; told apart by colour-blind readers too


def plot_report(output_dir: Path, labels: np.ndarray, probabilities: np.ndarray, metrics: Mapping[str, Any]) -> None:
    """Write confusion_matrix.png, roc.png and reliability.png.

    Args:
        output_dir: Path. A folder that is there.
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        probabilities: float64 [N], 0..1. P(FAKE).
        metrics: of `metrics.compute_metrics`, of these.
    """
    _plot(output_dir / "confusion_matrix.png", (4.6, 4.2), lambda axes: _draw_confusion_matrix(axes, metrics))
    _plot(output_dir / "roc.png", (6.0, 4.4), lambda axes: _draw_roc(axes, labels, probabilities, metrics))
    _plot(
        output_dir / "reliability.png", (6.0, 4.4), lambda axes: _draw_reliability(axes, labels, probabilities, metrics)
    )


def _plot(path: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> None:
    """Draw one pair of axes (size in inches) and save it as a PNG."""
    figure = new_figure(*size)
    draw(figure.subplots())
    save_figure(figure, path)


def _interval(metric: Mapping[str, float], digits: int = 2) -> str:
    """A metric and its 95 % interval in percent: "98.50 % (98.31 to 98.66)"."""
    value, low, high = (100 * metric[key] for key in ("value", "low", "high"))
    return f"{value:.{digits}f} % ({low:.{digits}f} to {high:.{digits}f})"


def _draw_confusion_matrix(axes: Axes, metrics: Mapping[str, Any]) -> None:
    counts = metrics["confusion_matrix"]
    matrix = np.array([[counts["true_real"], counts["false_fake"]], [counts["false_real"], counts["true_fake"]]])
    shares = matrix / matrix.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            *(column, row),
            f"{matrix[row, column]:,}\n{100 * share:.2f} %",
            ha="center",
            va="center",
            fontsize=14,
            color="white" if share > 0.5 else "black",
        )
    names = ["REAL", "FAKE"]
    axes.set(xticks=(0, 1), xticklabels=names, yticks=(0, 1), yticklabels=names, xlabel="label given", ylabel="truth")
    axes.set_title(
        f"Accuracy {_interval(metrics['accuracy'])}\n{plural(metrics['n'], 'image')}, percent of each row", fontsize=11
    )


def _draw_roc(axes: Axes, labels: np.ndarray, probabilities: np.ndarray, metrics: Mapping[str, Any]) -> None:
    order = np.argsort(-probabilities, kind="stable")
    end_of_tie = np.append(np.flatnonzero(np.diff(probabilities[order])), len(labels) - 1)
    true_positives = np.cumsum(labels[order] == FAKE)[end_of_tie]
    false_positives = end_of_tie + 1 - true_positives
    reals = false_positives[-1]
    # A logarithmic axis, since all that matters happens at the left; no false positive at all is drawn at its edge.
    edge = 0.5 / reals
    rates = np.maximum(np.append(0, false_positives) / reals, edge)
    axes.plot(rates, np.append(0, true_positives) / true_positives[-1], color=COLOURS[FAKE], label="this model")
    chance = np.geomspace(edge, 1, 200)
    axes.plot(chance, chance, "--", color="grey", linewidth=1, label="chance")
    axes.axvline(FALSE_POSITIVE_RATE, color="grey", linewidth=1, linestyle=":")
    tpr = metrics["tpr_at_1_percent_fpr"]
    axes.plot(
        FALSE_POSITIVE_RATE, tpr["value"], "s", color="black", label=f"at 1 % FPR: TPR {100 * tpr['value']:.2f} %"
    )
    accused, found = metrics["confusion_matrix"]["false_fake"] / reals, metrics["recall"]["value"]
    axes.plot(
        max(accused, edge),
        found,
        "o",
        color=COLOURS[REAL],
        label=f"at threshold {metrics['threshold']:g}: FPR {100 * accused:.2f} %, TPR {100 * found:.2f} %",
    )
    axes.set(xscale="log", xlim=(edge, 1), ylim=(0, 1.02))
    axes.set(xlabel="false positive rate: REAL called FAKE (log scale)", ylabel="true positive rate: FAKE found")
    auc = metrics["roc_auc"]
    axes.set_title(f"ROC curve, AUC {auc['value']:.4f} ({auc['low']:.4f} to {auc['high']:.4f})", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)


def _draw_reliability(axes: Axes, labels: np.ndarray, probabilities: np.ndarray, metrics: Mapping[str, Any]) -> None:
    bins = equal_width_bins(probabilities, RELIABILITY_BINS)
    counts = np.bincount(bins, minlength=RELIABILITY_BINS)
    filled = np.flatnonzero(counts)
    means = np.bincount(bins, probabilities)[filled] / counts[filled]
    fakes = np.bincount(bins, labels)[filled]
    shares = fakes / counts[filled]
    lows, highs = np.transpose([wilson_interval(labels[bins == index]) for index in filled])
    images = axes.twinx()
    edges = np.arange(RELIABILITY_BINS) / RELIABILITY_BINS
    width = 1 / RELIABILITY_BINS
    images.bar(edges, counts, width=width, align="edge", color="lightgrey", edgecolor="white", zorder=0)
    images.set(yscale="log", ylabel="images in the bin (bars, log scale)", ylim=(0.5, 20 * counts.max()))
    axes.set_zorder(images.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot([0, 1], [0, 1], "--", color="grey", linewidth=1, label="perfectly calibrated")
    axes.axvline(metrics["threshold"], color="grey", linewidth=1, linestyle=":", label="threshold")
    errors = np.maximum([shares - lows, highs - shares], 0)
    axes.errorbar(means, shares, errors, fmt="o-", color=COLOURS[REAL], capsize=3, label="measured, 95 % interval")
    axes.set(xlim=(-0.005, 1.005), ylim=(-0.02, 1.02), xlabel="P(FAKE)", ylabel="share of FAKE")
    mean = 100 * metrics["mean_probability"]["value"]
    axes.set_title(
        f"Reliability of P(FAKE), classwise ECE {_interval(metrics['classwise_ece'])}\n"
        f"mean P(FAKE) {mean:.2f} %, share of FAKE {100 * np.mean(labels):.2f} %",
        fontsize=11,
    )
    axes.legend(loc="upper left", fontsize=9)
