"""From logits to probabilities that mean what they say, and to a verdict that may be "uncertain".

Temperature scaling: Guo et al., "On Calibration of Modern Neural Networks",
https://arxiv.org/abs/1706.04599; with an offset it is the scaling of Platt, "Probabilistic Outputs for Support Vector
Machines", 1999. Distance from the training data: Lee et al., "A Simple Unified
Framework for Detecting Out-of-Distribution Samples", https://arxiv.org/abs/1807.03888.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

BAND_ACCURACY = 0.997  # of the validation images outside the uncertain band, at least
DOMAIN_PERCENTILE = 99.5  # of validation images count as in domain by their distance
ROUGHNESS_PERCENTILE = 99.9  # of validation images count as in domain by their roughness
SIZE_TOLERANCE = 2.0  # in domain: from half the smallest to twice the largest training side
COVARIANCE_SHRINKAGE = 1e-3  # of the mean variance, added to the diagonal: keeps the inverse tame


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What turns a logit into a probability and a verdict.

    Attributes:
        temperature: float > 0. probability = sigmoid(logit / temperature).
        threshold: float, 0..1. FAKE at this probability and above.
        band: (low, high) probabilities; strictly between them the verdict is "uncertain".
    """

    temperature: float
    threshold: float
    band: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Domain:
    """What the training images were like.

    Attributes:
        min_side, max_side: int, pixels. The shortest and the longest side seen in training.
        means: float32 [2, C]. Mean pooled features of REAL and of FAKE.
        whitening: float32 [C, C]. W with W W^T the inverse of the covariance that both classes share.
        threshold: float. The Mahalanobis distance to the nearer class above which an image is far.
        roughness_limit: float. The roughness above which an image is noise; see `export.savedmodel.roughness`.
    """

    min_side: int
    max_side: int
    means: np.ndarray
    whitening: np.ndarray
    threshold: float
    roughness_limit: float = math.inf

    @property
    def accepted_sides(self) -> tuple[int, int]:
        """The shortest and the longest side, in pixels, that count as in domain."""
        return int(self.min_side / SIZE_TOLERANCE), int(self.max_side * SIZE_TOLERANCE)


def fit_offset(labels: np.ndarray, logits: np.ndarray) -> float:
    """Fit what to take off every logit so that it favours neither class, on validation images.

    Which way a network errs depends on how its images were damaged, so the logits are best those of damaged ones.
    Fitted by log loss together with a temperature, where both classes weigh the same, as they do in training.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        logits: float [N].

    Returns:
        float. 0 where a class is missing.
    """
    labels, logits = np.asarray(labels), np.asarray(logits, np.float64)
    counts = np.bincount(labels, minlength=2)
    if not counts.all():
        return 0.0
    weights = 0.5 / counts[labels]
    signs = 1.0 - 2.0 * labels

    def loss(parameters):
        log_temperature, offset = parameters
        return np.logaddexp(0.0, signs * (logits - offset) / np.exp(log_temperature)) @ weights

    largest = float(np.abs(logits).max())
    return float(minimize(loss, (0.0, 0.0), method="L-BFGS-B", bounds=[(-3.0, 3.0), (-largest, largest)]).x[1])


def fit_calibration(labels: np.ndarray, logits: np.ndarray, threshold: float = 0.5) -> Calibration:
    """Fit temperature and uncertain band on validation images.

    The band is the narrowest one, symmetric about the threshold, outside which at least `BAND_ACCURACY`
    of the images are answered right.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        logits: float [N].
        threshold: float, 0..1.
    """
    labels, logits = np.asarray(labels), np.asarray(logits, np.float64)
    signs = 1.0 - 2.0 * labels

    def loss(log_temperature):
        return np.logaddexp(0.0, signs * logits / np.exp(log_temperature)).mean()

    temperature = float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))
    probabilities = expit(logits / temperature)
    right = (probabilities >= threshold) == (labels == 1)
    margins = np.abs(probabilities - threshold)
    order = np.argsort(-margins)
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(accuracy >= BAND_ACCURACY)
    width = margins[order[enough[-1]]] if len(enough) else 1.0
    if len(enough) == len(order):
        width = 0.0
    return Calibration(temperature, threshold, (max(threshold - width, 0.0), min(threshold + width, 1.0)))


def fit_domain(
    training_features: np.ndarray,
    training_labels: np.ndarray,
    validation_features: np.ndarray,
    sizes: np.ndarray,
    validation_roughness: np.ndarray | None = None,
) -> Domain:
    """Fit class means and a shared covariance on training features, and the limits on validation.

    Args:
        training_features: float32 [N, C]. Pooled features.
        training_labels: int64 [N]; 1 = FAKE, 0 = REAL.
        validation_features: float32 [M, C].
        sizes: int32 [K, 2]. Widths and heights of the training images, as stored.
        validation_roughness: float32 [M], of `export.savedmodel.roughness`; None leaves it without a limit.
    """
    features = training_features.astype(np.float64)
    means = np.stack([features[training_labels == label].mean(axis=0) for label in (0, 1)])
    centred = features - means[training_labels]
    covariance = centred.T @ centred / len(centred)
    covariance += COVARIANCE_SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    distances = domain_distance(validation_features, means, whitening)
    return Domain(
        min_side=int(sizes.min()),
        max_side=int(sizes.max()),
        means=means.astype(np.float32),
        whitening=whitening.astype(np.float32),
        threshold=float(np.percentile(distances, DOMAIN_PERCENTILE)),
        roughness_limit=(
            math.inf
            if validation_roughness is None
            else float(np.percentile(validation_roughness, ROUGHNESS_PERCENTILE))
        ),
    )


def domain_distance(features: np.ndarray, means: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Mahalanobis distance to the nearer class mean: float [N, C] -> float [N], 0 and up."""
    whitened = [(features - mean) @ whitening for mean in means]
    return np.sqrt(np.min([np.square(part).sum(axis=1) for part in whitened], axis=0))
