"""Verdicts by generator and by real source."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from deepfake_tf.contract import VERDICT_GENERATED, VERDICT_REAL, VERDICT_UNCERTAIN
from deepfake_tf.evaluation.by_source import evaluate_by_source, format_sources, source_of, verdicts_by_source

NAMES = ["REAL/phone/1.jpg", "REAL/phone/2.jpg", "REAL/scans/a/3.jpg", "FAKE/flux/1.png", "FAKE/sd/2.png", "FAKE/3.png"]
LABELS = np.array([0, 0, 0, 1, 1, 1])
PROBABILITIES = np.array([0.1, 0.6, 0.97, 0.98, 0.5, 0.2])
VERDICTS = ["likely real", "uncertain", "likely generated", "likely generated", "uncertain", "likely real"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("REAL/phone/1.jpg", "phone"),
        ("test/fake_images/flux/x/1.png", "flux"),
        ("FAKE/1.png", "(unnamed)"),
        ("1.png", "(unnamed)"),
        ("camera/1.png", "camera"),
        ("/data/camera/1.png", "camera"),
        ("1:REAL/phone/1.jpg", "phone"),  # of several sources with equal names
        ("FAKE/v2:flux/1.png", "v2:flux"),
        ("train/fake_sdxl/1.png", "fake_sdxl"),
        ("train/fake_sdxl/turbo/1.png", "turbo"),
    ],
)
def test_the_source_is_the_folder_below_the_class(name, source):
    assert source_of(name) == source


def test_each_source_and_each_class_whole_has_its_row():
    rows = verdicts_by_source(NAMES, LABELS, PROBABILITIES, VERDICTS)
    assert [(row["label"], row["source"], row["images"]) for row in rows] == [
        ("REAL", "all", 3),
        ("REAL", "phone", 2),
        ("REAL", "scans", 1),
        ("FAKE", "all", 3),
        ("FAKE", "(unnamed)", 1),
        ("FAKE", "flux", 1),
        ("FAKE", "sd", 1),
    ]
    by_source = {(row["label"], row["source"]): row for row in rows}
    whole = by_source["REAL", "all"]
    assert [whole[name] for name in ("likely_generated", "likely_real", "uncertain")] == pytest.approx([1 / 3] * 3)
    assert whole["likely_generated_low"] == pytest.approx(0.0615, abs=1e-4)  # Wilson's interval of 1 in 3
    assert whole["likely_generated_high"] == pytest.approx(0.7923, abs=1e-4)
    assert by_source["FAKE", "flux"]["auc"] == 1  # above all real images
    assert by_source["REAL", "scans"]["auc"] == pytest.approx(1 / 3)  # one of three fakes lies above it
    text = format_sources(rows)
    assert len(text.splitlines()) == 8
    assert "flux" in text


def test_one_class_alone_has_no_auc():
    rows = verdicts_by_source(NAMES[:3], LABELS[:3], PROBABILITIES[:3], VERDICTS[:3])
    assert {row["auc"] for row in rows} == {None}
    assert " - " in format_sources(rows) or format_sources(rows).rstrip().endswith("-")


def test_what_has_no_score_is_counted_and_counts_for_nothing():
    errors = ["", "", "damaged", "", "", ""]
    rows = verdicts_by_source(NAMES, LABELS, np.where(errors, -1, PROBABILITIES), VERDICTS, errors)
    by_source = {(row["label"], row["source"]): row for row in rows}
    assert (by_source["REAL", "all"]["images"], by_source["REAL", "all"]["errors"]) == (2, 1)
    assert by_source["REAL", "all"]["likely_generated"] == 0
    scans = by_source["REAL", "scans"]
    assert (scans["images"], scans["errors"]) == (0, 1)
    assert {scans[name] for name in ("likely_generated", "likely_generated_low", "likely_real", "auc")} == {None}
    assert by_source["FAKE", "flux"]["auc"] == 1  # against the two real images that have a score
    assert "scans" in format_sources(rows)


def test_a_folder_is_judged_by_the_light_engine(by_source, light_detector, tmp_path):
    root, examples = by_source
    out = tmp_path / "out"
    rows = evaluate_by_source(light_detector, examples, out, {"data": "made up"})
    assert [(row["label"], row["source"], row["images"], row["errors"]) for row in rows] == [
        ("REAL", "all", 3, 1),
        ("REAL", "broken", 0, 1),
        ("REAL", "phone", 2, 0),
        ("REAL", "scans", 1, 0),
        ("FAKE", "all", 3, 0),
        ("FAKE", "flux", 2, 0),
        ("FAKE", "sd", 1, 0),
    ]
    alone = [light_detector.predict(root / name) for name in ("FAKE/flux/1.png", "FAKE/flux/2.jpg")]
    for key, verdict in (("likely_generated", VERDICT_GENERATED), ("likely_real", VERDICT_REAL)):
        assert rows[5][key] == sum(prediction.verdict == verdict for prediction in alone) / 2
    assert rows[5]["uncertain"] == sum(prediction.verdict == VERDICT_UNCERTAIN for prediction in alone) / 2
    report = json.loads((out / "sources.json").read_text())
    assert report["sources"] == rows
    assert (report["images"], report["description"]) == (7, {"data": "made up"})
    assert list(report["errors"]) == ["REAL/broken/4.jpg"]
    assert "not an image" in report["errors"]["REAL/broken/4.jpg"]
    with (out / "sources.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    assert [(row["source"], row["images"]) for row in cells] == [(row["source"], str(row["images"])) for row in rows]
    assert cells[1]["likely_generated"] == ""  # no score, no share
    assert sorted(path.name for path in out.iterdir()) == ["sources.csv", "sources.json"]


def test_no_images_is_an_error(by_source, light_detector, tmp_path):
    with pytest.raises(ValueError, match="no images"):
        evaluate_by_source(light_detector, by_source[1].take(np.array([], np.int64)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
