"""What counts as unlike the training data."""

import numpy as np
import pytest

from deepfake_tf.decision.domain import distance_of, feature_distance, fit_domain, roughness


def test_domain_accepts_validation_and_refuses_what_is_far():
    generator = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    scales = np.linspace(0.1, 3.0, 16)
    features = (generator.normal(0, scales, (4000, 16)) + labels[:, None]).astype(np.float32)
    domain = fit_domain(features[:3000], labels[:3000], features[3000:], np.array([[32, 32]]), np.ones(100))
    inside = feature_distance(features[3000:], domain).numpy() <= domain.threshold
    assert 0.99 <= inside.mean() <= 1.0
    # The same step is far along a narrow direction and near along a wide one.
    near, far = np.zeros((2, 1, 16), np.float32)
    near[0, -1] = far[0, 0] = 2.0
    assert feature_distance(near, domain)[0] <= domain.threshold
    assert feature_distance(far, domain)[0] > domain.threshold
    assert domain.accepted_sides == (16, 64)


def test_the_roughest_images_are_the_limit():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(400, 4)), np.arange(400) % 2
    rough = generator.uniform(size=100)
    domain = fit_domain(features, labels, features[:100], np.array([[32, 32]]), rough)
    assert domain.roughness_limit == pytest.approx(rough.max(), abs=0.01)


@pytest.mark.parametrize("components", [8, 3])
def test_the_distance_is_that_of_numpy(components, monkeypatch):
    """Mahalanobis: of all features, or in the plane of their principal components."""
    monkeypatch.setattr("deepfake_tf.decision.domain.MAX_COMPONENTS", components)
    generator = np.random.default_rng(0)
    features = (generator.normal(size=(400, 8)) @ generator.normal(size=(8, 8))).astype(np.float32)
    labels = np.arange(400) % 2
    images = generator.uniform(-1, 1, (5, 64, 64, 3)).astype(np.float32)
    domain = fit_domain(features, labels, features[:100], np.array([[32, 32]]), np.full(10, 0.5))
    assert domain.whitening.shape == (8, components)
    means = np.stack([features[labels == label].mean(0, dtype=np.float64) for label in (0, 1)])
    covariance = np.cov((features - means[labels]).T, bias=True)
    covariance += 1e-3 * np.trace(covariance) / 8 * np.eye(8)
    plane = np.linalg.svd(covariance)[0][:, :components]
    inverse = np.linalg.inv(plane.T @ covariance @ plane)
    offsets = [(features[:5] - mean) @ plane for mean in means]
    by_features = np.sqrt(np.min([np.einsum("ni,ij,nj->n", part, inverse, part) for part in offsets], axis=0))
    np.testing.assert_allclose(feature_distance(features[:5], domain), by_features, rtol=1e-5)
    across = np.abs(images[:, :, 2:] - images[:, :, :-2]).mean((1, 2, 3))
    down = np.abs(images[:, 2:] - images[:, :-2]).mean((1, 2, 3))
    np.testing.assert_allclose(roughness(images), (across + down) / 2, rtol=1e-5)
    expected = np.maximum(by_features, domain.threshold * (across + down) / 2 / domain.roughness_limit)
    np.testing.assert_allclose(distance_of(features[:5], images, domain), expected, rtol=1e-5)
