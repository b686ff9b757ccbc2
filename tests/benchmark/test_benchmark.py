import dataclasses
import io
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest

from deepfake_tf.benchmark.measuring import Row, peak_memory_mib, row, time_in_turns
from deepfake_tf.benchmark.pictures import FORMAT_OPTIONS, encoded_picture
from deepfake_tf.benchmark.report import Report, format_markdown, format_table, write_report


def test_functions_are_timed_in_turns_after_a_warm_up():
    calls = []
    functions = {"slow": lambda: (calls.append("slow"), time.sleep(0.2)), "fast": lambda: calls.append("fast")}
    seconds = time_in_turns(functions, rounds=3, warm_up=1)
    assert calls == ["slow", "fast"] * 4
    assert seconds["slow"].shape == (3,)
    assert seconds["slow"].min() >= 0.2 > seconds["fast"].max()  # which may wait for a busy processor


def test_a_row_is_the_median_and_the_quartiles():
    found = row("network", "batch 1", "ms", np.array([9.0, 1.0, 2.0, 3.0, 4.0]))
    assert found == Row("network", "batch 1", 3.0, "ms", 2.0, 4.0, 5)


def test_peak_memory_is_that_of_the_process():
    assert 10 < peak_memory_mib() < 100_000
    assert peak_memory_mib(2**30) == 0.0


@pytest.mark.parametrize("image_format", FORMAT_OPTIONS)
def test_pictures_differ_by_seed_and_follow_from_it(image_format):
    first = encoded_picture(40, 30, image_format)
    image = PIL.Image.open(io.BytesIO(first))
    assert (image.size, image.format) == ((40, 30), image_format)
    assert encoded_picture(40, 30, image_format) == first != encoded_picture(40, 30, image_format, seed=1)


def test_a_report_is_written(tmp_path):
    rows = [
        Row("network", "TensorFlow float32, batch 1", 123.4, "images/s", 120.0, 130.0, 9),
        Row("network", "TensorFlow float32, batch 8", 1234.5, "images/s", 1200.0, 1300.0, 9),
        Row("REST", "1 client, p99", 5.25, "ms", 5.25, 5.25, 300),
    ]
    report = Report({"processor": "any", "cores": 2}, "model/1", rows, ["gRPC: left out"])
    files = write_report(report, tmp_path / "out")
    assert [file.name for file in files] == ["benchmark.json", "benchmark.md", "benchmark.png"]
    assert json.loads(files[0].read_text()) == dataclasses.asdict(report)
    with PIL.Image.open(files[2]) as picture:
        assert picture.width > 500
    assert "| network: TensorFlow float32, batch 8 | 1,234 images/s | 1,200 to 1,300 |" in format_markdown(report)
    table = format_table(report)
    assert "(120 to 130, 9 runs)" in table
    assert table.endswith("gRPC: left out\n")


def test_the_command_measures_everything_once(exported_model, tmp_path):
    command = [sys.executable, "-m", "deepfake_tf.cli", "benchmark", "--quick", "--model", str(exported_model.path)]
    result = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "benchmark.json").read_text())
    rows = {(found["section"], found["what"]): found for found in content["rows"]}
    assert len(rows) == len(content["rows"])
    sections = {section for section, _ in rows}
    assert {"reading", "network", "server", "start", "memory", "training"} <= sections
    assert "REST, JPEG 256 x 256" in sections
    for what in ("TensorFlow, as in the file", "TensorFlow float32", "TensorFlow bfloat16"):
        assert ("network", f"{what}, batch 8") in rows
    for (section, what), found in rows.items():
        is_difference = what.startswith("guard")
        assert is_difference or found["value"] > 0, (section, what)
        assert found["low"] <= found["value"] <= found["high"]
    for section, what in rows:
        assert section in result.stdout
        assert what in result.stdout
    assert content["machine"]["cores"] >= 1
    assert any("gRPC" in note for note in content["notes"]) or any(section.startswith("gRPC") for section in sections)


def test_the_detector_for_photographs_is_measured_with_its_peers(tmp_path):
    command = [sys.executable, "-m", "deepfake_tf.cli", "benchmark", "--photographs", "--peers", "--quick"]
    result = subprocess.run([*command, "--output", str(tmp_path)], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "benchmark.json").read_text())
    values = {(found["section"], found["what"]): found["value"] for found in content["rows"]}
    assert all(value > 0 for value in values.values())
    assert values["one photograph, JPEG to verdict", "LiteRT"] < 60_000
    assert ("many photographs", "LiteRT") in values
    assert ("start", "deepfake-tf predict one.jpg, LiteRT") in values
    for peer, package in (("sahu65", "sahu65"), ("PyTorch bfloat16", "torch")):
        measured = any(what == peer for _, what in values)
        assert measured != any(package in note for note in content["notes"])


@pytest.mark.browser
def test_the_page_is_measured_in_chromium(tmp_path):
    pytest.importorskip("playwright", reason="Playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed")
    command = [sys.executable, "-m", "deepfake_tf.cli", "benchmark", "--page", "--quick", "--output", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    values = {row["what"]: row["value"] for row in json.loads((tmp_path / "benchmark.json").read_text())["rows"]}
    assert 0 < values["JPEG of 12 megapixels, drop to verdict in Chromium"] < 120
    assert values["its memory after 20 more uploads of 1024 x 768"] > 50


def test_litert_and_data_go_together():
    command = [sys.executable, "-m", "deepfake_tf.cli", "benchmark", "--litert", "folder"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "--data SOURCE, go together" in result.stderr
