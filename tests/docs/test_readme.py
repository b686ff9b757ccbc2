"""The README: short, and what it shows is what the command prints."""

from __future__ import annotations

import re

import pytest

from deepfake_tf.cli import main
from tests.docs.documents import README, code_blocks

MOST_LINES = 180
MOST_CHARACTERS = 120


def test_it_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    assert [line for line in lines if len(line) > MOST_CHARACTERS] == []


def test_it_shows_what_demo_prints(capsys):
    """Every row of the table, the percentages to one point."""
    shown = code_blocks(README.read_text(encoding="utf-8"), "text")[0].splitlines()
    assert main(["demo", "--engine", "litert"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(shown)
    percentage = re.compile(r"[\d.]+(?=%)")
    for line, expected in zip(printed, shown):
        assert percentage.sub("", line).split() == percentage.sub("", expected).split()
        values = [[float(value) for value in percentage.findall(text)] for text in (line, expected)]
        assert values[0] == pytest.approx(values[1], abs=1)
