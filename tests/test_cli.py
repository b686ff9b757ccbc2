"""The commands as a user types them: in a process of their own."""

import csv
import io
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.images import broken_images, good_images, photograph


def run(*arguments, timeout=300, **environment):
    return subprocess.run(
        [sys.executable, "-m", "deepfake_tf.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "deeper").mkdir()
    for name, data in good_images().items():
        (folder / name).write_bytes(data)
    for name, (data, _) in broken_images().items():
        (folder / "deeper" / name).write_bytes(data)
    (folder / "notes.txt").write_text("no image, and not named like one")
    return folder


def test_help_and_import_load_no_tensorflow():
    code = "import sys, deepfake_tf, deepfake_tf.cli as c; c.build_parser(); print('tensorflow' in sys.modules)"
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
    assert time.monotonic() - started < 5  # 0.1 s here; a bound that only an import of TensorFlow breaks
    assert "predict" in run("--help").stdout


def test_predict_by_tensorflow_leaves_keras_out_and_importable(mixed_folder, exported_model):
    code = (
        "import sys; from deepfake_tf.cli import main\n"
        f"code = main(['predict', {str(mixed_folder)!r}, '--model', {str(exported_model.path)!r}])\n"
        "assert 'tensorflow' in sys.modules and 'keras' not in sys.modules\n"
        "import keras; keras.layers.Dense(1)(keras.ops.ones((1, 2)))\n"
        "sys.exit(code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 3, result.stderr  # some files are broken
    assert "REAL" in result.stdout or "FAKE" in result.stdout


def test_predict_mixed_folder_as_csv(mixed_folder, exported_model, tmp_path):
    output = tmp_path / "out" / "rows.csv"
    result = run("predict", mixed_folder, "--output", output, "--model", exported_model.path)  # .csv says the format
    assert result.returncode == 3, result.stderr
    rows = {os.path.basename(row["file"]): row for row in csv.DictReader(io.StringIO(output.read_text()))}
    assert set(rows) == set(good_images()) | set(broken_images())
    for name in good_images():
        assert rows[name]["error"] == ""
        assert 0.0 <= float(rows[name]["probability"]) <= 1.0
    for name, (_, message) in broken_images().items():
        assert message in rows[name]["error"]
        assert rows[name]["label"] == "INVALID"
    assert list(output.parent.iterdir()) == [output]  # nothing temporary is left
    assert "Traceback" not in result.stderr
    assert "tensorflow" not in result.stderr.lower()


@pytest.mark.parametrize("output_format", ["json", "jsonl", "table"])
def test_predict_good_images_in_every_format(mixed_folder, exported_model, output_format):
    pattern = str(mixed_folder / "*.png")
    result = run("predict", pattern, "--format", output_format, "--model", exported_model.path)
    assert result.returncode == 0, result.stderr
    names = sorted(name for name in good_images() if name.endswith(".png"))
    if output_format == "table":
        lines = result.stdout.splitlines()
        assert lines[0].split() == ["file", "size", "label", "confidence", "verdict"]
        assert [os.path.basename(line.split()[0]) for line in lines[1 : len(names) + 1]] == names
        assert "(out of domain)" in result.stdout  # the 1 x 1 pixel
    else:
        rows = (
            json.loads(result.stdout) if output_format == "json" else list(map(json.loads, result.stdout.splitlines()))
        )
        assert [os.path.basename(row["file"]) for row in rows] == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "PATH"),
        (["predict", "a.png", "--format", "xml"], "xml"),
        (["predict", "{folder}/*.tiff"], "nothing matches"),
        (["predict", "{folder}"], "no image files"),
        (["predict", "a.png", "--model", "{folder}"], "No SavedModel"),
        (["evaluate", "--data", "{folder}", "--output", "{folder}/report", "--model", "{folder}"], "{folder}"),
        (["train", "--run-dir", "{folder}/run"], "--data"),
        (["train", "--run-dir", "{folder}/run", "--data", "{folder}/nowhere"], "nowhere"),
        (["train", "--run-dir", "{folder}/run", "--data", "{folder}", "--epochs", "0"], "epochs=0"),
        (["export", "{folder}/run", "--output", "{folder}/1"], "data.json"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_code_2(tmp_path, arguments, message):
    result = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert result.returncode == 2
    assert message.format(folder=tmp_path) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_file_is_a_row(exported_model):
    result = run("predict", "missing.png", "--format", "json", "--model", exported_model.path)
    assert result.returncode == 3
    assert json.loads(result.stdout)[0]["error"] == "no such file or directory"


def test_train_resume_evaluate_export_predict(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(20):
        for name, noise in (("REAL", 0), ("FAKE", 60)):
            folder = tmp_path / "data" / name
            folder.mkdir(parents=True, exist_ok=True)
            image = np.asarray(photograph(32, 32, index), np.int16)
            changed = np.clip(image + generator.integers(-noise, noise + 1, image.shape), 0, 255)
            Image.fromarray(changed.astype(np.uint8)).save(folder / f"{index}.png")
    options = ["--image-size", 32, "--epochs", 2, "--batch-size", 8, "--weights", "none", "--run-dir", tmp_path / "run"]
    trained = run("train", "--data", tmp_path / "data", *options)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "best.weights.h5").exists()
    again = run("train", "--resume", "--run-dir", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert "has finished" in again.stdout
    report = tmp_path / "report"
    evaluated = run("evaluate", "--data", tmp_path / "data", "--model", tmp_path / "run", "--output", report)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "accuracy" in evaluated.stdout
    assert {"metrics.json", "roc.png", "reliability.png", "confusion_matrix.png"} <= set(os.listdir(report))
    exported = run("export", tmp_path / "run", "--output", tmp_path / "model" / "1")
    assert exported.returncode == 0, exported.stderr
    card = json.loads((tmp_path / "model" / "1" / "assets" / "model_card.json").read_text())
    assert card["domain"]["sides_seen_in_training"] == [32, 32]
    result = run("predict", tmp_path / "data" / "REAL", "--format", "json", "--model", tmp_path / "model")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)) == 20


def test_inspect_and_provenance_report_what_a_file_says(tmp_path, exported_model):
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: sd15")
    photograph(32, 32).save(tmp_path / "generated.png", pnginfo=text)
    photograph(32, 32).save(tmp_path / "plain.png")
    found, plain = json.loads(run("inspect", tmp_path, "--format", "json").stdout)
    assert [finding["says"] for finding in found["findings"]] == ["generated"]
    assert plain["findings"] == []
    result = run("predict", tmp_path / "generated.png", "--provenance", "--model", exported_model.path)
    assert "says that it was generated" in result.stderr
    assert "Pixels:" in result.stderr
    (tmp_path / "broken.png").write_bytes((tmp_path / "generated.png").read_bytes()[:-60])
    files = [tmp_path / name for name in ("generated.png", "broken.png")]
    options = ("--provenance", "--format", "json", "--model", exported_model.path)
    scored, broken = json.loads(run("predict", *files, *options).stdout)
    assert "says that it was generated" in scored["provenance"]
    assert [finding["says"] for finding in scored["findings"]] == ["generated"]
    assert broken["error"]
    assert "says that it was generated" in broken["provenance"]  # a file without a score still has its word
    assert broken["provenance"].endswith("Pixels: not scored.")


def test_app_without_a_model_or_a_server_says_so(tmp_path):
    missing = run("app", "--model", tmp_path / "nothing", DEEPFAKE_TF_URL="")
    assert missing.returncode == 2
    assert "No SavedModel in" in missing.stderr
    assert missing.stderr.count("\n") == 1
