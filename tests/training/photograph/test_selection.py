import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_tf.training.photograph.selection import (
    found_at,
    grouped_folds,
    out_of_fold,
    shape_balanced,
    source_weights,
    summarise,
)


def collections(seed=0):
    generator = np.random.default_rng(seed)
    sizes = generator.integers(5, 60, 40)
    repositories = np.repeat([f"r{i}" for i in range(40)], sizes)
    labels = generator.integers(0, 2, len(repositories))
    return labels, repositories


def test_repositories_stay_whole_and_folds_are_even():
    labels, repositories = collections()
    together = [("r3", "r17", "r29"), ("r4", "r5")]
    fold_of = grouped_folds(labels, repositories, 8, together)
    for repository in np.unique(repositories):
        assert len(set(fold_of[repositories == repository])) == 1
    for group in together:
        assert len(set(fold_of[np.isin(repositories, group)])) == 1
    for label in (0, 1):
        counts = np.bincount(fold_of[labels == label], minlength=8)
        assert counts.min() > 0.7 * counts.mean()
        assert counts.max() < 1.4 * counts.mean()


def test_too_few_repositories_are_refused():
    labels, repositories = collections()
    with pytest.raises(ValueError, match="Received: 40"):
        grouped_folds(labels, repositories, 41, ())


def test_a_source_counts_by_the_root_of_its_images():
    labels = np.repeat([0, 0, 1], [100, 25, 75])
    repositories = np.repeat(["a", "b", "a"], [100, 25, 75])
    weights = source_weights(labels, repositories)
    assert weights.mean() == pytest.approx(1)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum())
    assert weights[:100].sum() / weights[100:125].sum() == pytest.approx(10 / 5)


def test_squares_say_half_as_much():
    labels = np.repeat([0, 1], 100)
    square = np.concatenate([np.arange(100) < 20, np.arange(100) < 80])
    weights = shape_balanced(np.ones(200), labels, square)
    sums = np.array([[weights[(labels == c) & (square == q)].sum() for q in (True, False)] for c in (0, 1)])
    np.testing.assert_allclose(sums.sum(1), 100)
    odds = (sums[1, 0] / sums[1, 1]) / (sums[0, 0] / sums[0, 1])
    assert np.log(odds) == pytest.approx(np.log(16) / 2)
    np.testing.assert_allclose(shape_balanced(np.ones(4), np.array([0, 0, 1, 1]), np.zeros(4, bool)), 1)


def test_each_image_is_judged_by_a_head_that_saw_no_neighbour():
    labels, repositories = collections()
    fold_of = grouped_folds(labels, repositories, 5, ())

    def fit(train):
        seen = set(repositories[train])
        return lambda rows: np.array([repositories[row] in seen for row in rows], float)

    np.testing.assert_array_equal(out_of_fold(fit, fold_of), np.zeros(len(labels)))


def test_figures():
    labels = np.repeat([0, 1], 200)
    logits = np.concatenate([np.arange(200), np.arange(200) + 150]).astype(float)
    repositories = np.tile(["a", "b"], 200)
    figures = summarise(labels, repositories, logits)
    assert figures["auc"] == pytest.approx(roc_auc_score(labels, logits))
    assert figures["weighted_auc"] == pytest.approx(figures["auc"])
    in_a, in_b = repositories == "a", repositories == "b"
    expected = (roc_auc_score(labels[in_a], logits[in_a]) + roc_auc_score(labels[in_b], logits[in_b])) / 2
    assert figures["paired_auc"] == pytest.approx(expected)
    for percent in (1, 2):
        assert figures[f"found_at_{percent}_percent"] == found_at(labels, logits, percent / 100)
    assert found_at(labels, logits, 0.01) == pytest.approx((350 - 198) / 200, abs=0.01)
