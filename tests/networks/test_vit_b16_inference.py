import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf.networks.clip_weights import interpolate_positions
from deepfake_tf.networks.vit_b16_inference import compute_features, first_blocks, float_dense
from tests.networks import reference_vit_b16 as reference


@pytest.fixture(scope="module")
def arrays():
    arrays = reference.random_arrays(seed=0, blocks=3)
    return {**arrays, "position_embedding": interpolate_positions(arrays["position_embedding"], 4)}


@pytest.mark.parametrize("batch", [1, None])
def test_equals_the_reference(arrays, batch):
    pixels = np.random.default_rng(1).integers(0, 256, (batch or 3, 64, 64, 3), np.uint8)
    spec = tf.TensorSpec([batch, 64, 64, 3], tf.uint8)
    run = tf.function(lambda pixels: compute_features(arrays, pixels, float_dense(arrays)), input_signature=[spec])
    features = run(pixels)
    states = reference.forward(arrays, pixels, arrays["position_embedding"])
    np.testing.assert_allclose(features["cls"], np.stack([state[:, 0] for state in states], 1), atol=2e-3)
    assert features["attention"].shape == (len(pixels), 3, 12, 16)
    assert features["values"].shape == (len(pixels), 3, 12, 16, 64)
    assert float(tf.reduce_max(tf.reduce_sum(features["attention"], axis=-1))) < 1
    assert float(tf.reduce_min(features["attention"])) > 0


def test_attention_and_values_explain_what_the_class_token_gains(arrays):
    """With the class token's own share and the dense layers taken away, they make up the attention's output."""
    blind = {name: array.copy() for name, array in first_blocks(arrays, 1).items()}
    blind["blocks.0.q.weight"][:] = blind["blocks.0.fc2.weight"][:] = 0
    for name in ("q", "v", "out", "fc2"):
        blind[f"blocks.0.{name}.bias"][:] = 0
    pixels = np.random.default_rng(2).integers(0, 256, (1, 64, 64, 3), np.uint8)
    features = compute_features(blind, tf.constant(pixels), float_dense(blind))
    np.testing.assert_allclose(features["attention"], 1 / 17, rtol=1e-5)  # a query of zeros looks everywhere alike
    found = np.einsum("nbhp,nbhpd->nhd", features["attention"], features["values"]).reshape(-1)
    kernel = blind["blocks.0.out.weight"] * blind["blocks.0.out.scale"]
    without = {**blind, "blocks.0.out.weight": np.zeros_like(blind["blocks.0.out.weight"])}
    before = compute_features(without, tf.constant(pixels), float_dense(without))["cls"][0, 0]
    own = np.asarray(features["cls"][0, 0] - before) - found @ kernel
    v = blind["blocks.0.v.weight"] * blind["blocks.0.v.scale"]
    x = np.asarray(before)
    centred = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    normed = centred * blind["blocks.0.layer_norm1.weight"] + blind["blocks.0.layer_norm1.bias"]
    np.testing.assert_allclose(own, normed @ v / 17 @ kernel, atol=1e-3)


def test_impossible_numbers_of_blocks(arrays):
    assert sum(name.endswith("fc1.bias") for name in first_blocks(arrays, 2)) == 2
    for blocks in (0, 4):
        with pytest.raises(ValueError, match=f"Received: blocks={blocks}"):
            first_blocks(arrays, blocks)
