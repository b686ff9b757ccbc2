"""What all commands share: help, and one line where they cannot start."""

import subprocess
import sys

import pytest

from tests.cli.running import run


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, deepfake_tf, deepfake_tf.cli as c; c.build_parser(); "
        "print(*{'tensorflow', 'numpy'} & {*sys.modules})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"
    assert "predict" in run("--help").stdout


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
