import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deepfake_tf.contract import Prediction
from deepfake_tf.output.row_file import RowFile
from deepfake_tf.output.tables import format_predictions
from deepfake_tf.text import as_cell, as_utf8


def prediction(file: str, error: str = "") -> Prediction:
    return Prediction(
        file,
        "" if error else "cifake",
        "INVALID" if error else "REAL",
        0.5,
        0.5,
        0.0,
        True,
        "uncertain",
        "",
        8,
        8,
        error,
    )


def write(path, row_format, files, resume=False, finish=True):
    with RowFile(path, row_format, resume) as rows:
        held = set(rows.files)
        for file in files:
            if file not in held:
                rows.write(format_predictions([prediction(file)], row_format))
        if finish:
            rows.finish()
    return held


def files_in(text: str, row_format: str) -> list[str]:
    if row_format == "csv":
        return [row["file"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    return [json.loads(line)["file"] for line in text.splitlines()]


def written(names: list[str], row_format: str) -> list[str]:
    """As a reader of the file finds them."""
    return [as_cell(as_utf8(name)) if row_format == "csv" else as_utf8(name) for name in names]


NAMES = [
    "a.png",
    "with, comma.png",
    'with "quotes".png',
    "two\nlines.png",
    "ümläut.png",
    "bytes\udcff.png",
    r"bytes\xff.png",  # the one before, as it is written
    "=formula.png",
    "'=formula.png",  # the one before, as it is written in CSV
    *(f"a{separator}b.png" for separator in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
]


def read(path) -> str:
    return path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
def test_rows_written_one_by_one_are_those_of_the_whole(tmp_path, row_format):
    output = tmp_path / "new" / f"rows.{row_format}"
    write(output, row_format, NAMES)
    assert read(output) == format_predictions([prediction(name) for name in NAMES], row_format)
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
@pytest.mark.parametrize("cut", range(1, 8))
def test_a_cut_run_goes_on_and_writes_nothing_twice(tmp_path, row_format, cut):
    output = tmp_path / "rows"
    write(output, row_format, NAMES[:5], finish=False)
    part = tmp_path / "rows.part"
    assert not output.exists()
    part.write_bytes(part.read_bytes()[:-cut])
    held = write(output, row_format, NAMES, resume=True)
    assert held == set(NAMES[:4])
    assert files_in(read(output), row_format) == written(NAMES, row_format)
    assert not part.exists()


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
def test_a_complete_file_takes_more_rows(tmp_path, row_format):
    output = tmp_path / "rows"
    write(output, row_format, NAMES[:2])
    assert write(output, row_format, NAMES, resume=True) == set(NAMES[:2])
    assert files_in(read(output), row_format) == written(NAMES, row_format)


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
def test_every_name_is_known_again_and_none_taken_for_another(tmp_path, row_format):
    output = tmp_path / "rows"
    for count in range(len(NAMES)):
        held = write(output, row_format, NAMES[: count + 1], resume=count > 0)
        assert held == set(NAMES[:count])


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
def test_a_cut_within_a_character_loses_that_row_only(tmp_path, row_format):
    output, part = tmp_path / "rows", tmp_path / "rows.part"
    write(output, row_format, ["a.png", "ü.png"], finish=False)
    content = part.read_bytes()
    part.write_bytes(content[: content.index("ü".encode()) + 1])
    assert write(output, row_format, ["a.png", "ü.png"], resume=True) == {"a.png"}
    assert files_in(read(output), row_format) == ["a.png", "ü.png"]


def test_what_is_in_the_way_is_said_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "rows.csv"):
        with pytest.raises(OSError, match="--output"):
            RowFile(output, "csv")
    with pytest.raises(ValueError, match="--resume needs a file.*/dev/null"):
        RowFile("/dev/null", "csv", resume=True)
    RowFile(tmp_path / "rows.csv", "csv")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_rows_with_other_fields_are_refused_before_the_first_is_scored(tmp_path):
    for row_format in ("csv", "jsonl"):
        output = tmp_path / f"rows.{row_format}"
        write(output, row_format, ["a.png"])
        with pytest.raises(ValueError, match="error, not .*error, provenance"):
            RowFile(output, row_format, resume=True, more=["provenance"])


def test_a_link_stays_one_and_a_pipe_gets_the_rows(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.csv"
    link.symlink_to("there/rows.csv")
    write(link, "csv", ["a.png"])
    assert link.is_symlink()
    assert files_in(read(tmp_path / "there" / "rows.csv"), "csv") == ["a.png"]
    assert write(link, "csv", ["a.png", "b.png"], resume=True) == {"a.png"}
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["rows.csv"]
    reader, writer = os.pipe()
    write(f"/dev/fd/{writer}", "jsonl", ["a.png", "b.png"])
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        assert files_in(stream.read(), "jsonl") == ["a.png", "b.png"]


def test_errors_of_earlier_rows_are_counted(tmp_path):
    with RowFile(tmp_path / "rows", "csv") as rows:
        rows.write(format_predictions([prediction("a", "empty file"), prediction("b")], "csv"))
        rows.finish()
    with RowFile(tmp_path / "rows", "csv", resume=True) as rows:
        assert rows.failed == 1


def test_rows_of_a_cut_run_are_not_overwritten_unasked(tmp_path):
    write(tmp_path / "rows", "csv", NAMES, finish=False)
    with pytest.raises(FileExistsError, match=r"rows.part.*--resume"):
        RowFile(tmp_path / "rows", "csv")


def test_a_run_that_wrote_nothing_is_in_nobodys_way(tmp_path):
    with pytest.raises(OSError, match="no server"), RowFile(tmp_path / "rows", "csv"):
        raise OSError("no server")
    assert not list(tmp_path.iterdir())
    (tmp_path / "rows.part").touch()  # killed at the very start
    write(tmp_path / "rows", "csv", NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize(
    ("row_format", "content"), [("jsonl", "[1]\n"), ("csv", "path,label\nx,1\n"), ("jsonl", "no\n")]
)
def test_another_file_is_not_taken_for_rows(tmp_path, row_format, content):
    (tmp_path / "rows").write_text(content)
    with pytest.raises(ValueError, match="holds no rows of deepfake-tf predict"):
        RowFile(tmp_path / "rows", row_format, resume=True)
    assert (tmp_path / "rows").read_text() == content


def test_other_columns_are_refused(tmp_path):
    with RowFile(tmp_path / "rows", "csv") as rows:
        rows.write("file,error\na,\n")
        with pytest.raises(ValueError, match="Received: file,label,error"):
            rows.write("file,label,error\nb,REAL,\n")


def test_predict_that_is_cut_goes_on(write_images, exported_model, tmp_path_factory):
    folder = write_images({"many": 400}, size=(32, 32))
    output = tmp_path_factory.mktemp("out") / "rows.jsonl"
    part = output.with_name("rows.jsonl.part")
    command = [sys.executable, "-m", "deepfake_tf.cli", "predict", str(folder), "--output", str(output)]
    command += ["--format", "jsonl", "--model", str(exported_model.path), "--resume"]
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets background jobs ignore it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    deadline = time.monotonic() + 120
    while not (part.is_file() and part.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "go on with --resume" in said
    assert not output.exists()
    before = len(part.read_text().splitlines())
    assert 0 < before < 400
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    assert f"{before} more had a row already" in again.stderr
    assert sorted(files_in(output.read_text(), "jsonl")) == sorted(map(str, folder.rglob("*.png")))
    assert not part.exists()
