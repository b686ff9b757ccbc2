import io

import numpy as np
import pytest
from PIL import Image

from deepfake_tf import Detector
from deepfake_tf.output.heatmaps import PICTURE_SIDE, draw_picture, draw_sheet, overlay
from tests.images import encode, photograph


def test_overlay_changes_only_where_the_map_is_warm():
    image = photograph(70, 70)
    heatmap = np.zeros((7, 7), np.float32)
    heatmap[:, 4:] = 1.0
    drawn = np.asarray(overlay(image, heatmap, 0.8), np.int16)
    difference = np.abs(drawn - np.asarray(image)).max(axis=-1)
    assert difference[:, :20].max() <= 8  # bicubic ripples
    assert np.median(difference[:, 50:]) > 40
    np.testing.assert_array_equal(np.asarray(overlay(image, heatmap, 0.0)), np.asarray(image))


def test_map_of_the_central_square_leaves_the_rest():
    image = Image.new("RGB", (70, 40), "white")
    drawn = np.asarray(overlay(image, np.ones((4, 4), np.float32), 1.0, central_square=True))
    assert (drawn[:, :15] == 255).all()
    assert (drawn[:, 55:] == 255).all()
    assert (drawn[:, 15:55].min(axis=-1) < 255).all()


@pytest.mark.parametrize(
    ("heatmap", "opacity"), [(np.zeros((7, 7)), 1.5), (np.full((7, 7), 2.0), 0.5), (np.zeros(7), 0.5)]
)
def test_overlay_refuses_what_is_out_of_range(heatmap, opacity):
    with pytest.raises(ValueError, match="Received"):
        overlay(photograph(), heatmap, opacity)


def test_a_sheet_shows_good_and_bad_images(exported_model):
    images = [encode(photograph(32, 32), "PNG"), b"broken", encode(photograph(300, 200), "JPEG")]
    sheet = Image.open(io.BytesIO(draw_sheet(Detector(exported_model.path).explain(images), images)))
    assert sheet.format == "PNG"
    assert sheet.width > sheet.height


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


def test_map_of_a_photograph_is_of_its_central_square():
    encoded = encode(Image.new("RGB", (640, 320)), "PNG")
    drawn = draw_picture(encoded, np.ones((14, 14), np.float32), 1.0, "photograph")
    assert drawn.getpixel((80, 160)) == (0, 0, 0)
    assert drawn.getpixel((320, 160)) != (0, 0, 0)
