"""`train --detector photograph` and `export`, from a cache of features to a bundle that answers."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from deepfake_tf import Detector
from deepfake_tf.training.photograph.features import Features, Photograph
from deepfake_tf.training.photograph.training_run import train_photograph
from tests.cli.running import run
from tests.images import encode, photograph
from tests.networks import reference_vit_b16 as reference
from tests.photograph_models import BLOCKS

IMAGES = 480


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    labels = np.arange(IMAGES) % 2
    cls = generator.normal(0, 1, (2, IMAGES, BLOCKS, 768)).astype(np.float16)
    cls[:, :, 1, :40] += 3 * (2 * labels - 1)[:, None]
    images = tuple(
        Photograph(f"{i}.jpg", int(label), f"r{i % 12}", f"generator {i % 3}" if label else "camera")
        for i, label in enumerate(labels)
    )
    return Features(images, cls, np.tile([400, 300], (IMAGES, 1)).astype(np.int32), ())


def test_a_run_directory_says_what_was_measured(features, tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_tf.training.photograph.training_run.load_features", lambda cache: features)
    found = train_photograph(tmp_path / "cache", tmp_path / "run", folds=3, report=lambda line: None)
    assert found == json.loads((tmp_path / "run" / "trained.json").read_text())
    assert found["training"]["images"] == {"REAL": IMAGES // 2, "FAKE": IMAGES // 2}
    assert found["network"] == {"name": "vit_b16", "blocks": BLOCKS}
    measured = found["out_of_fold"]
    assert measured["auc"] > 0.9
    assert measured["real"]["likely_generated"] <= 0.01
    assert {row["source"] for row in measured["generated_by_generator"]} == {f"generator {i}" for i in range(3)}
    shares = measured["all"]
    assert shares["likely_generated"] + shares["likely_real"] + shares["uncertain"] == pytest.approx(1, abs=2e-4)
    with (tmp_path / "run" / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [image.path for image in features.images]


def test_a_run_becomes_a_bundle_that_answers(features, tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_tf.training.photograph.training_run.load_features", lambda cache: features)
    train_photograph(tmp_path / "cache", tmp_path / "run", folds=3, report=lambda line: None)
    np.savez(tmp_path / "clip.npz", **reference.random_arrays(seed=0, blocks=BLOCKS))
    bundle = tmp_path / "models" / "photograph"
    result = run("export", tmp_path / "run", "--weights", tmp_path / "clip.npz", "--output", bundle)
    assert result.returncode == 0, result.stderr
    prediction = Detector(bundle, engine="litert").predict(encode(photograph(300, 260), "JPEG"))
    assert (prediction.detector, prediction.error) == ("photograph", "")
    assert 0 <= prediction.probability <= 1


def test_what_is_missing_is_named(tmp_path):
    result = run("train", "--detector", "photograph", "--run-dir", tmp_path / "run")
    assert result.returncode == 2
    assert "--features DIR: fill it by `deepfake-tf features` first" in result.stderr
    result = run("features", tmp_path, "--weights", "none.npz", "--output", tmp_path / "cache")
    assert result.returncode == 2
    assert "none.npz" in result.stderr or "REAL/<source>/" in result.stderr


def test_an_earlier_run_is_not_replaced(tmp_path):
    (tmp_path / "trained.json").write_text("{}")
    result = run("train", "--detector", "photograph", "--features", tmp_path, "--run-dir", tmp_path)
    assert result.returncode == 2
    assert "holds a run already. Name another --run-dir" in result.stderr
    result = run("train", "--detector", "photograph", "--features", tmp_path, "--run-dir", tmp_path / "new", "--resume")
    assert "it takes neither --data, --recipe nor --resume" in result.stderr
