"""Reading torchvision's weights, with batch norm and folded, and fitting them to -1..1."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import safetensors.numpy

from deepfake_tf.networks import build_model, pretrained
from deepfake_tf.networks.pretrained import IMAGENET_MEAN, IMAGENET_STD, load_pretrained, load_published_weights
from tests.networks.reference_resnet18 import fold_batch_norm, forward, random_arrays

ARRAYS = random_arrays(seed=0)


def new_model() -> keras.Model:
    return build_model("resnet18", image_size=32)


def random_images(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(count).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


def to_imagenet_normalisation(images: np.ndarray) -> np.ndarray:
    return ((images * 0.5 + 0.5) - IMAGENET_MEAN) / IMAGENET_STD


def output_of(model: keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    return keras.Model(model.input, model.get_layer(layer).output).predict_on_batch(images)


def test_first_convolution_reads_our_range_as_the_published_one_reads_imagenets():
    model = new_model()
    load_published_weights(model, ARRAYS)
    images = random_images(2)
    expected = forward(ARRAYS, to_imagenet_normalisation(images))["bn1"]
    # Zero padding means another grey in the two ranges: outputs whose 7 x 7 window reaches it are left out.
    interior = np.s_[:, 2:-1, 2:-1]
    np.testing.assert_allclose(output_of(model, "bn1", images)[interior], expected[interior], rtol=1e-4, atol=1e-5)


def test_folded_weights_give_the_unfolded_network_and_batch_norm_fits_the_images():
    model = new_model()
    images = random_images(40)  # more than one batch of the calibration pass
    fresh = load_published_weights(model, fold_batch_norm(ARRAYS), images, imagenet_normalisation=False)
    assert fresh == []
    expected = forward(ARRAYS, images)["fc"]
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-4, atol=1e-4)
    batch_norm = model.get_layer("layer3.0.bn1")
    activations = output_of(model, "layer3.0.conv1", images)
    np.testing.assert_allclose(np.array(batch_norm.moving_mean), activations.mean((0, 1, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.array(batch_norm.moving_variance), activations.var((0, 1, 2)), rtol=1e-3, atol=1e-3)
    # So normalising by the batch changes nothing. Last, since it moves the statistics.
    np.testing.assert_allclose(np.array(model(images, training=True)), expected, rtol=1e-3, atol=1e-3)


def test_folded_kernels_take_the_size_of_fresh_ones():
    """Else a step of Adam, whose size is the learning rate, turns over a kernel that folding has made tiny."""
    small = {name: array * 1e-3 if "conv" in name else array for name, array in fold_batch_norm(ARRAYS).items()}
    model = new_model()
    load_published_weights(model, small, random_images(4), imagenet_normalisation=False)
    for name in ("conv1", "layer1.0.conv2", "layer4.1.conv2"):
        kernel = np.array(model.get_layer(name).kernel)
        root_mean_square = np.sqrt(np.square(kernel).mean((0, 1, 2)))
        np.testing.assert_allclose(root_mean_square, np.sqrt(2 / kernel[..., 0].size), rtol=1e-4)


def test_folded_weights_with_imagenet_normalisation():
    model = new_model()
    images = random_images(8)
    load_published_weights(model, fold_batch_norm(ARRAYS), images)
    expected = forward(ARRAYS, to_imagenet_normalisation(images))["bn1"]
    interior = np.s_[:, 2:-1, 2:-1]
    np.testing.assert_allclose(output_of(model, "bn1", images)[interior], expected[interior], rtol=1e-4, atol=1e-4)


def test_layers_that_the_file_lacks_stay_fresh_and_are_named():
    model = new_model()
    before = model.get_layer("layer4.1.bn2").get_weights() + model.get_layer("layer4.1.conv2").get_weights()
    up_to_layer3 = {name: array for name, array in ARRAYS.items() if not name.startswith(("layer4", "fc"))}
    for arrays in (up_to_layer3, fold_batch_norm(up_to_layer3)):
        fresh = load_published_weights(model, arrays, random_images(4))
        assert len(fresh) == 11
        assert {name.partition(".")[0] for name in fresh} == {"layer4", "fc"}
    after = model.get_layer("layer4.1.bn2").get_weights() + model.get_layer("layer4.1.conv2").get_weights()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new, old)


def test_head_of_another_number_of_classes_stays_fresh():
    assert load_published_weights(new_model(), random_arrays(seed=1, classes=1000)) == ["fc"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".weights.h5"])
def test_every_file_format_gives_the_same_network(suffix, tmp_path):
    expected = new_model()
    load_published_weights(expected, ARRAYS)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        np.savez(path, **ARRAYS)
    elif suffix == ".safetensors":
        safetensors.numpy.save_file(ARRAYS, path)
    else:
        expected.save_weights(path)
    model = new_model()
    assert str(path) in load_pretrained(model, str(path))
    for weight, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_imagenet_reads_the_downloaded_file(tmp_path, monkeypatch):
    path = tmp_path / "resnet18.safetensors"
    safetensors.numpy.save_file(random_arrays(seed=0, classes=1000), path)
    monkeypatch.setattr(keras.utils, "get_file", lambda *arguments, **options: str(path))
    model = new_model()
    assert load_pretrained(model, "imagenet").endswith("fresh: fc")
    np.testing.assert_array_equal(
        model.get_layer("layer1.0.conv1").get_weights()[0], ARRAYS["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)
    )


def test_failed_download_names_the_remedy(monkeypatch):
    def fail(*arguments, **options):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    with pytest.raises(OSError, match=rf"{pretrained.RESNET18_URL}.*--weights FILE"):
        load_pretrained(new_model(), "imagenet")


def test_none_leaves_the_network_alone():
    model = new_model()
    before = model.get_weights()
    assert load_pretrained(model, "none") == "fresh weights"
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer2.0.conv1.weight": np.zeros((128, 64, 5, 5), np.float32)}, r"layer2\.0\.conv1.*\(5, 5, 64, 128\)"),
        ({"bn1.weight": np.zeros(32, np.float32)}, r"bn1: expected shape \(64,\). Received: \(32,\)"),
        ({"layer1.1.bn2.running_var": None}, r"lack \['layer1.1.bn2.running_var'\]"),
        ({"fc.bias": None}, r"lack \['fc.bias'\]"),
    ],
)
def test_arrays_that_do_not_fit_are_an_error(change, message):
    arrays = {name: array for name, array in {**ARRAYS, **change}.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        load_published_weights(new_model(), arrays)


def test_foreign_arrays_are_an_error_that_shows_them():
    with pytest.raises(ValueError, match=r"No array bears the name.*'encoder.weight'"):
        load_published_weights(new_model(), {"encoder.weight": np.zeros((3, 3))})


def test_folded_weights_without_images_are_an_error():
    with pytest.raises(ValueError, match="calibration_images are needed"):
        load_published_weights(new_model(), fold_batch_norm(ARRAYS))


def test_missing_file_and_unknown_suffix_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'imagenet', 'none', a .weights.h5.*nowhere\.npz"):
        load_pretrained(new_model(), str(tmp_path / "nowhere.npz"))
    (tmp_path / "weights.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must be .weights.h5, .safetensors or .npz.*weights\.pth"):
        load_pretrained(new_model(), str(tmp_path / "weights.pth"))


@pytest.mark.real_data
def test_weights_at_hand_give_features_that_training_can_use():
    from pathlib import Path

    path = Path("../shared/weights/resnet18_imagenet_to_layer3_folded.npz")
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    model = new_model()
    images = random_images(16)
    message = load_pretrained(model, str(path), images)
    assert "fresh: layer4.0.conv1" in message
    normalised = output_of(model, "bn1", images)
    assert np.isfinite(normalised).all()
