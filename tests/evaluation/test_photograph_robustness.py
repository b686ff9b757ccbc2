"""The battery for photographs: its changes, and what it reports."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.evaluation.photograph_robustness import (
    CONDITIONS,
    evaluate_photograph_robustness,
    format_photograph_robustness,
)
from tests.images import photograph


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_changes_pixels_and_is_deterministic(name):
    image = np.asarray(photograph(320, 240, 1))
    before = image.copy()
    changed = CONDITIONS[name](image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(CONDITIONS[name](image), changed)
    shapes = {
        **{"scale 0.75": (180, 240, 3), "scale 0.5": (120, 160, 3), "scale 0.25": (60, 80, 3)},
        **{"centre crop 80 %": (192, 256, 3), "screenshot, JPEG quality 85": (810, 1080, 3)},
    }
    assert changed.dtype == np.uint8
    assert changed.shape == shapes.get(name, (240, 320, 3))
    assert changed.shape != image.shape or (changed != image).any()


def test_a_screenshot_shows_the_whole_image_and_fits_the_screen():
    screenshot = CONDITIONS["screenshot, JPEG quality 85"]
    assert screenshot(np.zeros((4000, 1000, 3), np.uint8)).shape == (2400, 600, 3)
    image = np.zeros((600, 600, 3), np.uint8)
    image[:, 300:] = 255
    shown = screenshot(image)
    assert shown.shape == (1080, 1080, 3)
    assert shown[:, :530].mean() < 2
    assert shown[:, 550:].mean() > 253


@dataclasses.dataclass
class Answer:
    label: str
    probability: float
    verdict: str
    error: str = ""


class GreyMeansFake:
    """Answers as a detector would that takes grey images for generated ones: an interface, and no model."""

    def predict_iter(self, images, batch_size):
        for image in images:
            is_grey = bool((image == image[:, :, :1]).all())
            verdict = "likely generated" if is_grey else "uncertain" if len(image) < 300 else "likely real"
            yield Answer("FAKE" if is_grey else "REAL", 0.9 if is_grey else 0.1, verdict)


def make_grey(image):
    return np.repeat(image[:, :, :1], 3, axis=2)


def test_rows_count_verdicts_on_the_images_that_are_large_enough(by_source, tmp_path):
    _, examples = by_source
    conditions = {"grey": make_grey, "crop": lambda image: image[:220, :220], "tiny": lambda image: image[:50, :50]}
    rows = evaluate_photograph_robustness(GreyMeansFake(), examples, tmp_path / "out", conditions=conditions)
    clean, grey, crop, tiny = rows
    assert [row["condition"] for row in rows] == ["clean", "grey", "crop", "tiny"]
    assert [row["images"] for row in rows] == [6, 6, 6, 0]
    assert [row["left_out"] for row in rows] == [0, 0, 0, 6]
    assert (clean["accuracy"], clean["accused"], clean["found"], clean["uncertain"]) == (0.5, 0, 0, 1)
    assert (grey["accuracy"], grey["accused"], grey["found"], grey["uncertain"]) == (0.5, 1, 1, 0)
    assert grey["auc"] == 0.5
    assert grey["drop_points"] == crop["drop_points"] == 0
    assert grey["accused_low"] < 1
    assert {tiny[key] for key in ("accuracy", "accused", "found", "uncertain", "auc", "drop_points")} == {None}
    report = json.loads((tmp_path / "out" / "photograph_robustness.json").read_text())
    assert report["conditions"] == rows
    assert list(report["errors"]) == ["REAL/broken/4.jpg"]
    with (tmp_path / "out" / "photograph_robustness.csv").open(newline="") as file:
        assert [row["condition"] for row in csv.DictReader(file)] == ["clean", "grey", "crop", "tiny"]
    with Image.open(tmp_path / "out" / "photograph_robustness.png") as image:
        assert min(image.size) > 200
    assert len(format_photograph_robustness(rows).splitlines()) == 5


def test_the_battery_runs_by_the_light_engine(by_source, light_detector, tmp_path):
    root, examples = by_source
    part = examples.take(np.array([0, 6]))
    rows = evaluate_photograph_robustness(light_detector, part, tmp_path / "out")
    assert [row["condition"] for row in rows] == ["clean", *CONDITIONS]
    by_name = {row["condition"]: row for row in rows}
    assert by_name["clean"]["images"] == 2
    assert by_name["scale 0.5"]["left_out"] == 2  # 120 pixels
    assert by_name["scale 0.5 and back"]["images"] == 2
    alone = light_detector.predict([root / name for name in part.names])
    right = [prediction.label == name[:4] for prediction, name in zip(alone, part.names)]
    assert by_name["clean"]["accuracy"] == np.mean(right)


def test_no_photograph_at_all_is_an_error(by_source, light_detector, tmp_path):
    _, examples = by_source
    broken = examples.take(np.array([list(examples.names).index("REAL/broken/4.jpg")]))
    with pytest.raises(ValueError, match="short side has 200 pixels or more.*1 cannot be scored.*REAL/broken/4.jpg"):
        evaluate_photograph_robustness(light_detector, broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()
