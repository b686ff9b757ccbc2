"""Metrics against scikit-learn, the report's files, and scoring by each kind of model."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from PIL import Image
from scipy.special import expit

from deepfake_tf.config import TrainingConfig
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages
from deepfake_tf.evaluation.report import (
    compute_metrics,
    load_scorer,
    mcnemar,
    score,
    select_split,
    whole_file,
    write_report,
)
from deepfake_tf.networks import build_model
from deepfake_tf.reading import tensorflow_reader


def random_predictions(count: int, seed: int = 0, decimals: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a fair detector; few decimals make ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    return labels, np.round(expit(generator.normal(3 * labels - 1.5, 1.5)), decimals)


# --- metrics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [17, 1], ids=["distinct", "tied"])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_metrics_equal_scikit_learns(decimals, threshold):
    labels, probabilities = random_predictions(997, decimals=decimals)
    metrics = compute_metrics(labels, probabilities, threshold, bootstrap_samples=10)
    called_fake = probabilities >= threshold
    false_positive_rate, true_positive_rate, _ = sklearn.metrics.roc_curve(
        labels, probabilities, drop_intermediate=False
    )
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(labels, called_fake),
        "precision": sklearn.metrics.precision_score(labels, called_fake),
        "recall": sklearn.metrics.recall_score(labels, called_fake),
        "f1": sklearn.metrics.f1_score(labels, called_fake),
        "roc_auc": sklearn.metrics.roc_auc_score(labels, probabilities),
        "average_precision": sklearn.metrics.average_precision_score(labels, probabilities),
        "brier": sklearn.metrics.brier_score_loss(labels, probabilities),
        "tpr_at_1_percent_fpr": true_positive_rate[false_positive_rate <= 0.01].max(),
    }
    for name, value in expected.items():
        assert metrics[name]["value"] == pytest.approx(value, abs=1e-12), name
    matrix = sklearn.metrics.confusion_matrix(labels, called_fake)
    names = ("true_real", "false_fake", "false_real", "true_fake")
    assert metrics["confusion_matrix"] == dict(zip(names, matrix.ravel().tolist()))
    assert metrics["n"] == 997
    json.dumps(metrics, allow_nan=False)


def test_resampling_weights_count_like_repeated_images():
    labels, probabilities = random_predictions(60, decimals=1)
    repeated = np.repeat(np.arange(60), np.random.default_rng(1).integers(0, 4, 60))
    # Every image a thousand times leaves the bootstrap nearly nothing to vary.
    many = compute_metrics(np.repeat(labels, 1000), np.repeat(probabilities, 1000), bootstrap_samples=20)
    once = compute_metrics(labels, probabilities, bootstrap_samples=20)
    for name in ("accuracy", "roc_auc", "average_precision", "ece", "brier"):
        assert many[name]["value"] == pytest.approx(once[name]["value"], abs=1e-12)
        assert many[name]["low"] == pytest.approx(once[name]["value"], abs=0.01)
    # A subset with repeats is what a resample is.
    subset = compute_metrics(labels[repeated], probabilities[repeated], bootstrap_samples=1)
    assert subset["roc_auc"]["value"] == pytest.approx(
        sklearn.metrics.roc_auc_score(labels[repeated], probabilities[repeated])
    )


def test_calibration_error_of_a_known_case():
    # Called FAKE at 0.9, right in 6 of 10; called REAL at 0.2, so with confidence 0.8, right in 10 of 10.
    labels = np.array([1] * 6 + [0] * 4 + [0] * 10)
    probabilities = np.array([0.9] * 10 + [0.2] * 10)
    assert compute_metrics(labels, probabilities)["ece"]["value"] == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)


def test_interval_covers_the_truth_and_follows_the_seed():
    # Accuracy of 95 %: a binomial standard error of 0.69 points at 1,000 images.
    labels = np.arange(1000) % 2
    wrong = np.random.default_rng(0).random(1000) < 0.05
    probabilities = np.where(labels ^ wrong, 0.9, 0.1)
    metrics = compute_metrics(labels, probabilities, seed=1)
    accuracy = metrics["accuracy"]
    assert accuracy["low"] < 0.95 < accuracy["high"]
    assert accuracy["high"] - accuracy["low"] == pytest.approx(2 * 1.96 * 0.0069, rel=0.15)
    assert metrics == compute_metrics(labels, probabilities, seed=1)
    assert metrics != compute_metrics(labels, probabilities, seed=2)


def test_perfect_constant_and_hopeless_predictions():
    labels = np.array([0, 0, 1, 1])
    perfect = compute_metrics(labels, labels.astype(float))
    assert {perfect[name]["low"] for name in ("accuracy", "roc_auc", "f1", "tpr_at_1_percent_fpr")} == {1.0}
    constant = compute_metrics(labels, np.full(4, 0.2))
    assert constant["precision"]["value"] == constant["f1"]["value"] == constant["tpr_at_1_percent_fpr"]["value"] == 0
    assert constant["roc_auc"]["value"] == 0.5
    assert compute_metrics(labels, 1.0 - labels)["roc_auc"]["value"] == 0.0


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [0.5], r"two arrays \[N\] of one length. Received: \(2,\) and \(1,\)"),
        ([[0], [1]], [[0.5], [0.5]], r"Received: \(2, 1\)"),
        ([], [], "Received"),
        ([0, 2], [0.5, 0.5], r"0 \(REAL\) or 1 \(FAKE\). Received: \[2\]"),
        ([0, 1], [0.5, np.nan], "such as nan at position 1"),
        ([0, 1], [-1.0, 0.5], "such as -1.0 at position 0"),
        ([1, 1], [0.5, 0.6], r"both classes are needed. Received: {'REAL': 0, 'FAKE': 2}"),
    ],
)
def test_unusable_input_is_an_error_that_shows_it(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        compute_metrics(np.array(labels), np.array(probabilities))


def test_threshold_and_sample_count_are_checked():
    with pytest.raises(ValueError, match=r"threshold=1.5"):
        compute_metrics(np.array([0, 1]), np.array([0.1, 0.9]), threshold=1.5)
    with pytest.raises(ValueError, match="Received: 0"):
        compute_metrics(np.array([0, 1]), np.array([0.1, 0.9]), bootstrap_samples=0)


def test_mcnemar_is_the_exact_binomial_test():
    labels = np.zeros(20, int)
    a, b = np.zeros(20), np.zeros(20)
    a[0], b[1:9] = 0.9, 0.9  # a is wrong once where b is right, b eight times where a is right
    assert mcnemar(labels | (np.arange(20) == 19), a, b) == {
        "only_a_right": 8,
        "only_b_right": 1,
        "p_value": pytest.approx(2 * (1 + 9) / 2**9),
    }


def test_mcnemar_of_equal_models_and_own_thresholds():
    labels = np.array([0, 1, 1])
    probabilities = np.array([0.3, 0.4, 0.9])
    assert mcnemar(labels, probabilities, probabilities)["p_value"] == 1.0
    assert mcnemar(labels, probabilities, probabilities, threshold_a=0.35)["only_a_right"] == 1


# --- the report -------------------------------------------------------------------------------


def test_report_holds_metrics_predictions_and_plots(tmp_path):
    labels, probabilities = random_predictions(50)
    names = [f"folder/ä,{index}.jpg" for index in range(50)]
    report = write_report(tmp_path / "new", labels, probabilities, 0.4, names, {"data": "made up"})
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "confusion_matrix.png",
        "metrics.json",
        "predictions.csv",
        "reliability.png",
        "roc.png",
    ]
    assert json.loads((tmp_path / "new" / "metrics.json").read_text()) == report
    assert report["description"] == {"data": "made up"}
    assert report["accuracy"] == compute_metrics(labels, probabilities, 0.4)["accuracy"]
    with (tmp_path / "new" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert [row["label"] for row in rows] == [("REAL", "FAKE")[label] for label in labels]
    assert [float(row["probability"]) for row in rows] == probabilities.tolist()
    for path in (tmp_path / "new").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 500
            assert len(set(image.convert("L").resize((50, 50)).tobytes())) > 5  # something is drawn


@pytest.mark.parametrize("probabilities", [[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 0.0, 0.0]])
def test_report_of_extreme_predictions_is_drawn(tmp_path, probabilities):
    write_report(tmp_path, np.array([0, 0, 1, 1]), np.array(probabilities))
    assert (tmp_path / "predictions.csv").read_text().splitlines()[1] == f"0,REAL,{probabilities[0]}"


def test_report_with_too_few_names_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="1 names, 2 images"):
        write_report(tmp_path / "out", np.array([0, 1]), np.array([0.1, 0.9]), names=["one"])
    assert not (tmp_path / "out").exists()


def test_interrupted_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")

    def write_half():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("metrics.json", "old")]


# --- scoring ----------------------------------------------------------------------------------


def png_examples(sizes: list[tuple[int, int]], splits: list[str] | None = None) -> Examples:
    """Random images of these widths and heights, REAL and FAKE in turns."""
    generator = np.random.default_rng(len(sizes))
    files = []
    for width, height in sizes:
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        files.append(tf.io.encode_png(pixels).numpy())
    labels = np.arange(len(sizes)) % 2
    return Examples([f"{index}.png" for index in range(len(sizes))], labels, files, splits or [""] * len(sizes))


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


def test_splits_are_those_of_training():
    splits = ["test", ""] * 20
    images = DecodedImages(png_examples([(8, 8)] * 40, splits))
    images.examples.labels[:] = np.arange(40) // 2 % 2  # both classes in both splits
    test = select_split(images, "test", 0.3, split_seed=0)
    assert test.examples.names == images.examples.names[::2]
    validation = select_split(images, "validation", 0.3, split_seed=0)
    assert set(validation.examples.splits) == {""}
    assert validation.examples.counts() == {"REAL": 3, "FAKE": 3}
    assert select_split(images, "validation", 0.3, split_seed=1).examples.names != validation.examples.names


def test_missing_or_unknown_split_is_an_error():
    images = DecodedImages(png_examples([(8, 8)] * 4))
    with pytest.raises(ValueError, match="no test images: 4 images, of which 0"):
        select_split(images, "test", 0.2, split_seed=0)
    with pytest.raises(ValueError, match="split='train'"):
        select_split(images, "train", 0.2, split_seed=0)
