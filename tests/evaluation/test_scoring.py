"""Scoring by each kind of model."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.evaluation.scoring import load_scorer, score, score_batches
from deepfake_tf.networks import build_model
from deepfake_tf.reading import tensorflow_reader


def png_examples(sizes: list[tuple[int, int]]) -> Examples:
    """Random images of these widths and heights, REAL and FAKE in turns."""
    generator = np.random.default_rng(len(sizes))
    files = []
    for width, height in sizes:
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        files.append(tf.io.encode_png(pixels).numpy())
    labels = np.arange(len(sizes)) % 2
    return Examples([f"{index}.png" for index in range(len(sizes))], labels, files, [""] * len(sizes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory, and the network whose weights it holds."""
    path = tmp_path_factory.mktemp("run")
    (path / "config.json").write_text(TrainingConfig(image_size=32, precision="bfloat16", dropout=0.5).to_json())
    model = build_model("resnet18", 32)
    model.save_weights(path / "best.weights.h5")
    return path, model


def expected_logits(model, images: DecodedImages) -> np.ndarray:
    decoded = [tensorflow_reader.decode(tf.constant(file)) for file in images.examples.files]
    batch = np.stack([tensorflow_reader.normalise(tensorflow_reader.resize(pixels, 32)) for pixels in decoded])
    return model.predict_on_batch(batch)[:, 0].astype(np.float64)


def test_run_directory_is_scored_at_its_own_image_size(run):
    run_dir, model = run
    images = DecodedImages(png_examples([(40, 24)] * 5), image_size=64)
    logits = expected_logits(model, images)
    probabilities = score(run_dir, images, batch_size=2)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, expit(logits), rtol=1e-4)


class MeanBrightness(tf.Module):
    """Stands in for an exported detector: the probability is the mean grey level, 0..1."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")])
    def from_pixels(self, pixels):
        return {"probability": tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2, 3]) / 255}


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    module = MeanBrightness()
    path = tmp_path_factory.mktemp("saved_model") / "1"
    tf.saved_model.save(module, str(path), signatures={"from_pixels": module.from_pixels})
    return path


def mean_brightness(images: DecodedImages) -> list[float]:
    return [tensorflow_reader.decode(tf.constant(file)).numpy().mean() / 255 for file in images.examples.files]


def test_several_models_give_the_mean_of_their_logits(run, saved_model):
    run_dir, model = run
    images = DecodedImages(png_examples([(40, 24)] * 5), image_size=32)
    brightness = np.array(mean_brightness(images))
    expected = expit((expected_logits(model, images) + np.log(brightness / (1 - brightness))) / 2)
    np.testing.assert_allclose(score([run_dir, saved_model], images, batch_size=2), expected, rtol=1e-4)


def test_a_model_that_is_certain_does_not_silence_the_others(run, saved_model):
    """The logit of a probability of 0 is infinite."""
    black = np.zeros((1, 24, 40, 3), np.uint8)
    assert load_scorer(saved_model)(black) == 0
    alone, together = load_scorer(run[0])(black), load_scorer([run[0], saved_model])(black)
    expected = (np.log(alone / (1 - alone)) + np.log(1e-7)) / 2
    np.testing.assert_allclose(np.log(together / (1 - together)), expected, rtol=1e-4)


def test_one_that_is_no_model_is_named_among_several(saved_model, tmp_path):
    with pytest.raises(ValueError, match=r"Received: .*nowhere"):
        load_scorer([saved_model, tmp_path / "nowhere"])


@pytest.mark.parametrize("sizes", [[(40, 24)] * 5, [(40, 24), (24, 40), (32, 32)]], ids=["one size", "several sizes"])
def test_savedmodel_is_given_the_pixels_at_their_own_size(saved_model, sizes):
    images = DecodedImages(png_examples(sizes), image_size=32)
    np.testing.assert_allclose(score(saved_model, images, batch_size=2), mean_brightness(images), rtol=1e-5)


def test_subset_of_one_size_is_given_at_its_own_size_too(saved_model):
    """The pixels that `DecodedImages` keeps are squares where its images differ in size."""
    images = DecodedImages(png_examples([(40, 24), (24, 40), (40, 24)]), image_size=8).take(np.array([0, 2]))
    np.testing.assert_allclose(score(saved_model, images), mean_brightness(images), rtol=1e-5)


def test_what_is_no_model_is_an_error_that_says_what_was_looked_for(tmp_path):
    with pytest.raises(ValueError, match=r"config.json and best.weights.h5.*saved_model.pb.*holds neither"):
        load_scorer(tmp_path)
    with pytest.raises(ValueError, match=r"nowhere, which is no folder"):
        load_scorer(tmp_path / "nowhere")


def test_foreign_savedmodel_is_an_error(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ValueError, match="lacks the signature from_pixels"):
        load_scorer(tmp_path)


def test_no_images_is_an_error(saved_model):
    images = DecodedImages(png_examples([(8, 8)])).take(np.array([], np.int64))
    with pytest.raises(ValueError, match="no images"):
        score(saved_model, images)


def test_outputs_of_batches_are_joined_by_name():
    batches = [np.arange(3), np.arange(3, 5)]
    outputs = score_batches(lambda batch: {"one": batch, "two": batch[:, None] * [1, 2]}, batches, 5, "counting")
    np.testing.assert_array_equal(outputs["one"], np.arange(5))
    assert outputs["two"].shape == (5, 2)
