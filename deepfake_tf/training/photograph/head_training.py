"""Training the head of the photograph detector on cached features, and its calibration out of fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.decision.calibration import Calibration
from deepfake_tf.training.photograph.features import Features
from deepfake_tf.training.photograph.heads import LinearHead
from deepfake_tf.training.photograph.selection import (
    FOLDS,
    grouped_folds,
    out_of_fold,
    shape_balanced,
    source_weights,
)

# Of all random views of an image together, against 1 for the view that prediction uses. The AUC is .003 higher at 0.5,
# but blurred photographs are accused up to twice as often.
RANDOM_VIEW_WEIGHT = 1.5


@dataclasses.dataclass(frozen=True)
class HeadTraining:
    """How the head is trained.

    Attributes:
        l2: float. Penalty l2 / 2 * |weight|^2 on the weights of standardised features, against the mean loss.
        label_smoothing: float, 0..1. Some repositories have a few wrong labels.
        iterations: int. Steps of L-BFGS at most.
    """

    l2: float = 0.6
    label_smoothing: float = 0.05
    iterations: int = 60


def train_head(
    cls: np.ndarray,
    labels: np.ndarray,
    repositories: np.ndarray,
    square: np.ndarray | None = None,
    config: HeadTraining | None = None,
) -> LinearHead:
    """Logistic regression on the class tokens of all blocks.

    Args:
        cls: float16 [copies, N, blocks, 768]; copy 0 is the view that prediction uses.
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        repositories: str [N]. A source (a class of one repository) counts by the square root of its images, both
            classes alike.
        square: bool [N] or None. Whether the original was square, see `shape_balanced`; None takes no notice.
        config: HeadTraining or None, which takes the defaults.

    Returns:
        LinearHead.

    Raises:
        ValueError: one class only.
    """
    config = config or HeadTraining()
    if len(np.unique(labels)) < 2:
        raise ValueError(f"A head needs images of both classes. Received: labels={np.unique(labels).tolist()}")
    copies, count, blocks, width = cls.shape
    clean = cls[0].reshape(count, -1).astype(np.float32)
    mean, deviation = clean.mean(0), clean.std(0) + 1e-6
    features = np.concatenate([(view.reshape(count, -1).astype(np.float32) - mean) / deviation for view in cls])
    targets = np.tile(labels * (1 - config.label_smoothing) + config.label_smoothing / 2, copies).astype(np.float32)
    copy_weights = np.full(copies, RANDOM_VIEW_WEIGHT / max(copies - 1, 1))
    copy_weights[0] = 1
    image_weights = source_weights(labels, repositories)
    if square is not None:
        image_weights = shape_balanced(image_weights, labels, square)
    weights = np.outer(copy_weights, image_weights).ravel().astype(np.float32)
    weights /= weights.sum()

    def loss_and_gradient(parameters):
        weight, bias = parameters[:-1].astype(np.float32), np.float32(parameters[-1])
        logits = features @ weight + bias
        losses = np.logaddexp(0, logits) - targets * logits
        slope = weights * (expit(logits) - targets)
        gradient = np.append(features.T @ slope + config.l2 * weight, slope.sum())
        return float(weights @ losses + config.l2 / 2 * (weight @ weight)), gradient.astype(np.float64)

    start = np.zeros(blocks * width + 1)
    found = minimize(
        loss_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": config.iterations, "maxcor": 20}
    )
    weight = found.x[:-1] / deviation
    return LinearHead(weight.reshape(blocks, width).astype(np.float32), float(found.x[-1] - weight @ mean))


PHOTOGRAPH_KINDS = ("photo", "paired")
OTHER_KINDS = ("scan", "screenshot", "art")  # documents, interfaces, drawings and renders
DOMAIN_TRAINING = HeadTraining(l2=6.0)  # few sources: a stronger penalty
DOMAIN_SHARE = 0.99  # of real photographs, out of fold, count as photographs


def domain_rows(kinds: np.ndarray) -> np.ndarray:
    """The images whose kind says whether they are photographs: int64 [n], rows of kinds (str [N])."""
    return np.flatnonzero(np.isin(kinds, PHOTOGRAPH_KINDS + OTHER_KINDS))


def train_domain_head(cls: np.ndarray, kinds: np.ndarray, repositories: np.ndarray) -> LinearHead:
    """A head of the same form whose logit says "no photograph", real or generated alike.

    Args:
        cls: float16 [copies, N, blocks, 768].
        kinds: str [N]; images of other kinds than PHOTOGRAPH_KINDS and OTHER_KINDS are left out.
        repositories: str [N].

    Returns:
        LinearHead. Where no kind says what is no photograph, one that counts every image as a photograph.
    """
    rows = domain_rows(kinds)
    if not np.isin(kinds, OTHER_KINDS).any() or not np.isin(kinds, PHOTOGRAPH_KINDS).any():
        return LinearHead(np.zeros(cls.shape[2:], np.float32), -1.0)
    other = np.isin(kinds[rows], OTHER_KINDS).astype(np.int64)
    return train_head(cls[:, rows], other, repositories[rows], config=DOMAIN_TRAINING)


def domain_limit(labels: np.ndarray, kinds: np.ndarray, domain_logits: np.ndarray) -> float:
    """The domain head's logit above which an image is no photograph, from out-of-fold logits [N]."""
    photographs = (labels == 0) & np.isin(kinds, PHOTOGRAPH_KINDS)
    if not photographs.any():
        return 0.0
    return float(np.quantile(domain_logits[photographs], DOMAIN_SHARE))


ACCUSED = 0.01  # of real images, at most, reach "likely generated"
ACCUSED_WORST_SOURCE = 0.03  # of the real images of any source of WORST_SOURCE_IMAGES or more
WORST_SOURCE_IMAGES = 40
MOST_SCALED = 15.0  # of a calibrated logit, in size
MISSED = 0.05  # of generated images, at most, fall to "likely real"


