"""The teacher: adapters on CLIP's frozen blocks, and the file that carries what was trained."""

import keras
import numpy as np
import pytest

from deepfake_tf.networks import build_model, cifake_vit
from deepfake_tf.networks.cifake_vit import build_cifake_vit, load_teacher, save_teacher
from deepfake_tf.networks.pretrained import load_pretrained
from deepfake_tf.networks.vit_b16 import build_vit_b16, load_clip_weights
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
    save_teacher(model, tmp_path / "teacher.npz")
    again = build_cifake_vit()
    load_teacher(again, clip, tmp_path / "teacher.npz")
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


def test_another_networks_file_is_refused(clip, tmp_path):
    np.savez(tmp_path / "other.npz", kernel=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz holds other weights. Received: \d+ names"):
        load_teacher(build_cifake_vit(), clip, tmp_path / "other.npz")
