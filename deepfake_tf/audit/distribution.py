"""How many images there are of each class, and how large they are."""

from __future__ import annotations

from functools import partial

import numpy as np

from deepfake_tf.audit.findings import LOOK, OK, STOP, Check, Gallery, Plot
from deepfake_tf.audit.plots import plot_counts, plot_histogram
from deepfake_tf.audit.survey import Readings
from deepfake_tf.config import IMAGE_SIZE, LABEL_NAMES
from deepfake_tf.data.examples import Examples

LOOK_RATIO = 1.5  # of the larger class to the smaller
STOP_RATIO = 10.0
FEW_IMAGES = 100  # of a class: neither training nor measuring means much
SIZE_RATIO = 1.5  # of the classes' median sides
SAMPLES = 24  # pictures of a class in the report


def check_balance(examples: Examples) -> Check:
    """Whether both classes are there in numbers of the same order, in every split."""
    counts = examples.counts()
    ratio = max(counts.values()) / max(min(counts.values()), 1)
    by_split = {
        split or "no split": examples.take(np.flatnonzero(np.array(examples.splits) == split)).counts()
        for split in sorted(set(examples.splits))
    }
    few = min(counts.values()) < FEW_IMAGES
    remedy = ""
    if ratio > LOOK_RATIO:
        remedy = "Add images of the smaller class; `train` weighs the classes, but cannot invent variety."
    if few:
        remedy = f"Add images: of fewer than {FEW_IMAGES} a class, neither training nor measuring means much."
    said = "; ".join(f"{split}: {', '.join(f'{n:,} {name}' for name, n in c.items())}" for split, c in by_split.items())
    rng = np.random.default_rng(0)
    galleries = []
    for label, name in enumerate(LABEL_NAMES):
        members = np.flatnonzero(examples.labels == label)
        chosen = np.sort(rng.choice(members, min(SAMPLES, len(members)), replace=False))
        galleries.append(Gallery(f"Labelled {name}, drawn at random", [chosen.tolist()]))
    return Check(
        "balance",
        STOP if ratio > STOP_RATIO else LOOK if few or ratio > LOOK_RATIO else OK,
        f"{said}.",
        remedy,
        {"counts": counts, "by_split": by_split, "ratio": round(ratio, 3)},
        tuple(galleries),
        (Plot("Images a class and split", partial(plot_counts, by_split)),),
    )


def check_sizes(labels: np.ndarray, readings: Readings, thorough: bool = True) -> Check:
    """The distribution of sizes, and whether it differs between the classes.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        readings: Readings of N images.
        thorough: bool. Whether the readings hold pixel statistics, to plot them.
    """
    readable = readings.rows["readable"]
    rows, labels = readings.rows[readable], labels[readable]
    if not len(rows):
        return Check("sizes", STOP, "No image can be read.", "See the check of files.")
    sides = np.sqrt(rows["width"].astype(float) * rows["height"])
    medians = {name: float(np.median(sides[labels == label])) for label, name in _present(labels)}
    ratio = max(medians.values()) / min(medians.values())
    sizes, counts = np.unique(np.stack([rows["width"], rows["height"]], 1), axis=0, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:10]
    upscaled = float(np.mean(sides < IMAGE_SIZE))
    if len(sizes) == 1:
        finding = f"All images are {sizes[0][0]} x {sizes[0][1]} pixels"
    else:
        finding = f"{len(sizes):,} sizes; median side " + ", ".join(f"{name} {m:.0f}" for name, m in medians.items())
    finding += f"; {upscaled:.0%} are smaller than the network's {IMAGE_SIZE} x {IMAGE_SIZE}." if upscaled else "."
    histograms = {"Side, in pixels (square root of the area)": sides} if len(sizes) > 1 else {}
    if thorough:
        means = rows["statistics"][:, :3].T
        histograms |= {f"{colour} mean, 0..255": mean for colour, mean in zip(("Red", "Green", "Blue"), means)}
    return Check(
        "sizes",
        LOOK if ratio > SIZE_RATIO else OK,
        finding,
        "Bring both classes to the same sizes, by the same cropping and resizing." if ratio > SIZE_RATIO else "",
        {
            "median_side": {name: round(median, 1) for name, median in medians.items()},
            "sizes": len(sizes),
            "most_common": [
                {"width": int(sizes[i][0]), "height": int(sizes[i][1]), "images": int(counts[i])} for i in common
            ],
            "side_percentiles": {
                name: {str(q): round(float(np.percentile(sides[labels == label], q)), 1) for q in (0, 5, 50, 95, 100)}
                for label, name in _present(labels)
            },
        },
        plots=tuple(Plot(title, partial(plot_histogram, values, labels)) for title, values in histograms.items()),
    )


def _present(labels: np.ndarray) -> list[tuple[int, str]]:
    return [(label, name) for label, name in enumerate(LABEL_NAMES) if np.any(labels == label)]
