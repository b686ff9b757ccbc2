"""Verdicts by generator and by real source: how often each is accused, found, or left uncertain.

A detector that is right on average may accuse one camera's photographs every time. The threshold and the uncertain
band are the deployed ones: none is tuned to a source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL, VERDICT_GENERATED, VERDICT_REAL, VERDICT_UNCERTAIN
from deepfake_tf.data.folders import label_of_folder
from deepfake_tf.evaluation.metrics import auc, share_of, wilson_interval
from deepfake_tf.progress import progress_bar
from deepfake_tf.text import as_utf8, format_csv, json_text, printable
from deepfake_tf.writing import write_together

if TYPE_CHECKING:
    from deepfake_tf.data.examples import Examples
    from deepfake_tf.engines.detector import Detector

UNNAMED = "(unnamed)"  # images that lie in the class folder itself
ALL = "all"
_POSITION = re.compile(r"^\d+:")  # before the names of several sources; see `data.examples.concatenate`


def evaluate_by_source(
    detector: Detector,
    examples: Examples,
    output_dir: str | Path,
    description: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Score labelled files as a user would, and write sources.json and sources.csv, both or neither.

    Args:
        detector: Detector, with any engine: nothing here needs TensorFlow.
        examples: Examples. Their names tell their sources; see `source_of`.
        output_dir: str or Path. Made where it is missing.
        description: JSON-able. What was evaluated on what; kept in sources.json, beside `images`, the number of all,
            `errors`, name -> why a file has no score, and `sources`, the rows.

    Returns:
        The rows of `verdicts_by_source`.

    Raises:
        ValueError: there are no images.
        ConnectionError: the detector asks a server that does not answer. A file alone ends no run.
    """
    if not len(examples):
        raise ValueError("There are no images to score.")
    predictions = list(progress_bar(len(examples), "scoring", "image", detector.predict_iter(examples.files)))
    errors = [prediction.error for prediction in predictions]
    rows = verdicts_by_source(
        examples.names,
        examples.labels,
        np.array([prediction.probability for prediction in predictions]),
        [prediction.verdict for prediction in predictions],
        errors,
    )
    report = {
        "description": dict(description or {}),
        "images": len(examples),
        "errors": {as_utf8(name): error for name, error in zip(examples.names, errors) if error},
        "sources": rows,
    }
    cells = [[as_utf8(cell) if isinstance(cell, str) else cell for cell in row.values()] for row in rows]
    output_dir = Path(output_dir)
    write_together(
        {
            output_dir / "sources.json": (json_text(report, indent=2) + "\n").encode(),
            output_dir / "sources.csv": format_csv([list(rows[0]), *cells]).encode(),
        }
    )
    return rows


def source_of(name: str) -> str:
    """The generator or the real source that a name tells.

    The folder below the class folder: "test/FAKE/flux/1.png" -> "flux". Else a class folder that says more than its
    class: "fake_sdxl/1.png" -> "fake_sdxl". Without a class folder, the folder that holds the image. Else "(unnamed)".
    """
    folders = [folder for folder in _POSITION.sub("", name, count=1).split("/")[:-1] if folder]
    position = next((index for index, folder in enumerate(folders) if label_of_folder(folder) is not None), None)
    if position is None:
        return folders[-1] if folders else UNNAMED
    if below := folders[position + 1 :]:
        return below[0]
    own = folders[position]
    return UNNAMED if own.upper() in LABEL_NAMES else own


def verdicts_by_source(
    names: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    verdicts: Sequence[str],
    errors: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Count verdicts by class and source.

    Args:
        names: N names such as "FAKE/flux/1.png"; see `source_of`.
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE); of any value where there is an error.
        verdicts: N of the score contract's verdicts.
        errors: N texts, "" where there is a score; None: all have one.

    Returns:
        JSON-able rows, REAL first, each class's whole ("all") before its sources, these by name: `label`, `source`,
        `images` that have a score, `errors`, the number of those that have none; `likely_generated` with the ends of
        its 95 % Wilson interval, `likely_generated_low` and `likely_generated_high`; `likely_real`; `uncertain`;
        `auc`, against all images of the other class. 0..1 all; None where there are no images to tell by.
    """
    sources = np.array([source_of(name) for name in names])
    labels, probabilities, given = np.asarray(labels), np.asarray(probabilities), np.asarray(verdicts)
    has_score = np.ones(len(labels), bool) if errors is None else np.array([not error for error in errors], bool)
    rows = []
    for label in (REAL, FAKE):
        of_class = labels == label
        others = probabilities[~of_class & has_score]
        for source in [ALL, *sorted(set(sources[of_class]))] if of_class.any() else []:
            members = of_class if source == ALL else of_class & (sources == source)
            scored = members & has_score
            own = probabilities[scored]
            low, high = wilson_interval(given[scored] == VERDICT_GENERATED)
            rows.append(
                {
                    "label": LABEL_NAMES[label],
                    "source": str(source),
                    "images": int(scored.sum()),
                    "errors": int((members & ~has_score).sum()),
                    "likely_generated": share_of(given[scored] == VERDICT_GENERATED),
                    "likely_generated_low": low,
                    "likely_generated_high": high,
                    "likely_real": share_of(given[scored] == VERDICT_REAL),
                    "uncertain": share_of(given[scored] == VERDICT_UNCERTAIN),
                    "auc": auc(own, others) if label == REAL else auc(others, own),
                }
            )
    return rows


def format_sources(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `verdicts_by_source` as lines for a terminal."""
    sources = [printable(row["source"]) for row in rows]
    width = max(map(len, ("source", *sources)))
    percent = lambda share: "      -" if share is None else f"{100 * share:5.1f} %"
    lines = [f"label  {'source':<{width}}  images  errors  likely generated (95 %)       likely real  uncertain    AUC"]
    lines += [
        f"{row['label']:<5}  {source:<{width}}  {row['images']:>6}  {row['errors']:>6}  "
        f"{percent(row['likely_generated'])} ({percent(row['likely_generated_low'])} to "
        f"{percent(row['likely_generated_high'])})  {percent(row['likely_real']):>11}  {percent(row['uncertain']):>9}  "
        f"{'    -' if row['auc'] is None else format(row['auc'], '5.3f')}"
        for row, source in zip(rows, sources)
    ]
    return "\n".join(lines) + "\n"
