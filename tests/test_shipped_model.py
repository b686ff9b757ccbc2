"""The model that ships: it is what its card says, and it knows what it does not know."""

import csv
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw

from deepfake_tf import Detector
from deepfake_tf.data.examples import split_validation
from deepfake_tf.export.warmup import WARMUP_FILE
from deepfake_tf.samples import write_samples

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def detector():
    return Detector(ROOT / "saved_model" / "deepfake")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


def test_card_states_what_the_project_promises(detector):
    metrics = detector.card["validation_metrics"]
    assert metrics["accuracy"]["value"] >= 0.97
    assert metrics["ece"]["value"] <= 0.02
    assert metrics["classwise_ece"]["value"] <= 0.004
    assert metrics["mean_probability"]["value"] == pytest.approx(0.5, abs=0.002)
    assert metrics["accuracy"]["low"] < metrics["accuracy"]["value"] < metrics["accuracy"]["high"]
    decision = detector.card["decision"]
    assert 0.0 < decision["validation_share_in_band"] < 0.5
    aimed, outside = decision["band_accuracy_aimed_at"], metrics["n"] * (1 - decision["validation_share_in_band"])
    assert aimed >= 0.997
    # Of images that the band was not fitted on: about what was aimed at, by chance above or below it.
    assert decision["validation_accuracy_outside_band"] >= aimed - 3 * np.sqrt(aimed * (1 - aimed) / outside)


def test_documentation_quotes_the_card(detector):
    page = (ROOT / "docs" / "evaluation.md").read_text()
    metrics = detector.card["validation_metrics"]
    for title, name in (("accuracy", "accuracy"), ("ROC AUC", "roc_auc"), ("ECE", "ece")):
        quoted = re.search(rf"^\| {title} \| ([\d.]+)( %)? \|", page, re.MULTILINE)
        assert quoted, title
        value = metrics[name]["value"] * (100 if quoted[2] else 1)
        digits = len(quoted[1].partition(".")[2])
        assert quoted[1] == f"{value:.{digits}f}"


def test_full_size_pictures_are_out_of_domain_and_nobody_is_accused(detector, samples):
    generator = np.random.default_rng(0)
    drawing = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(drawing).text((20, 20), "A screenshot with some text", fill="black")
    photographs = [Image.open(path).convert("RGB") for path in samples[:3]]
    pictures = [drawing, Image.fromarray(generator.integers(0, 256, (256, 256, 3), np.uint8)), *photographs]
    for photograph in photographs:
        pictures += [photograph.resize(size) for size in ((128, 128), (224, 224), (512, 512), (1600, 1200))]
        pictures += [photograph.crop((x, 100, x + 200, 300)) for x in (0, 100, 200)]
    for prediction in detector.predict(pictures):
        assert not prediction.in_domain
        assert prediction.verdict == "uncertain"
        assert prediction.reason


def test_noise_and_blank_pictures_of_the_right_size_are_out_of_domain(detector):
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(8)]
    checks = [np.indices((32, 32)).sum(0) // size % 2 * 255 for size in (1, 2, 4, 8)]
    pictures = noise + [np.repeat(check[..., None], 3, 2).astype(np.uint8) for check in checks]
    out_of_domain = [not prediction.in_domain for prediction in detector.predict(pictures)]
    assert np.mean(out_of_domain) >= 0.9


def test_demo_prints_the_samples_with_verdicts():
    command = [sys.executable, "-m", "deepfake_tf.cli", "demo"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if ".jpg" in line or ".png" in line}
    assert len(rows) >= 9
    for row in rows.values():  # all of them photographs
        assert row.endswith(("likely real", "uncertain", "out of domain")), row
    for name in ("china.jpg", "flower.jpg", "grace_hopper.jpg"):  # judged by the detector of their size
        assert "out of domain" not in rows[name], rows[name]
    assert re.search(r"\d+ images in [\d.]+ s", result.stderr)


@pytest.fixture(scope="module")
def validation_images(cifake_train, detector):
    """400 CIFAKE images that the shipped model was not trained on, and their labels."""
    from deepfake_tf.data.pipeline import DecodedImages

    images = DecodedImages(cifake_train)
    training = detector.card["training"]
    fraction, seed = training["validation_fraction"], training["split_seed"]
    held_out = split_validation(cifake_train.labels, images.digests, fraction, seed)[1]
    assert len(held_out) == sum(detector.card["data"]["validation"].values())
    chosen = np.random.default_rng(1).choice(held_out, 400, replace=False)
    return cifake_train.take(chosen)


@pytest.mark.real_data
def test_accuracy_on_images_that_it_was_not_trained_on(detector, validation_images):
    predictions = detector.predict(list(validation_images.files))
    right = [
        prediction.label == ("FAKE" if label else "REAL")
        for prediction, label in zip(predictions, validation_images.labels)
    ]
    stated = detector.card["validation_metrics"]["accuracy"]["value"]
    assert np.mean(right) >= stated - 3 * np.sqrt(stated * (1 - stated) / 400)
    assert np.mean([prediction.in_domain for prediction in predictions]) >= 0.97


@pytest.mark.real_data
def test_python_command_line_and_savedmodel_give_one_probability(detector, validation_images, tmp_path):
    files = list(validation_images.files[:16])
    for index, data in enumerate(files):
        (tmp_path / f"{index:02}.jpg").write_bytes(data)
    output = tmp_path / "rows.csv"
    command = [
        sys.executable,
        "-m",
        "deepfake_tf.cli",
        "predict",
        str(tmp_path),
        "--format",
        "csv",
        "--output",
        str(output),
    ]
    environment = {**os.environ, "DEEPFAKE_TF_MODEL": str(detector.model_dir)}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    with output.open(newline="") as file:
        from_command_line = [float(row["probability"]) for row in csv.DictReader(file)]
    from_python = [prediction.probability for prediction in detector.predict(files)]
    loaded = tf.saved_model.load(str(detector.model_dir)).signatures["serving_default"]
    one_by_one = [float(loaded(image_bytes=tf.constant([data]))["probability"][0]) for data in files]
    np.testing.assert_allclose(from_command_line, from_python, atol=1e-5)
    np.testing.assert_allclose(one_by_one, from_python, atol=1e-5)


@pytest.mark.real_data
def test_its_warm_up_requests_hold_no_image_of_the_data_set(detector, cifake_train):
    warmup = (detector.model_dir / WARMUP_FILE).read_bytes()
    assert not any(file in warmup for file in cifake_train.files)


def test_the_models_are_light_enough_for_every_clone():
    files = [file.read_bytes() for file in (ROOT / "saved_model").rglob("*") if file.is_file()]
    assert sum(len(zlib.compress(file, 1)) for file in files) < 110e6  # as git packs them
    assert max(map(len, files)) < 95e6  # GitHub refuses a file of 100 MB
