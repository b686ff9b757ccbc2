"""How good a model is: metrics with intervals, plots, and the one place where images are scored.

    metrics.json            every metric with its 95 % interval
    predictions.csv         name, label, probability: an image a row
    confusion_matrix.png  roc.png  reliability.png

FAKE is the positive class throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL
from deepfake_tf.data.examples import split_validation
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.progress import progress_bar
from deepfake_tf.text import as_utf8, format_csv, json_text, plural
from deepfake_tf.training.plots import save_figure
from deepfake_tf.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepfake_tf.data.pipeline import DecodedImages

ECE_BINS = 15  # of equal width over 0..1, as in Guo et al.
CLASSWISE_ECE_BINS = 15  # of equally many images
RELIABILITY_BINS = 15  # of equal width over 0..1, in the diagram
FALSE_POSITIVE_RATE = 0.01  # at which the true positive rate is reported
INTERVAL_PERCENTILES = (2.5, 97.5)
COLOURS = ("#0072B2", "#D55E00")  # of REAL and FAKE; told apart by colour-blind readers too


def compute_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    threshold: float = 0.5,
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of a binary detector, each with a 95 % percentile bootstrap interval.

    Each class is resampled by itself, so that every resample has as many images of each as the data.

    Args:
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE).
        threshold: float, 0..1. FAKE at this probability and above.
        bootstrap_samples: int, 1 or more.
        seed: int. Of the resampling.

    Returns:
        A JSON-able dict. `{"value", "low", "high"}` each for
          `accuracy`, `precision`, `recall`, `f1` at the threshold (0 where undefined),
          `roc_auc`, and `average_precision` (the sum over recall steps, without interpolation),
          `ece`: expected calibration error of the probability of the label given, in `ECE_BINS` bins of
              equal width (Guo et al., https://arxiv.org/abs/1706.04599). Chance adds to it, and resampling
              adds again: the interval of a well calibrated model may lie above its value. Errors of the two
              classes cancel in it,
          `classwise_ece`: see `classwise_ece`; the interval's bins are those of the data,
          `mean_probability`: of P(FAKE); without bias it is the share of FAKE,
          `brier`: mean squared difference of probability and label,
          `tpr_at_1_percent_fpr`: the share of FAKE found at the lowest threshold that accuses at most
              1 % of REAL;
        `confusion_matrix`: counts `true_real`, `false_fake` (REAL called FAKE), `false_real`, `true_fake`;
        `threshold`, and `n`, the number of images.

    Raises:
        ValueError: wrong shapes, values out of range or NaN, or images of one class only.
    """
    labels, probabilities = _checked(labels, probabilities, threshold)
    if bootstrap_samples < 1:
        raise ValueError(f"bootstrap_samples must be 1 or more. Received: {bootstrap_samples}")
    estimate = _estimator(labels, probabilities, threshold)
    values = estimate(np.ones(len(labels)))
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in (REAL, FAKE)]
    resampled = []
    for _ in range(bootstrap_samples):
        weights = np.zeros(len(labels))
        for members in classes:
            draws = generator.integers(0, len(members), len(members))
            weights[members] = np.bincount(draws, minlength=len(members))
        resampled.append(list(estimate(weights).values()))
    lows, highs = np.percentile(resampled, INTERVAL_PERCENTILES, axis=0)
    metrics: dict[str, Any] = {
        name: {"value": float(value), "low": float(low), "high": float(high)}
        for (name, value), low, high in zip(values.items(), lows, highs)
    }
    counts = np.bincount(_outcomes(labels, probabilities, threshold), minlength=4)
    names = ("true_real", "false_fake", "false_real", "true_fake")
    metrics["confusion_matrix"] = {name: int(count) for name, count in zip(names, counts)}
    return {**metrics, "threshold": float(threshold), "n": len(labels)}


def classwise_ece(labels: np.ndarray, probabilities: np.ndarray, bins: int = CLASSWISE_ECE_BINS) -> float:
    """Expected calibration error of P(FAKE) itself: the mean over bins of |share of FAKE - mean P|, by images.

    Of two classes it is the mean over classes of Kull et al. (https://arxiv.org/abs/1910.12656): P(REAL) has the same
    gaps. Bins hold equally many images; equal probabilities share a bin. Chance adds to it.

    Args:
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE).
        bins: int, 1 or more.

    Returns:
        float, 0..1.

    Raises:
        ValueError: as `compute_metrics`.
    """
    labels, probabilities = _checked(labels, probabilities, threshold=0.5)
    gaps = np.bincount(_equal_mass_bins(probabilities, bins), labels - probabilities)
    return float(np.abs(gaps).sum() / len(labels))


