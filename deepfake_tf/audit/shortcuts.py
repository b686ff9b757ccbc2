"""Whether the label can be told without looking at the content.

A network takes the easiest way. Where all fakes are PNG and all photographs JPEG, it learns JPEG's traces and nothing
of generators (Grommelt, Weiss, Pfreundt and Keuper, "Fake or JPEG?", 2024).
"""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits

from deepfake_tf.audit.findings import LOOK, OK, STOP, Check, Plot
from deepfake_tf.audit.plots import plot_aucs
from deepfake_tf.audit.survey import FORMATS, METADATA, MODES, STATISTICS, Readings
from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL

METADATA_STOP = 0.9  # AUC: the detector would learn the file format
METADATA_LOOK = 0.65
STATISTICS_LOOK = 0.7
MIN_IMAGES = 10  # of a class
SAMPLE = 10_000  # images; more does not change the second decimal
FOLDS = 5
NAMED_FEATURES = 3  # the strongest alone

_SAME_ENCODING = "Encode both classes the same way before training: one format, one quality, one subsampling."
_SAME_SIZES = "Bring both classes to the same sizes, by the same cropping and resizing."
_SAME_ORIGIN = "Treat both classes alike, from the download on: what differs here shows that they came different ways."
_REMEDIES = {
    "width": _SAME_SIZES,
    "height": _SAME_SIZES,
    "aspect ratio": _SAME_SIZES,
    "EXIF": _SAME_ORIGIN,
    "ICC profile": _SAME_ORIGIN,
    "XMP": _SAME_ORIGIN,
    "text": _SAME_ORIGIN,
}
_CODES = ("format", "colour mode", "quantisation tables")  # metadata without an order


@dataclasses.dataclass(frozen=True)
class Separability:
    """How well features tell the classes apart, on images that the classifier has not seen.

    Attributes:
        auc: float, 0..1. Mean over the folds; 0.5 is chance.
        low: float. `auc` less two standard errors (Hanley and McNeil 1982).
        features: (name, AUC of this feature alone), the strongest first.
    """

    auc: float
    low: float
    features: tuple[tuple[str, float], ...]


def check_metadata(labels: np.ndarray, readings: Readings) -> Check:
    """Whether the files' metadata predict the label: format, size, compression, EXIF and so on.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        readings: Readings of N images.
    """
    values, labels = _sample(readings.rows["metadata"], readings.rows["readable"], labels)
    name = "metadata shortcut"
    if _too_few(labels):
        return _not_checked(name, labels)
    found = measure_separability(values, labels, METADATA)
    strongest = found.features[0][0]
    verdict = STOP if found.auc > METADATA_STOP else LOOK if found.low > METADATA_LOOK else OK
    finding = f"The label can be told from the files' metadata alone with AUC {found.auc:.2f} (0.5 is chance)."
    remedy = ""
    if verdict != OK:
        finding += f" {_describe_metadata(found, values, labels)}"
        remedy = _REMEDIES.get(strongest, _SAME_ENCODING)
        if verdict == STOP:
            remedy += " As it is, the detector would learn the files, not the pictures."
    return Check(name, verdict, finding, remedy, _details(found, values, labels, METADATA), plots=_plots(found))


def check_statistics(labels: np.ndarray, readings: Readings) -> Check:
    """Whether channel means, saturation and high-frequency energy predict the label. Arguments as above.

    Never a stop: generators do leave such traces, and a detector may well use them.
    """
    values, labels = _sample(readings.rows["statistics"], readings.rows["readable"], labels)
    name = "colour and texture shortcut"
    if _too_few(labels):
        return _not_checked(name, labels)
    found = measure_separability(values, labels, STATISTICS)
    finding = f"The label can be told from colour and texture statistics alone with AUC {found.auc:.2f}."
    verdict = LOOK if found.low > STATISTICS_LOOK else OK
    remedy = ""
    if verdict == LOOK:
        finding += " " + "; ".join(
            f"{feature} alone {auc:.2f} (median REAL {_median(values, labels, index, REAL):.3g}, FAKE "
            f"{_median(values, labels, index, FAKE):.3g})"
            for feature, auc in found.features[:NAMED_FEATURES]
            for index in [STATISTICS.index(feature)]
        )
        finding += "."
        remedy = (
            "Expect the detector to lean on it. Train with changes of colour, brightness and compression, and measure "
            "on images from elsewhere."
        )
    return Check(name, verdict, finding, remedy, _details(found, values, labels, STATISTICS), plots=_plots(found))


