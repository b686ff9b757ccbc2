"""`deepfake-tf train --detector photograph`: from cached features to a run directory.

head.npz, domain_head.npz   `weight` float32 [blocks, 768], `bias`: the two heads
out_of_fold.csv             a row an image: what a head said that saw nothing of its repository
trained.json                calibration, band, domain, and what was measured; written last
"""

from __future__ import annotations

import datetime
import io
import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from deepfake_tf import __version__
from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.detectors.photograph import SPEC
from deepfake_tf.text import format_csv
from deepfake_tf.training.photograph.features import Features, load_features
from deepfake_tf.training.photograph.head_training import HeadTraining, TrainedDetector, train_detector
from deepfake_tf.training.photograph.selection import FOLDS, summarise
from deepfake_tf.writing import check_folder, write_whole

TRAINED = "trained.json"


def train_photograph(
    cache: str | Path,
    run_dir: str | Path,
    folds: int = FOLDS,
    doubtful: Collection[str] = (),
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train the heads on cached features, measure them on repositories left out, and fill a run directory.

    Args:
        cache: str or Path. Filled by `features.extract`.
        run_dir: str or Path. Made where it is missing; its files are replaced.
        folds: int. Of repositories.
        doubtful: repositories of which some labels are known to be wrong; see `head_training.calibrate`.
        report: takes lines of progress.

    Returns:
        What `trained.json` holds.

    Raises:
        FileNotFoundError, ValueError: as `load_features` and `train_detector`.
    """
    run_dir = Path(run_dir)
    check_folder(run_dir, "--run-dir")
    features = load_features(cache)
    trained = train_detector(features, folds, report, doubtful)
    described = describe(features, trained, folds, doubtful)
    for name, head in (("head.npz", trained.head), ("domain_head.npz", trained.domain_head)):
        buffer = io.BytesIO()
        np.savez(buffer, weight=head.weight, bias=np.float32(head.bias))
        write_whole(run_dir / name, buffer.getvalue())
    write_whole(run_dir / "out_of_fold.csv", _rows(features, trained))
    write_whole(run_dir / TRAINED, json.dumps(described, indent=1) + "\n")
    return described


def describe(
    features: Features, trained: TrainedDetector, folds: int = FOLDS, doubtful: Collection[str] = ()
) -> dict[str, Any]:
    """What was measured out of fold, and the numbers of the decision: JSON-able."""
    labels, calibration, logits = features.labels, trained.calibration, trained.logits
    low, high = calibration.band
    probabilities = calibration.probabilities(logits)
    inside = trained.domain_logits <= trained.domain_limit
    generated, real = (probabilities >= high) & inside, (probabilities <= low) & inside
    sources = np.array([image.generator for image in features.images])
    # A camera is no collection: photographs are told apart by where they come from.
    sources = np.where((labels == 0) & (sources == "camera"), features.repositories, sources)
    kinds = np.array([image.kind for image in features.images])

    def share(rows: np.ndarray) -> dict[str, Any]:
        count = int(rows.sum())
        mean = lambda values: round(float(values[rows].mean()), 4) if count else None
        return {
            "images": count,
            "likely_generated": mean(generated),
            "likely_real": mean(real),
            "uncertain": mean(~generated & ~real),
            "out_of_domain": mean(~inside),
        }

    def table(groups: np.ndarray, label: int) -> list[dict[str, Any]]:
        """A row a group, its AUC against all images of the other class."""
        names, counts = np.unique(groups[labels == label], return_counts=True)
        rows = []
        for name in names[np.argsort(-counts, kind="stable")]:
            own = (labels == label) & (groups == name)
            rows.append({"source": str(name), **share(own), "auc": auc_of(own | (labels != label))})
        return rows

    def auc_of(rows: np.ndarray, values: np.ndarray = logits) -> float | None:
        is_whole = len(np.unique(labels[rows])) == len(LABEL_NAMES)
        return round(float(roc_auc_score(labels[rows], values[rows])), 4) if is_whole else None

    everything = np.ones(len(labels), bool)
    found = summarise(labels, features.repositories, logits)
    return {
        "labels": list(LABEL_NAMES),
        "network": {"name": "vit_b16", "blocks": features.cls.shape[2]},
        "view": {"side": SPEC.view_side, "smallest_short_side": SPEC.shortest_side},
        "calibration": {
            "temperature": calibration.temperature,
            "offset": -calibration.intercept * calibration.temperature,
        },
        "threshold": calibration.threshold,
        "band": [low, high],
        "domain": {"limit": trained.domain_limit},
        "training": {
            "images": {name: int((labels == label).sum()) for label, name in enumerate(LABEL_NAMES)},
            "repositories": len(np.unique(features.repositories)),
            "copies": len(features.cls),
            "l2": HeadTraining().l2,
            "label_smoothing": HeadTraining().label_smoothing,
            "doubtful": sorted(doubtful),
        },
        "out_of_fold": {
            "folds": folds,
            **{name: None if math.isnan(value) else round(value, 4) for name, value in found.items()},
            "auc_of_a_random_view": auc_of(everything, trained.random_logits[:, 0])
            if trained.random_logits.size
            else None,
            "auc_among_squares": auc_of(features.square),
            "auc_among_others": auc_of(~features.square),
            "real": share(labels == 0),
            "generated": share(labels == 1),
            "all": share(everything),
            "real_by_source": table(sources, 0),
            "generated_by_generator": table(sources, 1),
            "real_by_kind": table(kinds, 0),
            "generated_by_kind": table(kinds, 1),
        },
        "deepfake_tf": __version__,
        "date": datetime.date.today().isoformat(),
    }


def _rows(features: Features, trained: TrainedDetector) -> str:
    header = ["path", "label", "repository", "generator", "kind", "fold", "logit", "probability", "domain_logit"]
    probabilities = trained.calibration.probabilities(trained.logits)
    rows = [
        [image.path, LABEL_NAMES[image.label], image.repository, image.generator, image.kind, int(fold), *numbers]
        for image, fold, *numbers in zip(
            features.images,
            trained.fold_of,
            trained.logits.round(5).tolist(),
            probabilities.round(5).tolist(),
            trained.domain_logits.round(5).tolist(),
        )
    ]
    return format_csv([header, *rows])