def mcnemar(
    labels: np.ndarray,
    probabilities_a: np.ndarray,
    probabilities_b: np.ndarray,
    threshold_a: float = 0.5,
    threshold_b: float = 0.5,
) -> dict[str, float]:
    """Whether two models differ in accuracy on the same images: McNemar's test, exact binomial form.

    Args:
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities_a: float [N], 0..1. P(FAKE) by the first model.
        probabilities_b: float [N], 0..1. P(FAKE) by the second model.
        threshold_a: float, 0..1. Of the first model.
        threshold_b: float, 0..1. Of the second model.

    Returns:
        `only_a_right`, `only_b_right`: counts of images; `p_value`: two-sided.

    Raises:
        ValueError: as `compute_metrics`.
    """
    labels, probabilities_a = _checked(labels, probabilities_a, threshold_a)
    labels, probabilities_b = _checked(labels, probabilities_b, threshold_b)
    right_a = (probabilities_a >= threshold_a) == (labels == FAKE)
    right_b = (probabilities_b >= threshold_b) == (labels == FAKE)
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a_right": only_a, "only_b_right": only_b, "p_value": p_value}


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
    labels, probabilities = _checked(labels, probabilities, threshold)
    names = [str(position) for position in range(len(labels))] if names is None else names
    if len(names) != len(labels):
        raise ValueError(
            f"names must be one an image. Received: {plural(len(names), 'name')}, {plural(len(labels), 'image')}"
        )
    report = {"description": dict(description or {}), **metrics}
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = zip(map(as_utf8, names), [LABEL_NAMES[label] for label in labels], probabilities.tolist())
    write_whole(output_dir / "predictions.csv", format_csv([("name", "label", "probability"), *rows]))
    _plot(output_dir / "confusion_matrix.png", (4.6, 4.2), lambda axes: _draw_confusion_matrix(axes, metrics))
    _plot(output_dir / "roc.png", (6.0, 4.4), lambda axes: _draw_roc(axes, labels, probabilities, metrics))
    _plot(
        output_dir / "reliability.png", (6.0, 4.4), lambda axes: _draw_reliability(axes, labels, probabilities, metrics)
    )
    write_whole(output_dir / "metrics.json", json_text(report, indent=2) + "\n")
    return report


# --- scoring ----------------------------------------------------------------------------------


def score(model_path: str | Path, images: DecodedImages, batch_size: int = 64) -> np.ndarray:
    """P(FAKE) of every image, in order.

    Args:
        model_path: str or Path. See `load_scorer`.
        images: DecodedImages. Read at their own sizes: their `image_size` plays no part.
        batch_size: int. Images at once, where all share a size.

    Returns:
        float64 [N], 0..1.

    Raises:
        ValueError: there are no images, or as `load_scorer`.
    """
    if not len(images):
        raise ValueError("There are no images to score.")
    probabilities_of = load_scorer(model_path)
    probabilities = []
    with progress_bar(len(images), "scoring", "image") as bar:
        for pixels in pixel_batches(images, batch_size):
            probabilities.append(probabilities_of(pixels))
            bar.update(len(pixels))
    return np.concatenate(probabilities)


