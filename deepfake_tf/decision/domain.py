"""How far an image is from the training data, and what counts as far: for the exported graphs.

Distance: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples",
https://arxiv.org/abs/1807.03888.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deepfake_tf.decision.calibration import Calibration
from deepfake_tf.decision.verdict import Decision

DOMAIN_PERCENTILE = 99.5  # of validation images count as in domain by their distance
ROUGHNESS_PERCENTILE = 99.9  # of validation images count as in domain by their roughness
SIZE_TOLERANCE = 2.0  # in domain: from half the smallest to twice the largest training side
MAX_COMPONENTS = 512  # principal components of the features that the distance looks at
COVARIANCE_SHRINKAGE = 1e-3  # of the mean variance, added to the diagonal: keeps the inverse tame


@dataclasses.dataclass(frozen=True)
class Domain:
    """What the training images were like.

    Attributes:
        min_side, max_side: int, pixels. The shortest and the longest side seen in training.
        means: float32 [2, C]. Mean pooled features of REAL and of FAKE.
        whitening: float32 [C, K]. W with W W^T the inverse of the covariance of both classes, in its K principal
            components.
        threshold: float. The Mahalanobis distance to the nearer class above which an image is far.
        roughness_limit: float. The roughness above which an image is noise; see `roughness`.
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


def fit_domain(
    training_features: np.ndarray,
    training_labels: np.ndarray,
    validation_features: np.ndarray,
    sizes: np.ndarray,
    validation_roughness: np.ndarray,
) -> Domain:
    """Fit class means and a shared covariance on training features, and the limits on validation.

    Args:
        training_features: float32 [N, C]. Pooled features.
        training_labels: int64 [N]; 1 = FAKE, 0 = REAL.
        validation_features: float32 [M, C].
        sizes: int32 [K, 2]. Widths and heights of the training images, as stored.
        validation_roughness: float32 [M], of `roughness`.
    """
    features = training_features.astype(np.float64)
    means = np.stack([features[training_labels == label].mean(axis=0) for label in (0, 1)])
    centred = features - means[training_labels]
    covariance = centred.T @ centred / len(centred)
    covariance += COVARIANCE_SHRINKAGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    variances, components = np.linalg.eigh(covariance)  # the largest last
    whitening = (components / np.sqrt(variances))[:, -MAX_COMPONENTS:]
    domain = Domain(
        min_side=int(sizes.min()),
        max_side=int(sizes.max()),
        means=means.astype(np.float32),
        whitening=whitening.astype(np.float32),
        threshold=math.inf,
        roughness_limit=float(np.percentile(validation_roughness, ROUGHNESS_PERCENTILE)),
    )
    distances = feature_distance(tf.constant(validation_features, tf.float32), domain).numpy()
    return dataclasses.replace(domain, threshold=float(np.percentile(distances, DOMAIN_PERCENTILE)))


def decision_of(calibration: Calibration, domain: Domain) -> Decision:
    """What the two measurements of the validation images decide together."""
    return Decision(
        temperature=calibration.temperature,
        intercept=calibration.intercept,
        threshold=calibration.threshold,
        band=calibration.band,
        sides_accepted=domain.accepted_sides,
        sides_seen=(domain.min_side, domain.max_side),
        distance_threshold=domain.threshold,
    )


def feature_distance(
    pooled: tf.Tensor, domain: Domain, product: Callable[[tf.Tensor, np.ndarray], tf.Tensor] = tf.matmul
) -> tf.Tensor:
    """Mahalanobis distance to the nearer class mean.

    Args:
        pooled: float32 [N, C]. Features, their mean over the map.
        domain: Domain.
        product: what multiplies [N, C] by [C, K].

    Returns:
        float32 [N], 0 and up.
    """
    whitened = product(pooled, domain.whitening)
    squared = [tf.reduce_sum(tf.square(whitened - mean @ domain.whitening), axis=1) for mean in domain.means]
    return tf.sqrt(tf.minimum(*squared))


def distance_of(
    pooled: tf.Tensor,
    images: tf.Tensor,
    domain: Domain,
    product: Callable[[tf.Tensor, np.ndarray], tf.Tensor] = tf.matmul,
) -> tf.Tensor:
    """Distance from the training data, by features or by roughness, the larger: above `domain.threshold` it is far.

    Noise is what a network that was trained on noisy images no longer sees: its pixels give it away.

    Args:
        pooled: see `feature_distance`.
        images: float32 [N, side, side, 3], -1..1.
        domain: Domain.
        product: see `feature_distance`.

    Returns:
        float32 [N], 0 and up.
    """
    by_roughness = domain.threshold * roughness(images) / domain.roughness_limit
    return tf.maximum(feature_distance(pooled, domain, product), by_roughness)


def roughness(images: tf.Tensor) -> tf.Tensor:
    """How unlike neighbours are: the mean difference of pixels a 32nd of the side apart.

    Args:
        images: float32 [N, side, side, 3], -1..1.

    Returns:
        float32 [N], 0..2.
    """
    step = images.shape[1] // 32
    across = tf.reduce_mean(tf.abs(images[:, :, step:] - images[:, :, :-step]), axis=[1, 2, 3])
    down = tf.reduce_mean(tf.abs(images[:, step:] - images[:, :-step]), axis=[1, 2, 3])
    return (across + down) / 2.0
