"""Labelled images as one picture: what the classes look like, and what a model got wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL
from deepfake_tf.data.examples import Examples
from deepfake_tf.plots import encode_figure, new_figure
from deepfake_tf.reading.pictures import open_picture

PICTURE_SIDE = 64  # pixels, the longer side; smaller images are enlarged in hard squares, so that pixels are seen
DPI = 80


def draw_classes(examples: Examples, columns: int = 8) -> bytes:
    """Two rows of images, REAL above FAKE, evenly spread over each class.

    Args:
        examples: Examples with both classes.
        columns: int. Images a class; fewer where a class has fewer.

    Returns:
        An encoded PNG.
    """
    rows = []
    for label in (REAL, FAKE):
        members = np.flatnonzero(examples.labels == label)
        rows.append(members[np.linspace(0, len(members) - 1, min(columns, len(members))).astype(int)])
    return _draw(examples, rows, [[""] * len(row) for row in rows], [LABEL_NAMES[REAL], LABEL_NAMES[FAKE]])


def draw_errors(examples: Examples, probabilities: np.ndarray, threshold: float = 0.5, columns: int = 8) -> bytes:
    """Two rows of wrong answers, the surest first: REAL called FAKE, and FAKE called REAL.

    Args:
        examples: Examples.
        probabilities: float [N], 0..1. P(FAKE).
        threshold: float, 0..1. FAKE at this probability and above.
        columns: int. Images a row; fewer where a model is wrong less often.

    Returns:
        An encoded PNG; above each image stands its P(FAKE).
    """
    wrong = (probabilities >= threshold) != (examples.labels == FAKE)
    rows = []
    for label, direction in ((REAL, -1), (FAKE, 1)):
        members = np.flatnonzero(wrong & (examples.labels == label))
        rows.append(members[np.argsort(direction * probabilities[members], kind="stable")][:columns])
    captions = [[f"{probabilities[index]:.1%}" for index in row] for row in rows]
    return _draw(examples, rows, captions, ["REAL,\ncalled FAKE", "FAKE,\ncalled REAL"])


def pick_examples(labels: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5, each: int = 3) -> np.ndarray:
    """Positions of right and of wrong answers, the surest first.

    Args:
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE).
        threshold: float, 0..1. FAKE at this probability and above.
        each: int. Positions of right answers, and of wrong ones; fewer where there are fewer.

    Returns:
        int64 [2 each] at most: the right ones, then the wrong ones.
    """
    called_fake = probabilities >= threshold
    confidences = np.where(called_fake, probabilities, 1 - probabilities)
    surest = np.argsort(-confidences, kind="stable")
    right = (called_fake == (labels == FAKE))[surest]
    return np.concatenate([surest[right][:each], surest[~right][:each]])


def _draw(
    examples: Examples, rows: Sequence[np.ndarray], captions: Sequence[Sequence[str]], titles: Sequence[str]
) -> bytes:
    columns = max(1, *(len(row) for row in rows))
    figure = new_figure(1.0 + 0.95 * columns, 1.15 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=(), yticks=())
        axes.spines[:].set_visible(False)
    for axes_row, row, row_captions, title in zip(grid, rows, captions, titles, strict=True):
        axes_row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
        for axes, index, caption in zip(axes_row, row, row_captions):
            picture = open_picture(examples.files[index], PICTURE_SIDE)
            if picture is None:
                axes.text(0.5, 0.5, "cannot\nbe shown", ha="center", va="center", fontsize=7, transform=axes.transAxes)
            else:
                axes.imshow(picture)
            axes.set_title(caption, fontsize=8)
    return encode_figure(figure, DPI)