def load_scorer(model_path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function that scores images by a model.

    Args:
        model_path: str or Path. A run directory (its best weights, in float32, at the image size it was
            trained at, before calibration), or a SavedModel of `deepfake-tf export`.

    Returns:
        A function: uint8 [N, H, W, 3], images of one size, any size -> float64 [N], P(FAKE).

    Raises:
        ValueError: the path is neither. The message says what was looked for.
    """
    check_model(model_path)
    path = Path(model_path)
    return _savedmodel_scorer(path) if (path / "saved_model.pb").is_file() else _run_scorer(path)


def check_model(model_path: str | Path) -> None:
    """Whether `load_scorer` takes a path; nothing is loaded.

    Raises:
        ValueError: as `load_scorer`.
    """
    path = Path(model_path)
    kinds = (("saved_model.pb",), ("config.json", "best.weights.h5"))
    if not any(all((path / file).is_file() for file in kind) for kind in kinds):
        raise ValueError(
            f"Not a model: a run directory holds config.json and best.weights.h5, a SavedModel holds saved_model.pb. "
            f"Received: {model_path}, {'which holds neither' if path.is_dir() else 'which is no folder'}."
        )


def pixel_batches(images: DecodedImages, batch_size: int) -> Iterator[np.ndarray]:
    """The images at their own sizes, in order: uint8 [B, H, W, 3], one at a time where sizes differ."""
    pixels = images.pixels
    if pixels is not None and (images.sizes == (pixels.shape[2], pixels.shape[1])).all():
        for start in range(0, len(images), batch_size):
            yield pixels[start : start + batch_size]
        return
    import tensorflow as tf

    from deepfake_tf.reading import tensorflow_reader

    for file in images.examples.files:
        encoded = tf.io.read_file(file) if isinstance(file, str) else tf.constant(file)
        yield tensorflow_reader.decode(encoded).numpy()[None]


def select_split(images: DecodedImages, split: str, fraction: float, split_seed: int) -> DecodedImages:
    """The images of one split.

    Args:
        images: DecodedImages. The data that a run was or would be trained on.
        split: str. "validation": what training with this fraction and split seed holds out; "test": what the
            source marks so.
        fraction: float, 0..1. `TrainingConfig.validation_fraction`.
        split_seed: int. `TrainingConfig.split_seed`.

    Raises:
        ValueError: `split` is unknown, or has no images.
    """
    is_test = np.array([name == "test" for name in images.examples.splits], bool)
    if split == "test":
        selected = np.flatnonzero(is_test)
    elif split == "validation":
        rest = np.flatnonzero(~is_test)
        digests = [images.digests[position] for position in rest]
        selected = rest[split_validation(images.examples.labels[rest], digests, fraction, split_seed)[1]]
    else:
        raise ValueError(f"split must be validation or test. Received: split={split!r}")
    if not len(selected):
        marked = f"{is_test.sum():,} {'is' if is_test.sum() == 1 else 'are'} marked test"
        raise ValueError(f"The data hold no {split} images: {plural(len(images), 'image')}, of which {marked}.")
    return images.take(selected)


def _savedmodel_scorer(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    from deepfake_tf.engines.saved_model import check_saved_model

    loaded = tf.saved_model.load(str(path))
    if "from_pixels" not in loaded.signatures:
        raise ValueError(
            f"{path} lacks the signature from_pixels: it was not made by deepfake-tf export. "
            f"Received: {sorted(loaded.signatures)}"
        )
    check_saved_model(loaded, path)

    def probabilities_of(pixels: np.ndarray) -> np.ndarray:
        rows = loaded.signatures["from_pixels"](pixels=tf.constant(pixels))
        return rows["probability"].numpy().astype(np.float64)

    return probabilities_of


def _run_scorer(run_dir: Path) -> Callable[[np.ndarray], np.ndarray]:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"Scoring needs TensorFlow: unset KERAS_BACKEND. Received: {keras.backend.backend()}")
    import tensorflow as tf

    from deepfake_tf.networks import build_model
    from deepfake_tf.reading import tensorflow_reader

    config = TrainingConfig.from_file(run_dir / "config.json")
    model = build_model(config.model, config.image_size)
    model.load_weights(run_dir / "best.weights.h5")

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def run(pixels):
        logits = model(tensorflow_reader.normalise(tensorflow_reader.resize(pixels, config.image_size)), training=False)
        return tf.sigmoid(tf.cast(logits[:, 0], tf.float64))

    return lambda pixels: run(tf.constant(pixels)).numpy()


# --- metrics ----------------------------------------------------------------------------------


def _checked(labels, probabilities, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if labels.ndim != 1 or labels.shape != probabilities.shape or not len(labels):
        raise ValueError(
            f"labels and probabilities must be two arrays [N] of one length. Received: {labels.shape} and "
            f"{probabilities.shape}"
        )
    if strange := sorted(set(np.unique(labels).tolist()) - {REAL, FAKE}):
        raise ValueError(f"labels must be 0 (REAL) or 1 (FAKE). Received: {strange[:5]}")
    outside = ~((probabilities >= 0) & (probabilities <= 1))  # NaN is outside too
    if outside.any():
        position = int(np.argmax(outside))
        raise ValueError(
            f"probabilities must be from 0 to 1. Received: {outside.sum()} others, such as "
            f"{probabilities[position]} at position {position}"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1. Received: threshold={threshold}")
    labels = labels.astype(np.int64)
    counts = {name: int(np.sum(labels == label)) for label, name in enumerate(LABEL_NAMES)}
    if not all(counts.values()):
        raise ValueError(f"Images of both classes are needed. Received: {counts}")
    return labels, probabilities


def _estimator(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float
) -> Callable[[np.ndarray], dict[str, float]]:
    """A function from how often each image counts, float64 [N], to the metrics.

    Whatever the weights do not change (the order, the ties, the bins) is worked out once: a resample
    then takes a few passes over the images and no sort.
    """
    order = np.argsort(-probabilities, kind="stable")
    labels, probabilities = labels[order], probabilities[order]
    end_of_tie = np.append(np.flatnonzero(np.diff(probabilities)), len(labels) - 1)
    confidences, is_right = _confidences(labels, probabilities, threshold)
    gaps = is_right - confidences
    bins = _bins(confidences)
    outcomes = _outcomes(labels, probabilities, threshold)
    squared_errors = np.square(probabilities - labels)
    mass_bins, biases = _equal_mass_bins(probabilities, CLASSWISE_ECE_BINS), labels - probabilities

    def estimate(weights: np.ndarray) -> dict[str, float]:
        weights = weights[order]
        # Sums, not dot products: these vectors are too short to be worth the threads of a BLAS.
        _, accused, _, found = np.bincount(outcomes, weights, minlength=4)
        # Counts at every threshold that the data can tell apart, from the highest down.
        true_fake = np.cumsum(weights * labels)[end_of_tie]
        called = np.cumsum(weights)[end_of_tie]
        false_fake = called - true_fake
        fakes, reals = true_fake[-1], false_fake[-1]
        true_positive_rate = np.append(0, true_fake) / fakes
        false_positive_rate = np.append(0, false_fake) / reals
        strictest = np.searchsorted(false_positive_rate, FALSE_POSITIVE_RATE + 1e-12, side="right") - 1
        return {
            "accuracy": (found + reals - accused) / (fakes + reals),
            "precision": found / max(found + accused, 1),
            "recall": found / fakes,
            "f1": 2 * found / (fakes + found + accused),
            "roc_auc": np.trapezoid(true_positive_rate, false_positive_rate),
            "average_precision": np.sum(np.diff(true_positive_rate) * true_fake / np.maximum(called, 1)),
            "ece": np.abs(np.bincount(bins, weights * gaps)).sum() / (fakes + reals),
            "classwise_ece": np.abs(np.bincount(mass_bins, weights * biases)).sum() / (fakes + reals),
            "mean_probability": np.sum(weights * probabilities) / (fakes + reals),
            "brier": np.sum(weights * squared_errors) / (fakes + reals),
            "tpr_at_1_percent_fpr": true_positive_rate[strictest],
        }

    return estimate


def _outcomes(labels, probabilities, threshold: float) -> np.ndarray:
    """int64 [N]: 0 REAL called REAL, 1 REAL called FAKE, 2 FAKE called REAL, 3 FAKE called FAKE."""
    return 2 * labels + (probabilities >= threshold)


def _confidences(labels, probabilities, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the label given, float64 [N], and whether that label is right, bool [N]."""
    called_fake = probabilities >= threshold
    return np.where(called_fake, probabilities, 1 - probabilities), called_fake == (labels == FAKE)


def _bins(values: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Of equal width: float [N], 0..1 -> int64 [N], 0..bins - 1."""
    return np.minimum((values * bins).astype(np.int64), bins - 1)


def _equal_mass_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Of equally many values, as far as ties let them: float [N] -> int64 [N], 0 and up."""
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return np.searchsorted(edges, values, side="right")


# --- plots ------------------------------------------------------------------------------------


def _plot(path: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> None:
    """Draw one pair of axes (size in inches) and save it as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
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
    bins = _bins(probabilities, RELIABILITY_BINS)
    counts = np.bincount(bins, minlength=RELIABILITY_BINS)
    filled = np.flatnonzero(counts)
    means = np.bincount(bins, probabilities)[filled] / counts[filled]
    fakes = np.bincount(bins, labels)[filled]
    shares = fakes / counts[filled]
    intervals = [
        binomtest(int(fake), int(count)).proportion_ci(method="wilson") for fake, count in zip(fakes, counts[filled])
    ]
    lows, highs = np.transpose([(interval.low, interval.high) for interval in intervals])
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
