import csv
import io
import json
import os
import subprocess
import sys

import pytest

from tests.cli.running import run
from tests.images import broken_images, good_images


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


def test_a_missing_file_is_a_row(exported_model):
    result = run("predict", "missing.png", "--format", "json", "--model", exported_model.path)
    assert result.returncode == 3
    assert json.loads(result.stdout)[0]["error"] == "no such file or directory"
