"""The network read out of a SavedModel, and run by every library that is installed."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf.benchmark.peers import build_peers
from deepfake_tf.export.savedmodel import exported_of, write_savedmodel
from deepfake_tf.networks import build_model, flip_averaged
from deepfake_tf.networks.graph import network_function, read_steps, run_in_tensorflow
from deepfake_tf.networks.pretrained import load_pretrained


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=["the fixture's", "pooled and flip averaged"])
def saved_model(request, exported_model, tmp_path_factory):
    if request.param == "the fixture's":
        return exported_model.path, exported_model.keras_model, 1
    from deepfake_tf.decision.domain import Domain

    model = flip_averaged(build_model("resnet18", 112))
    domain = Domain(32, 32, np.zeros((2, 512), np.float32), np.eye(512, dtype=np.float32), threshold=1e6)
    path = tmp_path_factory.mktemp("flipped") / "1"
    write_savedmodel(exported_of(model, domain), exported_model.calibration, {}, path, exported_model.warmup_images)
    return path, model, 2


def test_the_steps_are_the_network(saved_model, images):
    path, model, factor = saved_model
    side = 224 // factor
    pooled = images.reshape(2, side, factor, side, factor, 3).mean(axis=(2, 4))
    expected = model(pooled, training=False).numpy()
    steps = read_steps(path)
    assert sum(step.kind == "convolution" for step in steps) == 20 * factor
    np.testing.assert_allclose(network_function(path)(tf.constant(images)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run_in_tensorflow(steps)(tf.constant(images)), expected, rtol=1e-4, atol=1e-4)
    narrow = run_in_tensorflow(steps, tf.bfloat16)(tf.constant(images)).numpy()
    np.testing.assert_allclose(narrow, expected, atol=0.05 * max(1.0, np.abs(expected).max()))


def test_training_goes_on_from_an_exported_network(saved_model, images):
    path, model, factor = saved_model
    side = 224 // factor
    small = images.reshape(2, side, factor, side, factor, 3).mean(axis=(2, 4))
    restored = build_model("resnet18", side)
    assert load_pretrained(restored, str(path), small) == f"weights of {path}; fresh: none"
    views = [small, small[:, :, ::-1]][:factor]  # the second model averages over both
    found = np.mean([restored(view, training=False) for view in views], axis=0)
    np.testing.assert_allclose(found, model(small, training=False), rtol=1e-3, atol=1e-3)


def test_peers_compute_the_same(saved_model, images):
    path, _, _ = saved_model
    expected = network_function(path)(tf.constant(images)).numpy()
    peers, missing = build_peers(read_steps(path))
    assert len(peers) + len(missing) == 5
    assert ("PyTorch float32" in peers) == (importlib.util.find_spec("torch") is not None)
    for name, run in peers.items():
        tolerance = 1e-3 if name.endswith("float32") else 0.05 * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(run(images), expected, atol=tolerance, err_msg=name)


def test_a_savedmodel_without_a_network_is_refused(tmp_path):
    module = tf.Module()
    module.run = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.run})
    with pytest.raises(ValueError, match="holds no network"):
        read_steps(tmp_path / "1")
