"""`deepfake-tf audit`, and the look that `train` takes before it starts."""

import json
import re
from pathlib import Path

import pytest

from deepfake_tf.cli import main
from tests.images import encode, photograph

SHIPPED_MODEL = Path(__file__).parents[2] / "saved_model" / "deepfake"


@pytest.fixture
def without_model(monkeypatch, tmp_path):
    """The checks of everything but labels, without the seconds that a model takes."""
    monkeypatch.setenv("DEEPFAKE_TF_MODEL", str(tmp_path / "nothing"))


def write_folders(root: Path, real_format="PNG", fake_format="PNG", count=60, first_seed=0) -> Path:
    for offset, (name, image_format) in enumerate((("REAL", real_format), ("FAKE", fake_format))):
        (root / name).mkdir(parents=True)
        for index in range(count):
            image = photograph(32, 32, first_seed + 2 * index + offset)
            (root / name / f"{index}.{image_format.lower()}").write_bytes(encode(image, image_format))
    return root


def verdicts(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\S.*?) {2,}(ok|look|stop) +\S", text, re.MULTILINE))


def test_png_fakes_and_jpeg_photographs_stop(tmp_path, without_model, capsys):
    assert main(["audit", str(write_folders(tmp_path / "data", real_format="JPEG"))]) == 1
    printed = capsys.readouterr().out
    assert verdicts(printed)["metadata shortcut"] == "stop"
    said = " ".join(printed.split())
    assert "REAL: 100% JPEG; FAKE: 100% PNG" in said
    assert "-> Encode both classes the same way before training" in said
    assert printed.splitlines()[-1].startswith("stop: Do not train on this as it is.")


def test_report_is_written_where_asked(tmp_path, without_model, capsys):
    folder = write_folders(tmp_path / "data", count=110)
    (folder / "FAKE" / "<b>cut.png").write_bytes(encode(photograph(64, 64, 999), "PNG")[:500])
    assert main(["audit", str(folder), "--output", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert f"wrote {tmp_path / 'report' / 'audit.json'}" in printed
    written = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert {check["name"]: check["verdict"] for check in written["checks"]} == verdicts(printed)
    files = written["checks"][0]
    assert files["details"]["faults"]["truncated"][0]["file"] == "FAKE/<b>cut.png"
    page = (tmp_path / "report" / "audit.html").read_text()
    assert "FAKE/&lt;b&gt;cut.png: " in page
    assert "<b>cut" not in page


def test_second_source_is_searched_for_the_first(tmp_path, without_model, capsys):
    first = write_folders(tmp_path / "first")
    second = write_folders(tmp_path / "second", first_seed=100)  # the first's last 10 of each class are among these
    assert main(["audit", str(first), "--against", str(second)]) == 1
    assert "leakage into the second source: 20 of 120 images held out" in " ".join(capsys.readouterr().out.split())


def test_swapped_labels_are_said(tmp_path, without_model, capsys):
    assert main(["audit", str(write_folders(tmp_path / "data")), "--swap-labels"]) == 0
    assert "All labels were swapped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/nowhere"], "nowhere"),
        (["{folder}"], "{folder}"),
        (["{folder}/data", "--archive", "{folder}/a.tar"], "--archive is for --data cifake alone"),
        (["{folder}/data", "--model", "{folder}"], "No SavedModel"),
        (["{folder}/data", "--against", "{folder}/nowhere"], "nowhere"),
    ],
)
def test_what_cannot_start_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    write_folders(tmp_path / "data", count=3)
    (tmp_path / "empty").mkdir()
    assert main(["audit", *(argument.format(folder=tmp_path) for argument in arguments)]) == 2
    assert message.format(folder=tmp_path) in capsys.readouterr().err


def test_train_looks_at_its_data_before_it_starts(tmp_path, capsys):
    data, weights = write_folders(tmp_path / "data", real_format="JPEG", count=12), tmp_path / "weights.txt"
    weights.write_text("")  # is there, so that training itself refuses them, when it loads them
    arguments = ["train", "--data", str(data), "--run-dir", str(tmp_path / "run"), "--weights", str(weights)]
    arguments += ["--image-size", "64"]
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert set(verdicts(printed.out)) == {"files", "exact duplicates", "metadata shortcut", "balance", "sizes"}
    assert verdicts(printed.out)["metadata shortcut"] == "stop"  # said, and left to the user: training was tried
    assert "smaller than the network's 64 x 64" in " ".join(printed.out.split())
    assert "Weights must be" in printed.err
    assert main([*arguments, "--no-audit"]) == 2
    assert "audit" not in capsys.readouterr().out


def test_a_run_that_is_in_the_way_is_said_before_the_data_are_looked_at(tmp_path, capsys):
    data, run_dir = write_folders(tmp_path / "data", count=3), tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.json").write_text("{}")
    assert main(["train", "--data", str(data), "--run-dir", str(run_dir)]) == 2
    printed = capsys.readouterr()
    assert "holds a run already" in printed.err
    assert printed.out == ""


@pytest.mark.real_data
def test_inverted_labels_of_the_hackathon_are_found(predictathon, monkeypatch, capsys):
    monkeypatch.setenv("DEEPFAKE_TF_MODEL", str(SHIPPED_MODEL))
    assert main(["audit", str(predictathon)]) == 1
    printed = capsys.readouterr().out
    assert verdicts(printed)["labels"] == "stop"
    assert "the labels look inverted" in " ".join(printed.split())
    assert "--swap-labels" in printed
    assert main(["audit", str(predictathon), "--swap-labels"]) == 0
    assert verdicts(capsys.readouterr().out)["labels"] == "ok"
