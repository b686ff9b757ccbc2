import numpy as np
import pytest
from scipy.special import expit

from deepfake_tf.decision.calibration import BAND_ACCURACY, domain_distance, fit_calibration, fit_domain, fit_offset


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
def test_the_offset_undoes_a_bias_whatever_the_balance_of_the_classes(kept):
    labels, logits = calibrated_sample()
    used = (labels == 0) | (np.random.default_rng(1).random(len(labels)) < kept)
    assert fit_offset(labels[used], 2 * logits[used] + 1.5) == pytest.approx(1.5, abs=0.15)
    assert fit_offset(labels[labels == 0], logits[labels == 0]) == 0


def test_outside_the_band_the_accuracy_is_reached_and_the_band_is_no_wider_than_needed():
    labels, logits = calibrated_sample()
    calibration = fit_calibration(labels, logits)
    probabilities = expit(logits / calibration.temperature)
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


def test_domain_accepts_validation_and_refuses_what_is_far():
    generator = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    scales = np.linspace(0.1, 3.0, 16)
    features = (generator.normal(0, scales, (4000, 16)) + labels[:, None]).astype(np.float32)
    domain = fit_domain(features[:3000], labels[:3000], features[3000:], np.array([[32, 32]]))
    inside = domain_distance(features[3000:], domain.means, domain.whitening) <= domain.threshold
    assert 0.99 <= inside.mean() <= 1.0
    # The same step is far along a narrow direction and near along a wide one.
    near, far = np.zeros((2, 1, 16), np.float32)
    near[0, -1] = far[0, 0] = 2.0
    assert domain_distance(near, domain.means, domain.whitening)[0] <= domain.threshold
    assert domain_distance(far, domain.means, domain.whitening)[0] > domain.threshold
    assert domain.accepted_sides == (16, 64)


def test_the_roughest_images_are_the_limit():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(400, 4)), np.arange(400) % 2
    rough = generator.uniform(size=100)
    limit = lambda *more: fit_domain(features, labels, features[:100], np.array([[32, 32]]), *more).roughness_limit
    assert limit(rough) == pytest.approx(rough.max(), abs=0.01)
    assert limit() == np.inf
