"""Verdicts by generator and by real source."""

import numpy as np
import pytest

from deepfake_tf.evaluation.by_source import format_sources, source_of, verdicts_by_source

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
