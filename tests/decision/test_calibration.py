import numpy as np
import pytest
from scipy.special import expit

from deepfake_tf.decision.calibration import (
    BAND_ACCURACY,
    FOLDS,
    cross_fit,
    fit_calibration,
)
from deepfake_tf.evaluation.metrics import compute_metrics


def calibrated_sample(count=20_000, seed=0):
    """Labels drawn with exactly the probability that the logits state."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.0, 3.0, count)
    labels = (generator.random(count) < expit(logits)).astype(np.int64)
    return labels, logits


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_temperature_undoes_overconfidence(overconfidence):
    labels, logits = calibrated_sample()
    calibration = fit_calibration(labels, logits * overconfidence)
    assert calibration.temperature == pytest.approx(overconfidence, rel=0.05)


@pytest.mark.parametrize("kept", [1.0, 0.25])  # of FAKE
def test_the_intercept_undoes_a_bias_whatever_the_balance_of_the_classes(kept):
    labels, logits = calibrated_sample()
    used = (labels == 0) | (np.random.default_rng(1).random(len(labels)) < kept)
    calibration = fit_calibration(labels[used], 2 * logits[used] + 1.5)
    assert calibration.probabilities(2 * logits + 1.5) == pytest.approx(expit(logits), abs=0.03)
    assert -calibration.intercept * calibration.temperature == pytest.approx(1.5, abs=0.15)


def test_with_one_class_missing_there_is_no_intercept():
    labels, logits = calibrated_sample()
    assert fit_calibration(labels[labels == 0], logits[labels == 0]).intercept == 0


def test_cross_fitted_probabilities_of_a_biased_network_are_calibrated():
    labels, logits = calibrated_sample()
    biased = compute_metrics(labels, expit(logits + 0.7), bootstrap_samples=1)
    probabilities, in_band = cross_fit(labels, logits + 0.7)
    calibrated = compute_metrics(labels, probabilities, bootstrap_samples=1)
    assert biased["classwise_ece"]["value"] > 0.03
    assert calibrated["classwise_ece"]["value"] < 0.006  # chance alone gives 0.004
    assert calibrated["mean_probability"]["value"] == pytest.approx(labels.mean(), abs=1e-3)
    counts = calibrated["confusion_matrix"]
    assert counts["false_fake"] / counts["false_real"] == pytest.approx(1, abs=0.1)
    assert biased["confusion_matrix"]["false_fake"] > 2 * biased["confusion_matrix"]["false_real"]
    right = (probabilities >= 0.5) == (labels == 1)
    assert right[~in_band].mean() == pytest.approx(BAND_ACCURACY, abs=2e-3)
    assert 0 < in_band.mean() < 1


def test_no_image_is_calibrated_by_itself_or_by_its_copy():
    labels, logits = calibrated_sample(1000)
    logits[1], labels[1] = logits[0], labels[0]
    groups = [b"copied", b"copied", *(b"%d" % index for index in range(998))]
    before = cross_fit(labels, logits, groups=groups)[0]
    changed = logits.copy()
    changed[:2] = -60.0 if labels[0] else 60.0  # as wrong as can be: every fit that sees it changes
    after = cross_fit(labels, changed, groups=groups)[0]
    same = before == after
    assert 1000 / FOLDS - 3 <= same.sum() <= 1000 / FOLDS
    assert after[0] == after[1]


def test_cross_fitting_needs_two_images():
    probabilities, _ = cross_fit(np.array([0, 1]), np.array([-1.0, 1.0]))
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    with pytest.raises(ValueError, match="at least two unlike images. Received: 3, all alike"):
        cross_fit(np.array([1, 1, 1]), np.zeros(3), groups=[b"a"] * 3)


def test_outside_the_band_the_accuracy_is_reached_and_the_band_is_no_wider_than_needed():
    labels, logits = calibrated_sample()
    calibration = fit_calibration(labels, logits)
    probabilities = calibration.probabilities(logits)
    low, high = calibration.band
    outside = (probabilities <= low) | (probabilities >= high)
    right = (probabilities >= 0.5) == (labels == 1)
    assert right[outside].mean() >= BAND_ACCURACY
    wider = np.abs(probabilities - 0.5) > (high - 0.5) * 0.97
    assert right[wider].mean() < BAND_ACCURACY
    assert low + high == pytest.approx(1.0)


def test_no_band_where_all_is_right():
    labels = np.array([0, 1] * 50)
    assert fit_calibration(labels, np.where(labels == 1, 4.0, -4.0)).band == (0.5, 0.5)
