"""Names, places and words of the output on which commands once failed."""

import csv
import io
import json
import os
import stat
import subprocess
import sys

import pytest
from PIL import Image

from deepfake_tf.text import as_cell, as_utf8

pytestmark = pytest.mark.cases

NAMES = [
    "line\u2028separator.png",
    "next\x85line.png",
    "latin1_\udce9.png",
    "plain.png",
    "two\nlines.png",
    "cr\rlf.png",
]
NAMES += ["vt\x0b.png", "ff\x0c.png", "fs\x1c.png", "gs\x1d.png", "rs\x1e.png", "psep\u2029.png", r"latin1_\xe9.png"]
FORMULAS = ["=SUM(A1).png", "+1.png", "@a.png", "\ttab.png", "\rcr.png", "'=a.png"]  # -1.png would be an option


def run(*arguments, cwd=None, **options):
    command = [sys.executable, "-m", "deepfake_tf.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, capture_output=True, cwd=cwd, env=environment, timeout=300, **options)


def predict(*arguments, **options):
    return run("predict", *arguments, "--engine", "litert", **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    for name in NAMES + FORMULAS:
        with open(os.path.join(os.fsencode(folder), os.fsencode(name)), "wb") as file:
            Image.new("RGB", (32, 32), "teal").save(file, "PNG")
    return folder


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
def test_any_name_is_valid_text_and_known_again(folder, tmp_path, row_format):
    output = tmp_path / f"rows.{row_format}"
    result = predict(folder, "--output", output)
    assert result.returncode == 0, result.stderr
    text = output.read_bytes().decode("utf-8")
    if row_format == "jsonl":
        files = [json.loads(line)["file"] for line in text.splitlines()]  # whatever a reader takes for a line's end
    else:
        files = [row["file"] for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]
    assert sorted(files) == sorted(as_utf8(str(folder / name)) for name in NAMES + FORMULAS)
    again = predict(folder, "--output", output, "--resume")
    assert again.returncode == 0, again.stderr
    assert b"0 images in" in again.stderr
    assert output.read_bytes().decode("utf-8") == text


def test_cells_that_a_spreadsheet_would_run_are_neutralised_and_known_again(folder, tmp_path):
    output = tmp_path / "rows.csv"
    for _ in range(2):
        result = predict(*FORMULAS, "--output", output, "--resume", cwd=folder)
        assert result.returncode == 0, result.stderr
        with output.open(newline="", encoding="utf-8") as file:
            cells = [row["file"] for row in csv.DictReader(file)]
        assert cells == [as_cell(name) for name in FORMULAS]
        assert all(cell.startswith("'") for cell in cells)
    assert b"6 more had a row already" in result.stderr


@pytest.mark.parametrize("output_format", ["json", "csv", "table", "predictathon"])
def test_every_format_is_utf_8_on_standard_output(folder, output_format):
    result = predict(folder, "--format", output_format)
    assert result.returncode == 0, result.stderr
    assert r"latin1_\xe9.png" in result.stdout.decode("utf-8").replace("\\\\", "\\")


def test_inspect_names_the_file_so_that_it_can_be_found(folder):
    result = run("inspect", folder, "--format", "json")
    assert any(row["file"].endswith(r"latin1_\xe9.png") for row in json.loads(result.stdout.decode("utf-8")))


@pytest.mark.parametrize("output_format", ["json", "csv", "jsonl", "table"])
def test_an_output_that_is_a_device_or_a_link(folder, tmp_path, output_format):
    arguments = (folder / "plain.png", "--format", output_format)
    expected = predict(*arguments)
    assert expected.stdout
    link = tmp_path / "link"
    link.symlink_to("target")
    assert predict(*arguments, "--output", link).returncode == 0
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == expected.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]
    assert predict(*arguments, "--output", "/dev/stdout").stdout == expected.stdout
    assert expected.stdout in predict(*arguments, "--output", "/dev/stderr").stderr
    assert predict(*arguments, "--output", "/dev/null").returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    full = predict(*arguments, "--output", "/dev/full")
    assert full.returncode == 2
    assert b"No space left" in full.stderr


def test_explain_says_why_and_leaves_devices(folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    result = run(
        "explain", folder / "plain.png", tmp_path / "broken.png", "--engine", "litert", "--output", "/dev/stdout"
    )
    assert result.returncode == 3
    assert b"broken.png: empty" in result.stderr
    with Image.open(io.BytesIO(result.stdout)) as sheet:
        sheet.load()
    assert result.stdout.endswith(b"IEND\xaeB`\x82")


def test_one_image_is_one(folder):
    result = predict(folder / "plain.png")
    assert result.stderr.startswith(b"1 image in ")


def test_what_is_in_the_way_is_said_before_anything_slow(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    image = folder / "plain.png"
    data = ("--data", tmp_path / "data")
    for name in ("REAL", "FAKE"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), "teal").save(tmp_path / "data" / name / "0.png")
    (tmp_path / "rows.csv.part").write_text("file,label\n")
    for arguments, message in (
        (("train", *data, "--run-dir", tmp_path / "run"), "holds a run already"),
        (("train", *data, "--run-dir", tmp_path / "file"), "--run-dir must be a folder"),
        (("train", "--resume", "--run-dir", tmp_path / "none"), "Nothing to resume"),
        (("average", "a", "b", "--share", "0.5", "--run-dir", tmp_path / "run"), "holds a run already"),
        (("predict", image, "--output", tmp_path), "must be a file"),
        (("predict", image, "--output", tmp_path / "rows.csv"), "--resume"),
        (("explain", image, "--output", tmp_path / "file" / "sheet.png"), "is no folder"),
        (("audit", tmp_path / "data", "--output", tmp_path / "file"), "must be a folder"),
        (("export", tmp_path / "run", *data, "--output", tmp_path / "data"), "is no SavedModel"),
        (("benchmark", "--output", tmp_path / "file"), "must be a folder"),
    ):
        result = run(*arguments)
        assert result.returncode == 2, result.stderr
        assert message.encode() in result.stderr, (arguments, result.stderr)
        assert b"audit of the data" not in result.stdout


def test_a_savedmodel_is_said_to_be_code():
    for command in (
        "predict",
        "score",
        "explain",
        "demo",
        "serve",
        "app",
        "audit",
        "evaluate",
        "robustness",
        "benchmark",
    ):
        said = " ".join(run(command, "--help").stdout.decode().split())
        assert "a SavedModel is code and may do what it likes: only from people you trust" in said, command
