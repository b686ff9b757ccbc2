"""Distillation: what a better model, the teacher, says of the training images, mixed with their labels.

Hinton et al., https://arxiv.org/abs/1503.02531. What the teacher says is read from the `predictions.csv` that
`deepfake-tf evaluate --split all` writes.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from deepfake_tf.data.examples import Examples
from deepfake_tf.text import as_utf8, plural, printable

PREDICTIONS_HEADER = ("name", "label", "probability")  # of `predictions.csv`


def read_soft_labels(file: str | Path, examples: Examples, weight: float) -> np.ndarray:
    """The targets of a training that learns from a teacher too.

    Args:
        file: str or Path. A `predictions.csv`; of other images it may hold more rows.
        examples: Examples. The training images, each with a row of its name.
        weight: float, 0..1. The share of the teacher's probability in a target; the rest is the label.

    Returns:
        float32 [N], 0..1: P(FAKE) to be learnt.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another header, no probability in a row, or images without a row.
    """
    check_soft_labels(file)
    file = Path(file)
    probabilities: dict[str, float] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.reader(stream)
        try:
            header, *rows = [*reader] or [[]]
        except csv.Error as error:
            raise ValueError(f"{file} is no CSV file that can be read: {error}") from error
    if tuple(header) != PREDICTIONS_HEADER:
        expected = ",".join(PREDICTIONS_HEADER)
        raise ValueError(f"{file}: expected the header {expected}. Received: {','.join(header)!r}")
    for row in rows:
        try:
            name, _, text = row
            probability = float(text)
        except ValueError:
            probability = np.nan
        if not 0 <= probability <= 1:
            raise ValueError(f"{file}: a row needs a name, a label and a probability from 0 to 1. Received: {row}")
        probabilities[name] = probability
    missing = [name for name in examples.names if as_utf8(name) not in probabilities]
    if missing:
        raise ValueError(
            f"{file} has no row for {plural(len(missing), 'training image')}, such as {printable(missing[0])}. "
            "Evaluate the teacher with the same --data and --split all."
        )
    soft = np.array([probabilities[as_utf8(name)] for name in examples.names])
    return ((1 - weight) * examples.labels + weight * soft).astype(np.float32)


def check_soft_labels(file: str | Path) -> None:
    """
    Raises:
        FileNotFoundError: no such file.
    """
    if not Path(file).is_file():
        raise FileNotFoundError(
            f"--soft-labels must be a predictions.csv of deepfake-tf evaluate --split all. Received: {str(file)!r}"
        )
