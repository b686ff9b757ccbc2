"""The report on a model: its metrics, every prediction, and figures.

metrics.json            every metric with its 95 % interval
predictions.csv         name, label, probability: an image a row
confusion_matrix.png  roc.png  reliability.png
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.soft_labels import PREDICTIONS_HEADER
from deepfake_tf.evaluation.figures import plot_report
from deepfake_tf.evaluation.metrics import check_predictions, compute_metrics
from deepfake_tf.text import as_utf8, format_csv, json_text, plural
from deepfake_tf.writing import write_whole


def write_report(
    output_dir: str | Path,
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float = 0.5,
    names: Sequence[str] | None = None,
    description: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write metrics.json, predictions.csv and three plots; each file appears whole or not at all.

    Args:
        output_dir: str or Path. Made where it is missing.
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE).
        threshold: float, 0..1. FAKE at this probability and above.
        names: N names of images for predictions.csv; their positions where left out.
        description: JSON-able. What was evaluated on what; kept in metrics.json.

    Returns:
        What metrics.json holds: the metrics, and `description`.

    Raises:
        ValueError: as `compute_metrics`, or another number of names than of images.
    """
    metrics = compute_metrics(labels, probabilities, threshold)
    labels, probabilities = check_predictions(labels, probabilities, threshold)
    names = [str(position) for position in range(len(labels))] if names is None else names
    if len(names) != len(labels):
        raise ValueError(
            f"names must be one an image. Received: {plural(len(names), 'name')}, {plural(len(labels), 'image')}"
        )
    report = {"description": dict(description or {}), **metrics}
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = zip(map(as_utf8, names), [LABEL_NAMES[label] for label in labels], probabilities.tolist())
    write_whole(output_dir / "predictions.csv", format_csv([PREDICTIONS_HEADER, *rows]))
    plot_report(output_dir, labels, probabilities, metrics)
    write_whole(output_dir / "metrics.json", json_text(report, indent=2) + "\n")
    return report
