"""The report to keep: what stands in it, and that no word of a file does anything there."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deepfake_tf import Detector
from deepfake_tf.output.html_report import Answer, answer_files, format_report
from tests.images import photograph

SCRIPT = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The elements of a page with their attributes, its pictures, and its text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.pictures: list[tuple[Image.Image, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "img":
            found = dict(attributes)
            encoded = base64.b64decode(found["src"].removeprefix("data:image/jpeg;base64,"))
            self.pictures.append((Image.open(io.BytesIO(encoded)), found["alt"]))

    def handle_data(self, data):
        self.text += f"{data} "


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> list[Answer]:
    folder = tmp_path_factory.mktemp("report")
    said = PngInfo()
    said.add_text("parameters", f"a cat {SCRIPT}\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: sd15")
    photograph(400, 300).save(folder / "declares <b>.png", pnginfo=said)
    photograph(320, 240, seed=3).save(folder / "silent.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no image " + SCRIPT.encode())
    names = ("declares <b>.png", "silent.jpg", "broken.jpg", "missing.jpg")
    return list(answer_files(Detector(engine="litert"), [str(folder / name) for name in names]))


def test_every_file_has_its_conclusion_and_what_it_takes_to_check_it(answers):
    page = Page(format_report(answers))
    words = " ".join(page.text.split())
    for answer in answers:
        assert answer.conclusion.sentence in words
        assert answer.conclusion.advice in words
    declares, silent, broken, missing = answers
    assert declares.conclusion.code == "declared_generated"
    assert hashlib.sha256(declares.encoded).hexdigest() in words
    assert f"Detector photograph, {silent.card['network']['name']}" in words
    assert [answer.encoded == b"" for answer in answers] == [False, False, False, True]
    for answer in (broken, missing):
        assert answer.prediction.error in words
    assert page.tags.count("section") == len(answers)
    assert "None:" not in page.text  # no witness has that name


def test_pictures_stand_inside_it_with_a_map_where_there_is_a_verdict(answers):
    page = Page(format_report(answers))
    judged = sum(answer.has_number for answer in answers)
    assert len(page.pictures) == 2 + judged  # two can be drawn
    picture = page.pictures[0][0]
    assert picture.size == (640, 480)
    assert all(alternative for _, alternative in page.pictures)
    difference = np.abs(np.asarray(picture, float) - np.asarray(photograph(400, 300).resize((640, 480)), float))
    assert np.median(difference) < 10


def test_no_word_of_a_file_does_anything(answers):
    text = format_report(answers)
    page = Page(text)
    assert set(page.tags) & {"script", "iframe", "object", "link", "base"} == set()
    sides = {answer.conclusion.side for answer in answers}
    assert page.tags.count("b") == len(answers) + len(sides)  # "What to do next", and the counts: not a file's name
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert SCRIPT in page.text  # it is shown as it stands
    policy = [value for name, value in page.attributes if name == "content" and value and "default-src" in value]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not re.search(r"https?://", text)


def test_one_picture_needs_no_table_of_contents(answers):
    page = Page(format_report(answers[1:2]))
    assert "thead" not in page.tags
    assert page.text.count(answers[1].conclusion.sentence) == 1
