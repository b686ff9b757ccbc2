"""`evaluate --by generator`, by the light model that ships."""

import csv
import json

import pytest

from deepfake_tf.cli import main
from deepfake_tf.shipped import shipped_folder
from tests.images import encode, photograph

LIGHT_MODEL = str(shipped_folder() / "deepfake")


@pytest.fixture
def collection(tmp_path):
    for index, source in enumerate(("REAL/phone", "REAL/scans", "FAKE/flux")):
        folder = tmp_path / "data" / source
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.png").write_bytes(encode(photograph(32, 32, 10 * index + number), "PNG"))
    return tmp_path / "data"


def test_a_row_a_source_and_a_generator_for_people_and_for_programs(collection, tmp_path, capsys):
    arguments = ["evaluate", "--data", str(collection), "--model", LIGHT_MODEL, "--by", "generator"]
    assert main([*arguments, "--output", str(tmp_path / "report")]) == 0
    expected = [("REAL", "all", 6), ("REAL", "phone", 3), ("REAL", "scans", 3), ("FAKE", "all", 3), ("FAKE", "flux", 3)]
    report = json.loads((tmp_path / "report" / "sources.json").read_text())
    assert [(row["label"], row["source"], row["images"]) for row in report["sources"]] == expected
    assert report["description"]["data"] == [str(collection)]
    with (tmp_path / "report" / "sources.csv").open() as file:
        assert [row["source"] for row in csv.DictReader(file)] == [source for _, source, _ in expected]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed[1:-1]] == [source for _, source, _ in expected]
    assert printed[-1] == f"9 images; report in {tmp_path / 'report'}"


def test_a_file_without_a_score_is_counted_and_ends_nothing(collection, tmp_path, capsys):
    (collection / "FAKE" / "flux" / "1.png").write_bytes(b"no image")
    arguments = ["evaluate", "--data", str(collection), "--model", LIGHT_MODEL, "--by", "generator"]
    assert main([*arguments, "--output", str(tmp_path / "report")]) == 3
    last = json.loads((tmp_path / "report" / "sources.json").read_text())["sources"][-1]
    assert (last["source"], last["images"], last["errors"]) == ("flux", 2, 1)


@pytest.mark.parametrize("option", [["--limit", "5"], ["--groups", "(x)"]])
def test_what_it_does_not_heed_is_refused_before_anything_is_read(tmp_path, capsys, option):
    arguments = ["evaluate", "--data", str(tmp_path / "nowhere"), "--by", "generator", *option]
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    assert f"Received: --groups {option[1] if option[0] == '--groups' else None}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate", "--by", "generator"], ["robustness", "--photographs"]])
def test_a_split_of_photographs_is_refused(tmp_path, capsys, command):
    arguments = [*command, "--data", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out"), "--split", "test"]
    assert main(arguments) == 2
    assert f"{command[1]} takes the images of all splits. Received: --split test" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate", "--by", "generator"], ["robustness", "--photographs"]])
def test_verdicts_are_of_one_model(tmp_path, capsys, command):
    models = ["--model", "runs/a", "--model", "runs/b"]
    assert main([*command, *models, "--data", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]) == 2
    assert f"{command[1]} takes one --model. Received: runs/a, runs/b" in capsys.readouterr().err
