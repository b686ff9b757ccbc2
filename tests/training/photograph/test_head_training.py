import dataclasses

import numpy as np
import pytest
from scipy.special import expit

from deepfake_tf.training.photograph.features import Features, Photograph
from deepfake_tf.training.photograph.head_training import (
    HeadTraining,
    calibrate,
    domain_limit,
    train_detector,
    train_domain_head,
    train_head,
)


@pytest.fixture(scope="module")
def sources():
    """Features in which the class moves one dimension and the repository others, as galleries do."""
    generator = np.random.default_rng(0)
    repositories = np.repeat([f"r{i}" for i in range(20)], 40)
    labels = np.tile([0, 1], 400)
    cls = generator.normal(size=(2, 800, 2, 16))
    cls[:, :, 0, 0] += 2.5 * labels
    cls += np.repeat(generator.normal(0, 1, (20, 1, 15)), 40, 0).reshape(1, 800, 1, 15).repeat(16, 3)[..., :16] * 0.3
    return cls.astype(np.float16), labels, repositories


def test_the_head_finds_the_class_in_unseen_repositories(sources):
    cls, labels, repositories = sources
    train = np.isin(repositories, [f"r{i}" for i in range(15)])
    head = train_head(cls[:, train], labels[train], repositories[train], config=HeadTraining(l2=0.01))
    assert head.weight.shape == (2, 16)
    assert head.weight.dtype == np.float32
    right = (head.logits(cls[0][~train]) > 0) == labels[~train]
    assert right.mean() > 0.8
    assert np.abs(head.weight).argmax() == 0


def test_a_stronger_penalty_gives_smaller_weights(sources):
    cls, labels, repositories = sources
    norms = [
        np.linalg.norm(train_head(cls, labels, repositories, config=HeadTraining(l2=l2)).weight)
        for l2 in (0.01, 0.1, 1.0)
    ]
    assert norms[0] > norms[1] > norms[2] > 0


def test_the_loss_is_at_its_minimum(sources):
    cls, labels, repositories = sources
    config = HeadTraining(l2=0.1, iterations=500)
    head = train_head(cls[:1], labels, repositories, config=config)
    features = cls[0].reshape(800, -1).astype(float)
    deviation = features.std(0)
    targets = labels * 0.95 + 0.025

    def loss(weight, bias):
        logits = features @ weight.ravel() + bias
        fit = np.mean(np.logaddexp(0, logits) - targets * logits)
        return fit + config.l2 / 2 * np.sum((weight.ravel() * deviation) ** 2)

    least = loss(head.weight, head.bias)
    generator = np.random.default_rng(1)
    for _ in range(20):
        assert loss(head.weight + generator.normal(0, 0.02, (2, 16)), head.bias) > least
    assert loss(head.weight, head.bias + 0.05) > least


def test_squares_are_balanced(sources):
    cls, labels, repositories = sources
    generator = np.random.default_rng(5)
    square = generator.random(800) < np.where(labels == 1, 0.8, 0.2)
    cls = cls.copy()
    cls[:, :, 1, 7] = 3 * square  # the features tell that an image is square
    reliance = [train_head(cls, labels, repositories, shape).weight[1, 7] for shape in (None, square)]
    assert 0 < reliance[1] < 0.75 * reliance[0]


def test_one_class_is_refused(sources):
    cls, labels, repositories = sources
    with pytest.raises(ValueError, match=r"both classes. Received: labels=\[0\]"):
        train_head(cls[:, labels == 0], labels[labels == 0], repositories[labels == 0])


def test_the_domain_head_tells_documents_from_photographs():
    generator = np.random.default_rng(2)
    kinds = np.tile(["photo", "paired", "scan", "mixed"], 100)
    cls = generator.normal(size=(2, 400, 2, 8))
    cls[:, kinds == "scan", 1, 3] += 12
    repositories = np.array([f"r{i % 7}" for i in range(400)])
    labels = np.zeros(400, np.int64)
    head = train_domain_head(cls.astype(np.float16), kinds, repositories)
    logits = head.logits(cls[0])
    limit = domain_limit(labels, kinds, logits)
    assert np.mean(logits[np.isin(kinds, ["photo", "paired"])] > limit) == pytest.approx(0.01, abs=0.006)
    assert np.mean(logits[kinds == "scan"] > limit) > 0.95


def out_of_fold_logits(seed=3, count=4000):
    generator = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count // 2)
    logits = generator.normal(np.where(labels, 1.5, -1.5), 1.5)  # so that P(FAKE) = sigmoid(2 / 1.5 * logit)
    repositories = np.array([f"r{i}" for i in generator.integers(0, 20, count)])
    return labels, repositories, logits


def test_probabilities_mean_what_they_say():
    labels, repositories, logits = out_of_fold_logits(count=40_000)
    calibration = calibrate(labels, repositories, logits * 3 + 0.7)
    np.testing.assert_allclose(calibration.probabilities(logits * 3 + 0.7), expit(logits * 2 * 1.5 / 1.5**2), atol=0.02)
    assert -calibration.intercept * calibration.temperature == pytest.approx(0.7, abs=0.1)