def measure_separability(values: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> Separability:
    """Cross-validated AUC of gradient-boosted trees on all features, and of a small tree on each alone.

    Args:
        values: float32 [N, F].
        labels: int64 [N]; 1 = FAKE, 0 = REAL; at least FOLDS of each.
        names: F names.

    Returns:
        Separability.
    """
    values = np.stack([_by_frequency(column) if name in _CODES else column for name, column in zip(names, values.T)], 1)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    # The default of 20 images a leaf cannot split what a small set has.
    leaf = int(np.clip(len(labels) // 25, 1, 20))
    boosted = HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15, min_samples_leaf=leaf, random_state=0)
    with threadpool_limits(1, user_api="openmp"):  # on a busy machine its threads wait for each other for minutes
        auc = float(cross_val_score(boosted, values, labels, cv=folds, scoring="roc_auc").mean())
    stump = DecisionTreeClassifier(max_leaf_nodes=16, min_samples_leaf=leaf, random_state=0)
    alone = [
        (name, float(cross_val_score(stump, values[:, [index]], labels, cv=folds, scoring="roc_auc").mean()))
        for index, name in enumerate(names)
        if np.ptp(values[:, index]) > 0
    ]
    # To two decimals: among equals the first named comes first, and "format" says more than "quantisation tables".
    ranked = tuple(sorted(alone, key=lambda pair: -round(pair[1], 2))) or ((names[0], 0.5),)
    return Separability(auc, auc - 2 * _standard_error(auc, labels), ranked)


def _standard_error(auc: float, labels: np.ndarray) -> float:
    fakes, reals = int(np.sum(labels == FAKE)), int(np.sum(labels == REAL))
    both_higher, both_lower = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (fakes - 1) * (both_higher - auc**2) + (reals - 1) * (both_lower - auc**2)
    return float(np.sqrt(variance / (fakes * reals)))


def _by_frequency(codes: np.ndarray) -> np.ndarray:
    """Codes without an order, as ranks: the most frequent is 0."""
    _, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-counts, kind="stable"))[inverse].astype(np.float32)


def _sample(values: np.ndarray, readable: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positions = np.flatnonzero(readable)
    if len(positions) > SAMPLE:
        positions = np.sort(np.random.default_rng(0).choice(positions, SAMPLE, replace=False))
    return values[positions], labels[positions]


def _too_few(labels: np.ndarray) -> bool:
    return min(np.sum(labels == REAL), np.sum(labels == FAKE)) < MIN_IMAGES


def _not_checked(name: str, labels: np.ndarray) -> Check:
    counts = {class_name: int(np.sum(labels == label)) for label, class_name in enumerate(LABEL_NAMES)}
    finding = f"Not checked: {MIN_IMAGES} readable images of each class are needed. Received: {counts}."
    return Check(name, LOOK, finding, "Add images.")


def _describe_metadata(found: Separability, values: np.ndarray, labels: np.ndarray) -> str:
    parts = []
    for name, auc in found.features[:NAMED_FEATURES]:
        if auc < METADATA_LOOK:
            break
        index = METADATA.index(name)
        parts.append(
            f"{name} alone {auc:.2f} (REAL: {_typical(name, values[labels == REAL, index])}; FAKE: "
            f"{_typical(name, values[labels == FAKE, index])})"
        )
    return "; ".join(parts) + "." if parts else "No feature alone, all together."


def _typical(name: str, values: np.ndarray) -> str:
    """`98 % PNG` of a category, the median of a number."""
    if name in ("width", "height", "aspect ratio", "bytes per pixel", "luma quantisation", "chroma quantisation"):
        return f"median {np.median(values):.3g}"
    codes, counts = np.unique(values, return_counts=True)
    code = int(codes[np.argmax(counts)])
    words = {"format": FORMATS, "colour mode": MODES, "chroma subsampling": ("4:4:4", "4:2:2", "4:2:0", "none")}
    if name == "quantisation tables":
        word = f"{code:06x}" if code else "none"
    else:
        word = words[name][code] if name in words else ("without", "with")[code]
    return f"{counts.max() / len(values):.0%} {word}"


def _median(values: np.ndarray, labels: np.ndarray, index: int, label: int) -> float:
    return float(np.median(values[labels == label, index]))


def _plots(found: Separability) -> tuple[Plot, ...]:
    return (Plot("AUC of each feature alone; 0.5 is chance", partial(plot_aucs, found.features)),)


def _details(found: Separability, values: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict:
    return {
        "auc": round(found.auc, 4),
        "auc_low": round(found.low, 4),
        "images": len(labels),
        "auc_of_each_alone": {name: round(auc, 4) for name, auc in found.features},
        "median": {
            class_name: {name: round(_median(values, labels, index, label), 4) for index, name in enumerate(names)}
            for label, class_name in enumerate(LABEL_NAMES)
        },
    }
