"""Verdicts by generator and by real source: how often each is accused, found, or left uncertain.

A detector that is right on average may accuse one camera's photographs every time. The threshold and the uncertain
band are the deployed ones: none is tuned to a source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL, VERDICT_GENERATED, VERDICT_REAL
from deepfake_tf.data.folders import label_of_folder

UNNAMED = "(unnamed)"  # images that lie in the class folder itself
ALL = "all"


def source_of(name: str) -> str:
    """The folder below the class folder: "test/FAKE/flux/1.png" -> "flux"; "(unnamed)" where there is none."""
    folders = name.split("/")[:-1]
    classes = [index for index, folder in enumerate(folders) if label_of_folder(folder) is not None]
    below = folders[classes[0] + 1 :] if classes else folders
    return below[0] if below else UNNAMED


def verdicts_by_source(
    names: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, verdicts: Sequence[str]
) -> list[dict[str, Any]]:
    """Count verdicts by class and source.

    Args:
        names: N names such as "FAKE/flux/1.png"; see `source_of`.
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE).
        verdicts: N of the score contract's verdicts.

    Returns:
        JSON-able rows, REAL first, each class's whole ("all") before its sources, these by name: `label`, `source`,
        `images`, `likely_generated` with the ends of its 95 % Wilson interval, `likely_generated_low` and
        `likely_generated_high`; `likely_real`; `uncertain`; `auc`, against all images of the other class, None where
        there are none. 0..1 all.
    """
    sources = np.array([source_of(name) for name in names])
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    given = np.asarray(verdicts)
    rows = []
    for label in (REAL, FAKE):
        of_class = labels == label
        for source in [ALL, *sorted(set(sources[of_class]))] if of_class.any() else []:
            members = of_class if source == ALL else of_class & (sources == source)
            accused = int((given[members] == VERDICT_GENERATED).sum())
            count = int(members.sum())
            interval = binomtest(accused, count).proportion_ci(method="wilson")
            real = float((given[members] == VERDICT_REAL).mean())
            rows.append(
                {
                    "label": LABEL_NAMES[label],
                    "source": str(source),
                    "images": count,
                    "likely_generated": accused / count,
                    "likely_generated_low": float(interval.low),
                    "likely_generated_high": float(interval.high),
                    "likely_real": real,
                    "uncertain": 1 - accused / count - real,
                    "auc": _auc(probabilities[members], probabilities[~of_class], label),
                }
            )
    return rows


def format_sources(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `verdicts_by_source` as lines for a terminal."""
    width = max(len("source"), *(len(row["source"]) for row in rows))
    percent = lambda share: f"{100 * share:5.1f} %"
    lines = [f"label  {'source':<{width}}  images  likely generated (95 %)      likely real  uncertain    AUC"]
    lines += [
        f"{row['label']:<5}  {row['source']:<{width}}  {row['images']:>6}  {percent(row['likely_generated'])} "
        f"({percent(row['likely_generated_low'])} to {percent(row['likely_generated_high'])})  "
        f"{percent(row['likely_real']):>11}  {percent(row['uncertain']):>9}  "
        f"{'    -' if row['auc'] is None else format(row['auc'], '5.3f')}"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _auc(own: np.ndarray, others: np.ndarray, label: int) -> float | None:
    if not len(others):
        return None
    labels = np.concatenate([np.full(len(own), label), np.full(len(others), 1 - label)])
    return float(roc_auc_score(labels, np.concatenate([own, others])))