def calibrate(
    labels: np.ndarray, repositories: np.ndarray, logits: np.ndarray, doubtful: Collection[str] = ()
) -> Calibration:
    """Temperature, intercept and the band of "uncertain" from out-of-fold logits.

    Temperature and intercept minimise the log loss (Platt, 1999), sources weighted as in training. The upper limit is
    the lowest logit that at most 1 % of all real images reach, and at most 3 % of any real source of 40 images or more;
    the lower one the highest that at most 5 % of generated images fall to. Where the two would cross, the band is
    empty. A probability of one half lies in it, or at its end.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        repositories: str [N].
        logits: float [N], each from a head that saw nothing of the image's repository.
        doubtful: repositories of which some labels are known to be wrong: they do not count as a worst source.
    """
    weights = source_weights(labels, repositories)
    weights /= weights.sum()

    def loss(parameters):
        scaled = parameters[0] * logits + parameters[1]
        return float(weights @ (np.logaddexp(0, scaled) - labels * scaled))

    slope, intercept = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).x
    if slope <= 0:
        raise ValueError("The logits rank real images above generated ones: no calibration mends that.")
    real, generated = labels == 0, labels == 1
    limits = [_limit(logits[real], ACCUSED)]
    for repository in np.unique(repositories[real]):
        own = real & (repositories == repository)
        if own.sum() >= WORST_SOURCE_IMAGES and repository not in doubtful:
            limits.append(_limit(logits[own], ACCUSED_WORST_SOURCE))
    high = max(limits)
    low = min(-_limit(-logits[generated], MISSED), high)
    offset = -intercept / slope
    low, high = min(low, offset), max(high, offset)  # above the band is FAKE, below it REAL
    # Classes that no image crosses would drive all probabilities to 0 and 1, where float32 tells none apart.
    temperature = max(1 / slope, float(np.abs(logits - offset).max()) / MOST_SCALED)
    calibration = Calibration(float(temperature), 0.5, (0.0, 1.0), float(-offset / temperature))
    low, high = map(float, calibration.probabilities(np.array([low, high])))
    return dataclasses.replace(calibration, band=(low, high))


def _limit(logits: np.ndarray, share: float) -> float:
    """The middle between the last of the top `share` of the logits and the next one, which stays below."""
    ordered = np.sort(logits)[::-1]
    allowed = int(share * len(ordered))
    if allowed == 0:
        return float(np.nextafter(ordered[0], np.inf))
    return float((ordered[allowed - 1] + ordered[allowed]) / 2)


@dataclasses.dataclass(frozen=True)
class TrainedDetector:
    """The heads that ship, trained on everything, and what was measured on repositories left out.

    Attributes:
        head: LinearHead. Its logit says "generated".
        domain_head: LinearHead. Its logit says "no photograph".
        domain_limit: float. Above it an image is out of domain, and its verdict "uncertain".
        calibration: Calibration, of images in domain.
        fold_of: int64 [N]. The fold in which an image was left out.
        logits: float64 [N]. Out of fold, of the view that prediction uses.
        random_logits: float64 [N, copies - 1]. The same of the random views.
        domain_logits: float64 [N]. Out of fold.
    """

    head: LinearHead
    domain_head: LinearHead
    domain_limit: float
    calibration: Calibration
    fold_of: np.ndarray
    logits: np.ndarray
    random_logits: np.ndarray
    domain_logits: np.ndarray


def train_detector(
    features: Features,
    folds: int = FOLDS,
    report: Callable[[str], None] = print,
    doubtful: Collection[str] = (),
) -> TrainedDetector:
    """Train the heads, judge them on repositories left out, and calibrate on what they said there.

    A quarter of a minute a fold for 5,800 images in four copies on two cores.

    Args:
        features: Features. Without kinds (OTHER_KINDS) nothing tells what is no photograph: all images are in domain.
        folds: int.
        report: takes a line of progress a fold.
        doubtful: as of `calibrate`.

    Raises:
        ValueError: one class only, or fewer repositories than folds.
    """
    cls, labels, repositories, square = features.cls, features.labels, features.repositories, features.square
    kinds = np.array([image.kind for image in features.images])
    for label, name in enumerate(LABEL_NAMES):
        sources = np.unique(repositories[labels == label])
        if len(sources) < 2:
            raise ValueError(
                f"Heads are measured on repositories left out, so {name} images must come from two or more. Received: "
                f"{', '.join(sources) or 'none'}"
            )
    fold_of = grouped_folds(labels, repositories, min(folds, len(np.unique(repositories))))

    def fit(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        head = train_head(cls[:, rows], labels[rows], repositories[rows], square[rows])
        report(f"head trained on {len(rows)} of {len(labels)} images")
        return lambda held_out: np.stack([head.logits(view[held_out]) for view in cls], axis=1)

    def fit_domain(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        head = train_domain_head(cls[:, rows], kinds[rows], repositories[rows])
        return lambda held_out: head.logits(cls[0, held_out])

    all_logits, domain_logits = out_of_fold(fit, fold_of), out_of_fold(fit_domain, fold_of)
    logits = all_logits[:, 0]
    limit = domain_limit(labels, kinds, domain_logits)
    inside = domain_logits <= limit
    return TrainedDetector(
        head=train_head(cls, labels, repositories, square),
        domain_head=train_domain_head(cls, kinds, repositories),
        domain_limit=limit,
        calibration=calibrate(labels[inside], repositories[inside], logits[inside], doubtful),
        fold_of=fold_of,
        logits=logits,
        random_logits=all_logits[:, 1:],
        domain_logits=domain_logits,
    )
