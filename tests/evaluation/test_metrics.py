"""Metrics against scikit-learn, their intervals, and known cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics

from deepfake_tf.evaluation.metrics import compute_metrics, mcnemar
from tests.evaluation.predictions import random_predictions


@pytest.mark.parametrize("decimals", [17, 1], ids=["distinct", "tied"])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_metrics_equal_scikit_learns(decimals, threshold):
    labels, probabilities = random_predictions(997, decimals=decimals)
    metrics = compute_metrics(labels, probabilities, threshold, bootstrap_samples=10)
    called_fake = probabilities >= threshold
    false_positive_rate, true_positive_rate, _ = sklearn.metrics.roc_curve(
        labels, probabilities, drop_intermediate=False
    )
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(labels, called_fake),
        "precision": sklearn.metrics.precision_score(labels, called_fake),
        "recall": sklearn.metrics.recall_score(labels, called_fake),
        "f1": sklearn.metrics.f1_score(labels, called_fake),
        "roc_auc": sklearn.metrics.roc_auc_score(labels, probabilities),
        "average_precision": sklearn.metrics.average_precision_score(labels, probabilities),
        "brier": sklearn.metrics.brier_score_loss(labels, probabilities),
        "tpr_at_1_percent_fpr": true_positive_rate[false_positive_rate <= 0.01].max(),
    }
    for name, value in expected.items():
        assert metrics[name]["value"] == pytest.approx(value, abs=1e-12), name
    matrix = sklearn.metrics.confusion_matrix(labels, called_fake)
    names = ("true_real", "false_fake", "false_real", "true_fake")
    assert metrics["confusion_matrix"] == dict(zip(names, matrix.ravel().tolist()))
    assert metrics["n"] == 997
    json.dumps(metrics, allow_nan=False)


def test_resampling_weights_count_like_repeated_images():
    labels, probabilities = random_predictions(60, decimals=1)
    repeated = np.repeat(np.arange(60), np.random.default_rng(1).integers(0, 4, 60))
    # Every image a thousand times leaves the bootstrap nearly nothing to vary.
    many = compute_metrics(np.repeat(labels, 1000), np.repeat(probabilities, 1000), bootstrap_samples=20)
    once = compute_metrics(labels, probabilities, bootstrap_samples=20)
    for name in ("accuracy", "roc_auc", "average_precision", "ece", "brier"):
        assert many[name]["value"] == pytest.approx(once[name]["value"], abs=1e-12)
        assert many[name]["low"] == pytest.approx(once[name]["value"], abs=0.01)
    # A subset with repeats is what a resample is.
    subset = compute_metrics(labels[repeated], probabilities[repeated], bootstrap_samples=1)
    assert subset["roc_auc"]["value"] == pytest.approx(
        sklearn.metrics.roc_auc_score(labels[repeated], probabilities[repeated])
    )


def test_calibration_error_of_a_known_case():
    # Called FAKE at 0.9, right in 6 of 10; called REAL at 0.2, so with confidence 0.8, right in 10 of 10.
    labels = np.array([1] * 6 + [0] * 4 + [0] * 10)
    probabilities = np.array([0.9] * 10 + [0.2] * 10)
    assert compute_metrics(labels, probabilities)["ece"]["value"] == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)


def test_classwise_calibration_error_of_a_known_case():
    # 0.9 where 6 of 10 are FAKE, 0.2 where none of 10 is: gaps of 0.3 and 0.2, each of half the images.
    labels = np.array([1] * 6 + [0] * 4 + [0] * 10)
    probabilities = np.array([0.9] * 10 + [0.2] * 10)
    metrics = compute_metrics(labels, probabilities)
    assert metrics["classwise_ece"]["value"] == pytest.approx(0.25)
    assert metrics["mean_probability"]["value"] == pytest.approx(0.55)


def test_a_bias_shows_in_the_classwise_error_and_in_the_mean():
    # Two images in ten are wrong on either side of 0.5, and P is too high by 0.1 everywhere.
    labels = np.array([1] * 8 + [0] * 2 + [1] * 2 + [0] * 8)
    probabilities = np.array([0.9] * 10 + [0.3] * 10)
    metrics = compute_metrics(labels, probabilities)
    assert metrics["classwise_ece"]["value"] == pytest.approx(0.1)
    assert metrics["mean_probability"]["value"] - labels.mean() == pytest.approx(0.1)


def test_equal_probabilities_share_a_bin():
    labels = np.array([0] * 50 + [1] * 50)  # in this order, bins that cut through the tie would show errors of 0.5
    assert compute_metrics(labels, np.full(100, 0.5))["classwise_ece"]["value"] == 0


def test_interval_covers_the_truth_and_follows_the_seed():
    # Accuracy of 95 %: a binomial standard error of 0.69 points at 1,000 images.
    labels = np.arange(1000) % 2
    wrong = np.random.default_rng(0).random(1000) < 0.05
    probabilities = np.where(labels ^ wrong, 0.9, 0.1)
    metrics = compute_metrics(labels, probabilities, seed=1)
    accuracy = metrics["accuracy"]
    assert accuracy["low"] < 0.95 < accuracy["high"]
    assert accuracy["high"] - accuracy["low"] == pytest.approx(2 * 1.96 * 0.0069, rel=0.15)
    assert metrics == compute_metrics(labels, probabilities, seed=1)
    assert metrics != compute_metrics(labels, probabilities, seed=2)


def test_perfect_constant_and_hopeless_predictions():
    labels = np.array([0, 0, 1, 1])
    perfect = compute_metrics(labels, labels.astype(float))
    assert {perfect[name]["low"] for name in ("accuracy", "roc_auc", "f1", "tpr_at_1_percent_fpr")} == {1.0}
    constant = compute_metrics(labels, np.full(4, 0.2))
    assert constant["precision"]["value"] == constant["f1"]["value"] == constant["tpr_at_1_percent_fpr"]["value"] == 0
    assert constant["roc_auc"]["value"] == 0.5
    assert compute_metrics(labels, 1.0 - labels)["roc_auc"]["value"] == 0.0


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [0.5], r"two arrays \[N\] of one length. Received: \(2,\) and \(1,\)"),
        ([[0], [1]], [[0.5], [0.5]], r"Received: \(2, 1\)"),
        ([], [], "Received"),
        ([0, 2], [0.5, 0.5], r"0 \(REAL\) or 1 \(FAKE\). Received: \[2\]"),
        ([0, 1], [0.5, np.nan], "such as nan at position 1"),
        ([0, 1], [-1.0, 0.5], "such as -1.0 at position 0"),
        ([1, 1], [0.5, 0.6], r"both classes are needed. Received: {'REAL': 0, 'FAKE': 2}"),
    ],
)
def test_unusable_input_is_an_error_that_shows_it(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(np.array(labels), np.array(probabilities))


def test_threshold_and_sample_count_are_checked():
    with pytest.raises(ValueError, match=r"threshold=1.5"):
        compute_metrics(np.array([0, 1]), np.array([0.1, 0.9]), threshold=1.5)
    with pytest.raises(ValueError, match="Received: 0"):
        compute_metrics(np.array([0, 1]), np.array([0.1, 0.9]), bootstrap_samples=0)


def test_mcnemar_is_the_exact_binomial_test():
    labels = np.zeros(20, int)
    a, b = np.zeros(20), np.zeros(20)
    a[0], b[1:9] = 0.9, 0.9  # a is wrong once where b is right, b eight times where a is right
    assert mcnemar(labels | (np.arange(20) == 19), a, b) == {
        "only_a_right": 8,
        "only_b_right": 1,
        "p_value": pytest.approx(2 * (1 + 9) / 2**9),
    }


def test_mcnemar_of_equal_models_and_own_thresholds():
    labels = np.array([0, 1, 1])
    probabilities = np.array([0.3, 0.4, 0.9])
    assert mcnemar(labels, probabilities, probabilities)["p_value"] == 1.0
    assert mcnemar(labels, probabilities, probabilities, threshold_a=0.35)["only_a_right"] == 1
