"""Does the model stay right when images are changed the way the web changes them?

    robustness.json     a row a condition, the mean drop and the worst condition
    robustness.png      accuracy under each condition

The changes are made at the image's own resolution, before the network's resize, and the threshold stays
the deployed one: a detector in use is not tuned to each degradation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.evaluation import changes
from deepfake_tf.evaluation.figures import COLOURS
from deepfake_tf.evaluation.metrics import compute_metrics
from deepfake_tf.evaluation.scoring import describe_models, load_scorer, pixel_batches, score_pixels
from deepfake_tf.plots import new_figure, save_figure
from deepfake_tf.text import json_text
from deepfake_tf.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deepfake_tf.data.pipeline import DecodedImages

CLEAN = "clean"
BOOTSTRAP_SAMPLES = 200  # of each row's interval
BATCH_SIZE = 64  # images at once, where all share a size

# Each: uint8 [H, W, 3] -> uint8 [H', W', 3]; images of one size come out at one size.
CONDITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{f"JPEG quality {quality}": partial(changes.compress_jpeg, quality=quality) for quality in (90, 70, 50, 30)},
    **{f"blur sigma {sigma:g}": partial(changes.blur, sigma=sigma) for sigma in (0.5, 1.0, 2.0)},
    **{f"noise {sigma}/255": partial(changes.add_noise, sigma=sigma) for sigma in (2, 8, 16)},
    **{f"resize {factor} and back": partial(changes.resize_and_back, factor=factor) for factor in (0.75, 0.5)},
    "centre crop 80 %": partial(changes.crop_centre, share=0.8),
    "brightness -20 %": partial(changes.change_brightness, factor=0.8),
    "brightness +20 %": partial(changes.change_brightness, factor=1.2),
    "contrast -20 %": partial(changes.change_contrast, factor=0.8),
    "contrast +20 %": partial(changes.change_contrast, factor=1.2),
    "saturation -50 %": partial(changes.change_saturation, factor=0.5),
    "saturation +50 %": partial(changes.change_saturation, factor=1.5),
    "hue -20 degrees": partial(changes.turn_hue, degrees=-20),
    "hue +20 degrees": partial(changes.turn_hue, degrees=20),
    "greyscale": changes.make_grey,
    "horizontal flip": changes.flip,
}


def evaluate_robustness(
    models: str | Path | Sequence[str | Path],
    images: DecodedImages,
    output_dir: str | Path,
    threshold: float = 0.5,
    tell: Callable[[dict[str, Any]], object] = lambda row: None,
) -> list[dict[str, Any]]:
    """Score the images clean and under every condition; write robustness.json and robustness.png.

    Args:
        models: run directories or SavedModels; see `scoring.load_scorer`.
        images: DecodedImages of both classes.
        output_dir: str or Path. Made where it is missing.
        threshold: float, 0..1. FAKE at this probability and above, under every condition.
        tell: is called with each row when it is there.

    Returns:
        JSON-able rows, "clean" first: `condition`; `accuracy` with the ends of its 95 % interval,
        `accuracy_low` and `accuracy_high`; `auc`; `tpr_at_1_percent_fpr`, all 0..1; `drop_points`, the
        accuracy lost against clean in percentage points.

    Raises:
        ValueError: as `scoring.load_scorer` and `metrics.compute_metrics`.
    """
    scorer = load_scorer(models)
    labels = images.examples.labels
    rows: list[dict[str, Any]] = []
    conditions: dict[str, Callable[[np.ndarray], np.ndarray]] = {CLEAN: lambda image: image, **CONDITIONS}
    for name, change in conditions.items():
        probabilities = score_pixels(scorer, _changed_batches(images, change), len(images), name)
        metrics = compute_metrics(labels, probabilities, threshold, BOOTSTRAP_SAMPLES)
        accuracy = metrics["accuracy"]
        rows.append(
            {
                "condition": name,
                "accuracy": accuracy["value"],
                "accuracy_low": accuracy["low"],
                "accuracy_high": accuracy["high"],
                "auc": metrics["roc_auc"]["value"],
                "tpr_at_1_percent_fpr": metrics["tpr_at_1_percent_fpr"]["value"],
                "drop_points": 100 * (rows[0]["accuracy"] - accuracy["value"]) if rows else 0.0,
            }
        )
        tell(rows[-1])
    changed = rows[1:]
    report = {
        "model": describe_models(models),
        "images": len(images),
        "threshold": threshold,
        "mean_drop_points": float(np.mean([row["drop_points"] for row in changed])),
        "worst_condition": max(changed, key=lambda row: row["drop_points"])["condition"],
        "conditions": rows,
    }
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    save_figure(draw_robustness(rows), output_dir / "robustness.png")
    write_whole(output_dir / "robustness.json", json_text(report, indent=2) + "\n")
    return rows


def _changed_batches(images: DecodedImages, change: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    for pixels in pixel_batches(images, BATCH_SIZE):
        yield np.stack([change(image) for image in pixels])


def draw_robustness(rows: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy under each condition as horizontal bars, clean accuracy as a line.

    Args:
        rows: of `evaluate_robustness` or `evaluate_photograph_robustness`, each with an accuracy.
    """
    clean, changed = rows[0], rows[1:]
    names = [row["condition"] for row in changed]
    values, lows, highs = (
        np.array([100 * row[key] for row in changed]) for key in ("accuracy", "accuracy_low", "accuracy_high")
    )
    figure = new_figure(7.0, 1.2 + 0.25 * len(changed))
    axes = figure.subplots()
    errors = np.maximum([values - lows, highs - values], 0)
    axes.barh(names, values, xerr=errors, color=COLOURS[0], height=0.7, error_kw={"ecolor": "black", "capsize": 2})
    clean_accuracy = 100 * clean["accuracy"]
    axes.axvline(clean_accuracy, color=COLOURS[1], linestyle="--", label=f"clean: {clean_accuracy:.2f} %")
    # Near the top, where the differences are; the numbers at the right keep the cut axis honest.
    left = max(0.0, 5 * np.floor((min(lows.min(), clean_accuracy) - 2) / 5))
    axes.set(xlim=(left, 100), xlabel="accuracy in percent, with its 95 % interval (the axis is cut)")
    for position, value in enumerate(values):
        axes.text(1.01, position, f"{value:.2f}", va="center", fontsize=9, transform=axes.get_yaxis_transform())
    mean_drop = np.mean([row["drop_points"] for row in changed])
    axes.set_title(f"Accuracy of changed images: {mean_drop:.2f} points lost on average", fontsize=11)
    axes.set_ylim(len(changed) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower right", fontsize=9)
    return figure
