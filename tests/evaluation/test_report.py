"""The report's files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.evaluation.metrics import compute_metrics
from deepfake_tf.evaluation.report import write_report
from tests.evaluation.predictions import random_predictions


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
    with pytest.raises(ValueError, match="1 name, 2 images"):
        write_report(tmp_path / "out", np.array([0, 1]), np.array([0.1, 0.9]), names=["one"])
    assert not (tmp_path / "out").exists()
