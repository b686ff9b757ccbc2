import json
import os
import subprocess

import pytest

from deepfake_tf.text import as_cell, as_utf8, format_probability, json_text, of_cell, of_utf8, plural, printable

NAMES = [
    "plain.png",
    "ümläut 你好.png",
    "latin1_\udce9.png",
    r"latin1_\xe9.png",
    r"latin1_\\xe9.png",
    r"back\slash.png",
    r"\u2028.png",
    "both\\\udcff.png",
    "line\u2028separator.png",
    "next\x85line.png",
    "\x1b[2J.png",
    "two\nlines.png",
]


def test_names_are_utf_8_and_no_two_alike():
    for write in (as_utf8, printable):
        assert len({write(name) for name in NAMES}) == len(NAMES)
        for name in NAMES:
            write(name).encode("utf-8")
    assert [of_utf8(as_utf8(name)) for name in NAMES] == NAMES
    assert as_utf8("latin1_\udce9.png") == r"latin1_\xe9.png"
    assert as_utf8("ümläut 你好.png") == printable("ümläut 你好.png") == "ümläut 你好.png"


@pytest.mark.parametrize("name", NAMES)
def test_bash_finds_the_file_again(name):
    command = ["bash", "-c", 'printf "$1"', "bash", printable(name)]
    shown = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert shown.stdout == os.fsencode(name)


@pytest.mark.parametrize("character", list("\n\r\t\x0b\x0c\x1c\x1d\x1e\x1b\x7f\x85\u200b\u2028\u2029\u202e\udcff"))
def test_what_is_printed_stays_on_its_line(character):
    shown = printable(f"a{character}b")
    assert character not in shown
    assert len(shown.splitlines()) == 1


def test_json_is_one_line_to_every_reader():
    value = {"file": "a\n\x0b\x85\u2028\u2029\udce9 ü"}
    text = json_text(value)
    assert len(text.splitlines()) == 1
    assert json.loads(text.encode("utf-8")) == {"file": "a\n\x0b\x85\u2028\u2029\\xe9 ü"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_cells_that_a_spreadsheet_would_run_are_marked(start):
    for text in (f"{start}SUM(A1).png", f"'{start}SUM(A1).png", f"''{start}", start):
        assert as_cell(text) == "'" + text
        assert of_cell(as_cell(text)) == text


@pytest.mark.parametrize("text", ["", "a=b", "'quoted'", "a.png", "ümläut"])
def test_other_cells_stay(text):
    assert as_cell(text) == of_cell(text) == text


def test_plural():
    assert [plural(count, "image") for count in (0, 1, 2, 1000)] == ["0 images", "1 image", "2 images", "1,000 images"]
    assert plural(2, "batch") == "2 batches"
    assert plural(3, "epoch") == "3 epochs"


def test_no_percentage_claims_certainty():
    assert [format_probability(value) for value in (0.0, 0.0104, 0.99999)] == ["<0.1%", "1.0%", ">99.9%"]
