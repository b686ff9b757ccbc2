from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from deepfake_tf.text import format_probability
from streamlit_app.drawing import describe_gauge, draw_gauge


@pytest.mark.parametrize("probability", [0.0, 0.004, 0.5, 0.996, 1.0])
def test_gauge_marks_the_probability_and_keeps_inside(probability):
    root = ElementTree.fromstring(draw_gauge(probability, 0.5, (0.3, 0.7)))
    words = {element.text: element for element in root.findall(".//{*}text")}
    number = words[format_probability(probability)]
    assert 20 <= float(number.get("x")) <= 380
    assert "threshold 50%" in words
    marker = [path.get("d") for path in root.findall(".//{*}path") if "h16z" in path.get("d")]
    assert float(re.match(r"M([\d.]+)", marker[0])[1]) == pytest.approx(20 + 360 * probability, abs=0.1)


def test_gauge_draws_only_what_is_known():
    assert "threshold" not in draw_gauge(0.5)
    assert "url(#hatch)" not in draw_gauge(0.5)
    assert "url(#hatch)" in draw_gauge(0.5, 0.5, (0.3, 0.7))


def test_gauge_says_what_its_number_is_and_where_the_band_lies():
    words = [element.text for element in ElementTree.fromstring(draw_gauge(0.05, 0.5, (0.0402, 0.96))).iter()]
    assert "Probability that the image is generated" in words
    assert "hatched: uncertain, from 4.0% to 96.0%" in words


@pytest.mark.parametrize("dark", [False, True])
def test_gauge_is_no_block_on_the_page(dark):
    root = ElementTree.fromstring(draw_gauge(0.5, 0.5, (0.3, 0.7), dark))
    assert max(float(box.get("height")) for box in root.findall(".//{*}rect")) < 20  # the bar, and no background
    red_of_the_ink = int(root.get("fill")[1:3], 16)
    assert (red_of_the_ink > 200) is dark


def test_gauge_in_words():
    assert describe_gauge(0.934, 0.5, None) == "Probability that the image is generated: 93.4%. Threshold 50%."


def test_gauge_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="Received: -1"):
        draw_gauge(-1.0)
