import numpy as np
import pytest

from deepfake_tf.audit.labels import SAMPLE, check_labels, confident_contradictions, sample_positions
from deepfake_tf.contract import Prediction
from deepfake_tf.data.examples import Examples

COUNT = 200


class Knowing:
    """A detector that reads P(FAKE) from the file's bytes; "out" is out of its domain."""

    def __init__(self, threshold=0.5):
        self._threshold = threshold

    def predict_iter(self, images):
        for image in images:
            probability = -1.0 if image == b"out" else float(image)
            label = "FAKE" if probability >= self._threshold else "REAL"
            yield Prediction("", "cifake", label, 1.0, probability, 0.0, image != b"out", "", "", 32, 32, "")


def make(probabilities, labels) -> Examples:
    files = [b"out" if p is None else b"%.4f" % p for p in probabilities]
    return Examples([f"{i}.png" for i in range(len(files))], np.array(labels), files, [""] * len(files))


def check(probabilities, labels, detector=None):
    return check_labels(make(probabilities, labels), np.ones(len(labels), bool), detector or Knowing())


def good_set():
    labels = np.arange(COUNT) % 2
    rng = np.random.default_rng(0)
    return np.where(labels, 1, 0) * 0.9 + rng.uniform(0, 0.1, COUNT), labels


def test_good_labels():
    found = check(*good_set())
    assert found.verdict == "ok"
    assert not found.details["inverted"]
    assert found.details["contradictions"] == []


def test_inverted_labels_stop():
    probabilities, labels = good_set()
    found = check(probabilities, 1 - labels)
    assert found.verdict == "stop"
    assert "inverted" in found.finding
    assert "--swap-labels" in found.remedy
    assert found.details["contradictions"] == []  # once swapped, all is well


def test_planted_mistakes_are_listed():
    probabilities, labels = good_set()
    wrong = [3, 50, 117]
    probabilities[wrong] = np.where(labels[wrong], 0.99, 0.01)
    labels[wrong] = 1 - labels[wrong]
    found = check(probabilities, labels)
    assert {row["file"] for row in found.details["contradictions"]} == {f"{i}.png" for i in wrong}
    assert found.verdict == "ok"  # three of 200 are worth a line, no more
    assert "3 images contradict" in found.finding


def test_many_mistakes_are_worth_a_look():
    probabilities, labels = good_set()
    labels[:30] = 1 - labels[:30]
    found = check(probabilities, labels)
    assert found.verdict == "look"
    assert len(found.details["contradictions"]) == 30


def test_a_model_that_knows_nothing_proves_nothing():
    rng = np.random.default_rng(0)
    found = check(rng.uniform(0, 1, COUNT), np.arange(COUNT) % 2)
    assert found.verdict == "look"
    assert not found.details["inverted"]


def test_out_of_domain_is_not_judged():
    probabilities, labels = good_set()
    found = check([None] * COUNT, labels)
    assert found.verdict == "look"
    assert "could judge 0" in found.finding
    mixed = check([None, None, *(1 - probabilities[2:])], labels)
    assert mixed.details["out_of_domain_or_unscored"] == 2
    assert mixed.verdict == "stop"


def test_agreement_is_by_the_threshold_of_the_model():
    labels = np.arange(COUNT) % 2
    found = check(np.where(labels, 0.3, 0.1), labels, Knowing(threshold=0.2))
    assert found.verdict == "ok"
    assert found.details["agreement"] == {"REAL": 1.0, "FAKE": 1.0}


def test_a_sample_is_called_one():
    probabilities, labels = good_set()
    assert "sample" not in check(probabilities, labels).finding
    many = check(np.tile(probabilities, 6), np.tile(labels, 6))
    assert f"This is a sample of {2 * SAMPLE:,}." in many.finding


def test_sample_is_balanced_steady_and_readable():
    labels = np.array([0] * 3_000 + [1] * 40)
    readable = np.ones(len(labels), bool)
    readable[:100] = False
    positions = sample_positions(labels, readable)
    assert np.sum(labels[positions] == 0) == SAMPLE
    assert np.sum(labels[positions] == 1) == 40
    assert positions.min() >= 100
    np.testing.assert_array_equal(positions, sample_positions(labels, readable))


def test_confident_contradictions_by_hand():
    # Thresholds: P(REAL) of REAL, (0.9 + 0.8 + 0.1) / 3 = 0.6; P(FAKE) of FAKE, (0.9 + 0.7 + 0.35) / 3 = 0.65.
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array([0.1, 0.2, 0.9, 0.9, 0.7, 0.35])
    np.testing.assert_array_equal(confident_contradictions(labels, probabilities), [2, 5])
    probabilities[5] = 0.45  # P(REAL) 0.55 < 0.6: no longer confident
    np.testing.assert_array_equal(confident_contradictions(labels, probabilities), [2])


@pytest.mark.parametrize("seed", [0, 1])
def test_more_probable_class_wins_where_both_thresholds_are_low(seed):
    rng = np.random.default_rng(seed)
    labels, probabilities = np.arange(COUNT) % 2, rng.uniform(0, 1, COUNT)
    found = confident_contradictions(labels, probabilities)
    assert np.all((probabilities[found] > 0.5) == (labels[found] == 0))
