"""From labelled images to rows: a run, its report, its model."""

import csv
import json
import os

import numpy as np
from PIL import Image

from tests.cli.running import run
from tests.images import photograph


def names_in(report):
    with (report / "predictions.csv").open(newline="") as stream:
        return {row["name"] for row in csv.DictReader(stream)}


def test_train_resume_evaluate_export_predict(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(20):
        for name, noise in (("REAL", 0), ("FAKE", 60)):
            folder = tmp_path / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            image = np.asarray(photograph(32, 32, index), np.int16)
            changed = np.clip(image + generator.integers(-noise, noise + 1, image.shape), 0, 255)
            Image.fromarray(changed.astype(np.uint8)).save(folder / f"{index}.png")
    options = ["--image-size", 32, "--epochs", 2, "--batch-size", 8, "--weights", "none", "--run-dir", tmp_path / "run"]
    options += ["--validation-fraction", 0.25, "--split-seed", 3]
    trained = run("train", "--data", tmp_path / "data", *options)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "best.weights.h5").exists()
    again = run("train", "--resume", "--run-dir", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert "has finished" in again.stdout
    report = tmp_path / "report"
    evaluated = run("evaluate", "--data", tmp_path / "data", "--model", tmp_path / "run", "--output", report)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "accuracy" in evaluated.stdout
    held_out = set((tmp_path / "run" / "validation_files.txt").read_text().split())
    assert names_in(report) == held_out
    assert len(held_out) == 10
    assert {"metrics.json", "roc.png", "reliability.png", "confusion_matrix.png"} <= set(os.listdir(report))
    exported = run("export", tmp_path / "run", "--output", tmp_path / "model" / "1")
    assert exported.returncode == 0, exported.stderr
    Image.new("RGB", (32, 32), "red").save(tmp_path / "data" / "REAL" / "new.png")  # since the training
    with_a_new_one = run("evaluate", "--data", tmp_path / "data", "--model", tmp_path / "run", "--output", report)
    assert with_a_new_one.returncode == 0, with_a_new_one.stderr
    assert names_in(report) == held_out | {"REAL/new.png"}
    (tmp_path / "data" / "REAL" / "new.png").unlink()
    by_model = ("evaluate", "--data", tmp_path / "data", "--model", tmp_path / "model" / "1", "--output", report)
    assert run(*by_model).stderr == ""
    assert names_in(report) == held_out
    other = run(*by_model, "--split-seed", 0)
    assert "held out another split (--validation-fraction 0.25 --split-seed 3)" in other.stderr
    assert names_in(report) != held_out
    card = json.loads((tmp_path / "model" / "1" / "assets" / "model_card.json").read_text())
    assert card["domain"]["sides_seen_in_training"] == [32, 32]
    result = run("predict", tmp_path / "data" / "REAL", "--format", "json", "--model", tmp_path / "model")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)) == 20
