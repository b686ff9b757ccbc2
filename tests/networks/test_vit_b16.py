import keras
import numpy as np
import pytest
import safetensors.numpy

from deepfake_tf.networks.clip_weights import interpolate_positions, load_clip_weights
from deepfake_tf.networks.vit_b16 import build_vit_b16
from tests.networks import reference_vit_b16 as reference

BLOCKS = 2


@pytest.fixture(scope="module")
def arrays():
    return reference.random_arrays(seed=0, blocks=BLOCKS)


@pytest.fixture(scope="module")
def weights(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "clip.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("size", [224, 96])
def test_equals_the_reference(arrays, weights, size):
    pixels = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), np.uint8)
    model = build_vit_b16(size, BLOCKS)
    load_clip_weights(model, weights)
    outputs = model(pixels)
    positions = interpolate_positions(arrays["position_embedding"], size // 16)
    states = reference.forward(arrays, pixels, positions)
    np.testing.assert_allclose(outputs["tokens"], states[-1], atol=2e-3)
    np.testing.assert_allclose(outputs["cls"], np.stack([state[:, 0] for state in states], 1), atol=2e-3)


def test_fewer_blocks_give_the_first_ones(weights):
    pixels = np.random.default_rng(2).integers(0, 256, (1, 32, 32, 3), np.uint8)
    cls = []
    for blocks in (1, 2):
        model = build_vit_b16(32, blocks)
        load_clip_weights(model, weights)
        cls.append(np.asarray(model(pixels)["cls"]))
    np.testing.assert_allclose(cls[1][:, :1], cls[0], atol=1e-5)


def test_hugging_face_file_gives_the_same_features(arrays, weights, tmp_path):
    whole = {**reference.random_arrays(seed=0, blocks=12), **arrays}
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(reference.hugging_face(whole), path)
    pixels = np.random.default_rng(3).integers(0, 256, (1, 32, 32, 3), np.uint8)
    cls = []
    for file in (weights, path):
        model = build_vit_b16(32, BLOCKS)
        load_clip_weights(model, file)
        cls.append(np.asarray(model(pixels)["cls"]))
    np.testing.assert_allclose(cls[0], cls[1], atol=1e-6)


def test_reduced_precision_stays_near(weights):
    pixels = np.random.default_rng(4).integers(0, 256, (2, 32, 32, 3), np.uint8)
    cls = []
    for dtype in ("float32", "mixed_bfloat16"):
        model = build_vit_b16(32, BLOCKS, dtype)
        load_clip_weights(model, weights)
        cls.append(np.asarray(model(pixels)["cls"], np.float32).reshape(-1, 768))
    cosine = (cls[0] * cls[1]).sum(-1) / np.linalg.norm(cls[0], axis=-1) / np.linalg.norm(cls[1], axis=-1)
    assert cosine.min() > 0.9995


def test_trains_end_to_end(weights):
    vit = build_vit_b16(32, 1)
    load_clip_weights(vit, weights)
    model = keras.Model(vit.input, keras.layers.Dense(1)(vit.output["cls"][:, -1]))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    before = [np.array(weight) for weight in vit.trainable_weights]
    pixels = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    model.train_on_batch(pixels, np.array([[0], [1], [0], [1]], np.float32))
    unchanged = [w.path for w, old in zip(vit.trainable_weights, before) if np.array_equal(np.array(w), old)]
    # A bias of the keys shifts all scores of a query alike, which softmax does not see: its gradient is 0.
    assert set(unchanged) <= {"block0_k/bias"}


def test_survives_saving(weights, tmp_path):
    model = build_vit_b16(32, 1)
    load_clip_weights(model, weights)
    model.save(tmp_path / "vit.keras")
    again = keras.saving.load_model(tmp_path / "vit.keras")
    pixels = np.random.default_rng(6).integers(0, 256, (1, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(again(pixels)["cls"], model(pixels)["cls"], atol=1e-6)


def test_positions_of_another_grid():
    rows = np.repeat(np.arange(14.0), 14)
    positions = np.zeros((197, 768), np.float32)
    positions[0], positions[1:] = 5, rows[:, None]
    smaller = interpolate_positions(positions, 7)
    np.testing.assert_array_equal(smaller[0], positions[0])
    # A ramp stays a ramp away from the edges, sampled at the centres of the larger cells.
    inner = smaller[1:, 0].reshape(7, 7)[1:6]
    np.testing.assert_allclose(inner, np.repeat(np.arange(2.5, 11, 2)[:, None], 7, 1), atol=0.05)
    np.testing.assert_array_equal(interpolate_positions(positions, 14), positions)


@pytest.mark.parametrize(("size", "blocks"), [(100, 1), (0, 1), (32, 0), (32, 13)])
def test_impossible_networks(size, blocks):
    with pytest.raises(ValueError, match="Received: (image_size|blocks)="):
        build_vit_b16(size, blocks)


def test_unusable_weights(tmp_path):
    model = build_vit_b16(32, 1)
    with pytest.raises(FileNotFoundError, match="absent.npz"):
        load_clip_weights(model, tmp_path / "absent.npz")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(ValueError, match="npz, .safetensors or .tflite"):
        load_clip_weights(model, tmp_path / "weights.h5")
    np.savez(tmp_path / "other.npz", conv1=np.zeros(3))
    with pytest.raises(ValueError, match="lacks an array of CLIP ViT-B/16: patch_embedding"):
        load_clip_weights(model, tmp_path / "other.npz")
