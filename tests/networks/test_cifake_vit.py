"""The teacher: adapters on CLIP's frozen blocks, and the file that carries what was trained."""

import keras
import numpy as np
import pytest

from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.networks import build_model, cifake_vit, with_features
from deepfake_tf.networks.cifake_vit import build_cifake_vit, load_teacher, save_teacher
from deepfake_tf.networks.clip_weights import load_clip_weights
from deepfake_tf.networks.pretrained import load_pretrained
from deepfake_tf.networks.vit_b16 import build_vit_b16
from deepfake_tf.shipped import shipped_folder
from tests.networks import reference_vit_b16 as reference


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifake_vit, "BLOCKS", 1)
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "clip.npz"
    np.savez(path, **reference.random_arrays(seed=0, blocks=1))
    config = TrainingConfig(model="cifake_vit", image_size=96, weights=path.name)
    (path.parent / "config.json").write_text(config.to_json())
    return path


def test_fresh_adapters_change_nothing(clip):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 96, 96, 3), np.uint8)
    tokens = []
    for rank in (0, 4):
        model = build_vit_b16(96, 1, adapter_rank=rank)
        load_clip_weights(model, clip)
        tokens.append(keras.ops.convert_to_numpy(model(pixels)["tokens"]))
    np.testing.assert_allclose(*tokens, atol=1e-4)


def test_training_leaves_clip_alone_and_the_file_brings_it_back(clip, tmp_path):
    generator = np.random.default_rng(2)
    images, labels = generator.uniform(-1, 1, (4, 96, 96, 3)).astype("float32"), np.array([0, 1, 0, 1])
    model = build_cifake_vit()
    load_clip_weights(model.get_layer("vit_b16"), clip)
    dense = model.get_layer("vit_b16").get_layer("block0_fc1")
    before = dense.get_weights()
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    losses = [model.train_on_batch(images, labels) for _ in range(6)]
    assert losses[-1] < losses[0]
    for array, after in zip(before, dense.get_weights()):
        np.testing.assert_array_equal(array, after)
    save_teacher(model, clip.parent / "teacher.npz")
    again = build_cifake_vit()
    load_pretrained(again, str(clip.parent / "teacher.npz"))
    np.testing.assert_allclose(again.predict(images, verbose=0), model.predict(images, verbose=0), atol=2e-2)


def test_starts_from_clip_alone(clip):
    model = build_model("cifake_vit", 96)
    assert "CLIP's weights" in load_pretrained(model, str(clip))
    with pytest.raises(ValueError, match="starts from CLIP"):
        load_pretrained(model, "imagenet")


def test_the_teacher_in_the_repository_is_of_this_network():
    with np.load(shipped_folder() / "cifake_vit" / "teacher.npz") as archive:
        shapes = {name: archive[name].shape for name in archive}
        assert all(np.isfinite(archive[name]).all() for name in archive)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifake_vit, "BLOCKS", 8)
        weights = {weight.path: tuple(weight.shape) for weight in build_cifake_vit().trainable_weights}
    assert shapes == weights


def test_another_networks_file_is_refused(clip):
    np.savez(clip.parent / "other.npz", kernel=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz holds other weights. Received: \d+ names"):
        load_teacher(build_cifake_vit(), clip.parent / "other.npz")


def test_the_map_sums_to_the_logit():
    """What explanation and domain check read: features whose mean, through the head, is the logit."""
    model = build_cifake_vit()
    for weight in model.trainable_weights:  # layer norms and biases that do something
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.1, seed=3))
    images = np.random.default_rng(4).uniform(-1, 1, (3, 96, 96, 3)).astype("float32")
    outputs = {name: keras.ops.convert_to_numpy(value) for name, value in with_features(model)(images).items()}
    assert outputs["features"].shape == (3, 6, 6, 1536)
    kernel, bias = model.get_layer("fc").get_weights()
    np.testing.assert_allclose(outputs["features"].mean((1, 2)) @ kernel + bias, outputs["logit"], atol=1e-4)
    # The mean is the layer norm of the class token beside the mean of the patches.
    pixels = model.get_layer("pixels")(images)
    tokens = keras.ops.convert_to_numpy(model.get_layer("vit_b16")(pixels)["tokens"])
    both = np.concatenate([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
    gamma, beta = model.get_layer("head_norm").get_weights()
    normed = (both - both.mean(1, keepdims=True)) / np.sqrt(both.var(1, keepdims=True) + 1e-5) * gamma + beta
    np.testing.assert_allclose(outputs["features"].mean((1, 2)), normed, atol=1e-4)
