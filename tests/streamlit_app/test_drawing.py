from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from streamlit_app.drawing import PICTURE_SIDE, describe_gauge, draw_gauge, draw_picture, format_probability
from tests.images import encode, photograph


def test_small_pictures_keep_their_pixels():
    image = Image.new("RGB", (2, 1), "red")
    image.putpixel((1, 0), (0, 0, 255))
    picture = draw_picture(encode(image, "PNG"))
    assert picture.size == (PICTURE_SIDE, PICTURE_SIDE // 2)
    assert picture.getcolors() == [(PICTURE_SIDE**2 // 4, (255, 0, 0)), (PICTURE_SIDE**2 // 4, (0, 0, 255))]


def test_picture_is_upright_and_the_map_turns_with_it():
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its left side: the stored left edge is shown at the top
    encoded = encode(Image.new("RGB", (60, 40)), "JPEG", exif=exif)
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[:, 0] = 1.0
    picture = np.asarray(draw_picture(encoded, heatmap, 1.0), np.float64)
    assert picture.shape == (PICTURE_SIDE, round(PICTURE_SIDE * 2 / 3), 3)
    assert picture[:50].mean() > 100
    assert picture[-50:].mean() < 5


@pytest.mark.parametrize("encoded", [b"", b"no image", encode(photograph(), "PNG")[:200]])
def test_no_picture_of_a_broken_file(encoded):
    assert draw_picture(encoded) is None


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


def test_no_percentage_claims_certainty():
    assert [format_probability(value) for value in (0.0, 0.0104, 0.99999)] == ["<0.1%", "1.0%", ">99.9%"]


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


def test_map_of_a_photograph_is_of_its_central_square():
    encoded = encode(Image.new("RGB", (640, 320)), "PNG")
    drawn = draw_picture(encoded, np.ones((14, 14), np.float32), 1.0, "photograph")
    assert drawn.getpixel((80, 160)) == (0, 0, 0)
    assert drawn.getpixel((320, 160)) != (0, 0, 0)


def test_gauge_in_words():
    assert describe_gauge(0.934, 0.5, None) == "Probability that the image is generated: 93.4%. Threshold 50%."


def test_gauge_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="Received: -1"):
        draw_gauge(-1.0)
