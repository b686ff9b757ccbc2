"""The whole audit, and what it writes."""

import json
import re

import numpy as np
import pytest

from deepfake_tf.audit import auditing
from deepfake_tf.audit.report import format_table, write_report
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.sources import load_examples
from tests.images import encode, photograph

CHEAP = ["files", "exact duplicates", "metadata shortcut", "balance", "sizes"]


def make(count=240, label_of=lambda seed: seed % 2, first_seed=0, name="{}.png") -> Examples:
    seeds = range(first_seed, first_seed + count)
    files = [encode(photograph(32, 32, seed), "PNG") for seed in seeds]
    labels = np.array([label_of(seed) for seed in seeds])
    return Examples([name.format(seed) for seed in seeds], labels, files, [""] * count, ("A note.",))


@pytest.fixture
def without_model(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_TF_MODEL", str(tmp_path / "nothing"))


def by_name(audit):
    return {check.name: check for check in audit.checks}


def test_cheap_audit_of_a_good_set_is_ok():
    audit = auditing.audit(make(), thorough=False)
    assert [check.name for check in audit.checks] == CHEAP
    assert audit.verdict == "ok", format_table(audit)


def test_thorough_audit_without_a_model_says_so(without_model):
    audit = auditing.audit(make())
    checks = by_name(audit)
    assert len(checks) == 9
    assert "No SavedModel" in checks["labels"].finding
    assert [check.name for check in audit.checks if check.verdict != "ok"] == ["labels"], format_table(audit)


def test_labels_are_checked_with_the_model(exported_model):
    labels = by_name(auditing.audit(make(8), model=exported_model.path))["labels"]
    assert "of 8 images sampled the model could judge 8" in labels.finding
    assert labels.verdict == "look"  # too few


def test_a_model_asked_for_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        auditing.audit(make(30), model=tmp_path / "nowhere")


def test_second_source_leaks(without_model):
    audit = auditing.audit(make(), against=make(first_seed=200))  # 40 of 240 stand in both
    checks = by_name(audit)
    assert checks["exact duplicates"].verdict == "stop"
    assert checks["exact duplicates"].details["held_out_images_leaked"] == 40
    assert checks["balance"].details["counts"] == {"REAL": 120, "FAKE": 120}  # of the first alone
    assert audit.to_dict()["images_of_second_source"] == 240


def test_imbalance_stops():
    checks = by_name(auditing.audit(make(label_of=lambda seed: seed % 12 == 0), thorough=False))
    assert checks["balance"].verdict == "stop"
    assert checks["balance"].details["ratio"] == 11


def test_sizes_that_differ_by_class_are_said(write_images):
    write_images({"REAL": 110}, size=(20, 20))
    checks = by_name(auditing.audit(load_examples([str(write_images({"FAKE": 110}, size=(64, 64)))]), thorough=False))
    assert checks["sizes"].verdict == "look"
    assert "REAL 20, FAKE 64" in checks["sizes"].finding
    assert checks["metadata shortcut"].verdict == "stop"


def test_report_is_complete_and_self_contained(without_model, tmp_path):
    hostile = "<script>alert(1)</script>\x1b[31m{}.png"
    audit = auditing.audit(make(40, name=hostile), against=make(40, name=hostile))
    json_file, html_file = write_report(audit, tmp_path / "new" / "folder")
    assert sorted(path.name for path in json_file.parent.iterdir()) == ["audit.html", "audit.json"]
    written = json.loads(json_file.read_text())
    assert written["verdict"] == "stop"
    assert [check["name"] for check in written["checks"]] == [check.name for check in audit.checks]
    page = html_file.read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<img") > 40
    for check in audit.checks:
        assert check.name in page


def test_table_names_verdict_and_remedy(without_model):
    text = format_table(auditing.audit(make(40), against=make(40)), width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"^exact duplicates +stop  Equal pixels", text, re.MULTILINE)
    assert "-> " in text
    assert text.splitlines()[-1].startswith("stop: Do not train")


@pytest.mark.real_data
def test_cifake_metadata_tells_nothing_and_colours_much(cifake_train):
    from deepfake_tf.audit.shortcuts import check_metadata, check_statistics
    from deepfake_tf.audit.survey import read_all

    part = cifake_train.take(np.arange(0, len(cifake_train), 25))
    readings = read_all(part)
    metadata, statistics = check_metadata(part.labels, readings), check_statistics(part.labels, readings)
    assert metadata.verdict != "stop"
    assert metadata.details["auc"] < 0.7
    assert statistics.verdict == "look"
    assert statistics.details["auc"] > 0.75
