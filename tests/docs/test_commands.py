"""Every documented command is one that the command line takes, and the Python that is shown runs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from deepfake_tf.cli import build_parser
from tests.docs.documents import DOCUMENTS, ROOT, code_blocks, inline_code, name_of, shell_blocks

PROGRAM = "deepfake-tf"
PARSER = build_parser()
# The shell takes the documents apart: variables, loops, quotes. No program but ours is found, and ours only says what
# it was given.
SAY_ARGUMENTS = f"""
PATH=/nowhere
{PROGRAM}() {{ printf '%s\\0' "$@" >&3; printf '\\n\\0' >&3; }}
"""


def arguments_of(script: str, folder) -> list[list[str]]:
    """What `deepfake-tf` is given each time that a script of bash calls it."""
    said = folder / "said"
    code = f"exec 3>'{said}'\n{SAY_ARGUMENTS}\n{script.replace('.venv/bin/', '')}"
    subprocess.run([shutil.which("bash"), "-c", code], cwd=folder, capture_output=True, timeout=60)
    calls: list[list[str]] = [[]]
    for argument in said.read_text().split("\0")[:-1]:
        if argument == "\n":
            calls.append([])
        else:
            calls[-1].append(argument)
    return calls[:-1]


def check(arguments: list[str], capsys) -> None:
    """Fails where the command line does not take them."""
    try:
        options, others = PARSER.parse_known_args(arguments)
    except SystemExit as end:
        if end.code:
            pytest.fail(f"{PROGRAM} {' '.join(arguments)}\n{capsys.readouterr().err}")
        return  # --help, --version
    if others and options.command != "score":  # whose other options are Beam's
        pytest.fail(f"{PROGRAM} {' '.join(arguments)}: it does not know {' '.join(others)}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_in_blocks_are_taken(document, tmp_path, capsys):
    for block in shell_blocks(document.read_text(encoding="utf-8")):
        if f"{PROGRAM} " not in block:
            continue
        calls = arguments_of(block, tmp_path)
        assert calls, f"bash finds no command here:\n{block}"
        for arguments in calls:
            check(arguments, capsys)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_in_sentences_are_taken(document, tmp_path, capsys):
    for code in inline_code(document.read_text(encoding="utf-8")):
        if code.startswith(f"{PROGRAM} "):
            [arguments] = arguments_of(code, tmp_path)
            # A command that is only named lacks what it needs: that there is one is enough.
            check([*arguments, "--help"] if len(arguments) == 1 else arguments, capsys)


@pytest.mark.parametrize("document", [ROOT / "README.md", ROOT / "docs" / "python.md"], ids=name_of)
def test_python_runs(document, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_TF_MODEL", str(ROOT / "saved_model" / "deepfake"))
    shutil.copy(ROOT / "deepfake_tf" / "samples" / "photographs" / "flower.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks(document.read_text(encoding="utf-8"), "python")
    assert blocks
    for block in blocks:
        exec(compile(block, str(document), "exec"), {})
