"""Metrics of a detector, each with its interval. FAKE is the positive class throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import binomtest, mannwhitneyu

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL

ECE_BINS = 15  # of equal width over 0..1, as in Guo et al.
CLASSWISE_ECE_BINS = 15  # of equally many images
FALSE_POSITIVE_RATE = 0.01  # at which the true positive rate is reported
INTERVAL_PERCENTILES = (2.5, 97.5)


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
          `classwise_ece`: calibration error of P(FAKE) itself, the mean over bins of |share of FAKE - mean P|, by
              images; of two classes it is the mean over classes of Kull et al. (https://arxiv.org/abs/1910.12656),
              since P(REAL) has the same gaps. `CLASSWISE_ECE_BINS` bins hold equally many images; equal probabilities
              share a bin; the interval's bins are those of the data,
          `mean_probability`: of P(FAKE); without bias it is the share of FAKE, where both classes are alike in number,
              as `export` calibrates for,
          `brier`: mean squared difference of probability and label,
          `tpr_at_1_percent_fpr`: the share of FAKE found at the lowest threshold that accuses at most
              1 % of REAL;
        `confusion_matrix`: counts `true_real`, `false_fake` (REAL called FAKE), `false_real`, `true_fake`;
        `threshold`, and `n`, the number of images.

    Raises:
        ValueError: wrong shapes, values out of range or NaN, or images of one class only.
    """
    labels, probabilities = check_predictions(labels, probabilities, threshold)
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
    labels, probabilities_a = check_predictions(labels, probabilities_a, threshold_a)
    labels, probabilities_b = check_predictions(labels, probabilities_b, threshold_b)
    right_a = (probabilities_a >= threshold_a) == (labels == FAKE)
    right_b = (probabilities_b >= threshold_b) == (labels == FAKE)
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a_right": only_a, "only_b_right": only_b, "p_value": p_value}


def share_of(answers: np.ndarray) -> float | None:
    """The share of True in bool [N]; None where there is none to tell by."""
    return float(answers.mean()) if len(answers) else None


def wilson_interval(answers: np.ndarray) -> tuple[float | None, float | None]:
    """The ends of the 95 % Wilson interval of `share_of`; None where there is none to tell by."""
    if not len(answers):
        return None, None
    interval = binomtest(int(answers.sum()), len(answers)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def auc(of_real: np.ndarray, of_fake: np.ndarray) -> float | None:
    """The area under the ROC curve of the probabilities of REAL, float [N], and of FAKE, float [M].

    The chance that a FAKE image has the higher one, ties counted half; None where there are none of either.
    """
    if not len(of_real) or not len(of_fake):
        return None
    greater = mannwhitneyu(of_fake, of_real, method="asymptotic").statistic
    return float(greater / (len(of_real) * len(of_fake)))


def check_predictions(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int64 [N] and probabilities as float64 [N].

    Raises:
        ValueError: as `compute_metrics`.
    """
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
    bins = equal_width_bins(confidences)
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


def _outcomes(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [N]: 0 REAL called REAL, 1 REAL called FAKE, 2 FAKE called REAL, 3 FAKE called FAKE."""
    return 2 * labels + (probabilities >= threshold)


def _confidences(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the label given, float64 [N], and whether that label is right, bool [N]."""
    called_fake = probabilities >= threshold
    return np.where(called_fake, probabilities, 1 - probabilities), called_fake == (labels == FAKE)


def equal_width_bins(values: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Of equal width: float [N], 0..1 -> int64 [N], 0..bins - 1."""
    return np.minimum((values * bins).astype(np.int64), bins - 1)


def _equal_mass_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Of equally many values, as far as ties let them: float [N] -> int64 [N], 0 and up."""
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    return np.searchsorted(edges, values, side="right")