def test_the_band_holds_its_promises():
    labels, repositories, logits = out_of_fold_logits()
    bad = (repositories == "r0") & (labels == 0)
    logits[bad] += 2.5  # a camera that the head dislikes
    calibration = calibrate(labels, repositories, logits)
    probabilities = calibration.probabilities(logits)
    low, high = calibration.band
    assert 0 < low < high < 1
    assert np.mean(probabilities[labels == 0] >= high) <= 0.01
    assert np.mean(probabilities[bad] >= high) <= 0.03
    assert np.mean(probabilities[labels == 1] <= low) <= 0.05
    # Not stricter than need be: somewhat lower, and the disliked camera would exceed its share.
    relaxed = dataclasses.replace(calibration, band=(low, high * 0.98)).band[1]
    assert np.mean(probabilities[bad] >= relaxed) > 0.03


@pytest.mark.parametrize("apart", [1.0, 8.0, 30.0])
def test_verdicts_never_run_backwards(apart):
    """Above the band is FAKE and below it REAL, also where a few wrong labels or an easy task move its ends."""
    labels, repositories, logits = out_of_fold_logits()
    logits += apart * (2 * labels - 1)
    logits[:20] += 2 * apart + 4
    low, high = calibrate(labels, repositories, logits).band
    assert low <= 0.5 <= high


def test_logits_of_no_use_are_refused():
    labels, repositories, logits = out_of_fold_logits()
    with pytest.raises(ValueError, match="rank real images above generated ones"):
        calibrate(labels, repositories, -logits)


def test_the_whole_training_judges_on_repositories_left_out(sources):
    cls, labels, repositories = sources
    generator = np.random.default_rng(7)
    kinds = np.where(generator.random(800) < 0.1, "scan", "photo")
    cls = cls.copy()
    cls[:, kinds == "scan", 1, 9] += 12
    cls[:, :, 1, 5] = [int(name[1:]) for name in repositories]  # the name itself, of no use for repositories left out
    images = tuple(
        Photograph(f"{i}.jpg", int(label), repository, "x", kind)
        for i, (label, repository, kind) in enumerate(zip(labels, repositories, kinds))
    )
    features = Features(images, cls, np.tile([400, 300], (800, 1)).astype(np.int32), ())
    lines = []
    detector = train_detector(features, folds=4, report=lines.append)
    assert len(lines) == 4
    np.testing.assert_array_equal(np.unique(detector.fold_of), range(4))
    for repository in np.unique(repositories):
        assert len(set(detector.fold_of[repositories == repository])) == 1
    assert np.mean((detector.logits > 0) == labels) > 0.8
    assert np.any(detector.logits != detector.head.logits(cls[0]))
    outside = detector.domain_logits > detector.domain_limit
    assert outside[kinds == "scan"].mean() > 0.9
    assert outside[kinds == "photo"].mean() < 0.03
    low, high = detector.calibration.band
    assert 0 < low <= high < 1
    accused = (detector.calibration.probabilities(detector.logits) >= high) & ~outside
    assert accused[labels == 0].mean() <= 0.01


def test_a_doubtful_source_does_not_set_the_limit():
    labels, repositories, logits = out_of_fold_logits()
    logits[(repositories == "r0") & (labels == 0)] += 2.5
    strict, lenient = (calibrate(labels, repositories, logits, doubtful) for doubtful in ((), ("r0",)))
    assert lenient.band[1] < strict.band[1]
    assert np.mean(lenient.probabilities(logits[labels == 0]) >= lenient.band[1]) <= 0.01


def test_without_kinds_every_image_is_in_domain(sources):
    cls, _, repositories = sources
    kinds = np.full(len(repositories), "")
    head = train_domain_head(cls, kinds, repositories)
    assert (head.logits(cls[0]) <= domain_limit(np.zeros(len(kinds), int), kinds, head.logits(cls[0]))).all()


def test_too_few_sources_of_a_class_are_named(sources):
    cls, labels, repositories = sources
    images = tuple(
        Photograph(f"{i}.jpg", int(label), "one" if label == 0 else repository, "x")
        for i, (label, repository) in enumerate(zip(labels, repositories))
    )
    features = Features(images, cls, np.tile([400, 300], (len(images), 1)).astype(np.int32), ())
    with pytest.raises(ValueError, match="REAL images must come from two or more. Received: one"):
        train_detector(features, report=lambda line: None)


def test_fewer_repositories_than_folds_make_fewer_folds(sources):
    cls, labels, repositories = sources
    images = tuple(
        Photograph(f"{i}.jpg", int(label), f"r{int(name[1:]) % 3}", "x")
        for i, (label, name) in enumerate(zip(labels, repositories))
    )
    features = Features(images, cls, np.tile([400, 300], (len(images), 1)).astype(np.int32), ())
    assert set(train_detector(features, report=lambda line: None).fold_of) == {0, 1, 2}
