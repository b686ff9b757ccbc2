"""The NumPy and Pillow twin against the TensorFlow original."""

from __future__ import annotations

import struct
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from PIL import Image

from deepfake_tf.contract import ERROR_DAMAGED, ERROR_TOO_LARGE, MAX_PIXELS
from deepfake_tf.reading import pillow_reader as light
from deepfake_tf.reading import tensorflow_reader
from tests.images import broken_images, encode, gif_bomb, good_images, photograph, png_that_claims

FORMATS = {"JPEG": {"quality": 90}, "PNG": {}, "GIF": {}, "BMP": {}, "WEBP": {"quality": 90}}
TENSORFLOW_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "")  # in the order of the numbers of preprocessing


@pytest.fixture(scope="module")
def photographs() -> dict[str, Image.Image]:
    china, flower = (Image.fromarray(image) for image in sklearn.datasets.load_sample_images().images)
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as hopper:
        return {"china": china, "flower": flower, "hopper": hopper.convert("RGB")}


def variants() -> dict[str, bytes]:
    """What Pillow can write beside the usual."""
    image = photograph()
    palette = image.convert("P")
    return {
        "32_bits.bmp": encode(image.convert("RGBA"), "BMP"),
        "one_bit.png": encode(image.convert("1"), "PNG"),
        "grey_alpha.png": encode(image.convert("LA"), "PNG"),
        "transparent_palette.png": encode(palette, "PNG", transparency=bytes(range(200))),
        "transparent.gif": encode(palette, "GIF", transparency=3),
        "animated.webp": encode(image, "WEBP", save_all=True, append_images=[photograph(seed=1)]),
        "full_colour.jpg": encode(image, "JPEG", subsampling=0),
        "comment.jpg": encode(image, "JPEG", comment=b"x" * 6_000),
    }


def tensorflow_square(image_bytes: bytes) -> np.ndarray:
    return tensorflow_reader.resize(tensorflow_reader.decode(tf.constant(image_bytes))).numpy()


def light_square(image_bytes: bytes) -> np.ndarray:
    image = light.read_image(image_bytes)
    assert image.error == ""
    assert image.pixels is not None
    return image.pixels


def assert_within_one_grey_level(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.dtype == expected.dtype == np.uint8
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01  # values that lie on the half, to float's last digit


@pytest.mark.parametrize("name", [*good_images(), *variants()])
def test_every_kind_of_file_gives_the_same_square(name):
    image_bytes = {**good_images(), **variants()}[name]
    assert_within_one_grey_level(light_square(image_bytes), tensorflow_square(image_bytes))


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("name", ["china", "flower", "hopper"])
def test_photographs_give_the_same_square(photographs, name, image_format):
    image_bytes = encode(photographs[name], image_format, **FORMATS[image_format])
    assert_within_one_grey_level(light_square(image_bytes), tensorflow_square(image_bytes))


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (224, 224), (225, 223), (1000, 3), (7, 500)])
def test_resize_agrees_at_any_size(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    assert_within_one_grey_level(light.resize(pixels), tensorflow_reader.resize(tf.constant(pixels)).numpy())


@pytest.mark.parametrize("name", [*good_images(), *variants()])
def test_headers_are_read_alike(name):
    image_bytes = {**good_images(), **variants()}[name]
    number, width, height = (int(value) for value in tensorflow_reader.read_header(tf.constant(image_bytes)))
    assert light.read_header(image_bytes) == (TENSORFLOW_FORMATS[number], width, height)


@pytest.mark.parametrize("name", broken_images())
def test_broken_files_say_why(name):
    image_bytes, expected = broken_images()[name]
    image = light.read_image(image_bytes)
    assert image.pixels is None
    assert expected in image.error


@pytest.mark.parametrize("name", ["baseline.jpg", "colour.png", "still.gif", "colour.bmp", "lossy.webp"])
def test_cut_files_are_refused_as_tensorflow_refuses_them(name):
    image_bytes = good_images()[name]
    for length in range(0, len(image_bytes) - 20, len(image_bytes) // 12):
        cut = image_bytes[:length]
        try:
            tensorflow_square(cut)
            is_readable = True
        except tf.errors.InvalidArgumentError:
            is_readable = False
        assert (light.read_image(cut).error == "") == is_readable, length


def test_size_is_checked_before_anything_is_decoded():
    side = 4000
    claims_65500 = bytearray(encode(photograph(), "JPEG"))
    frame = claims_65500.index(b"\xff\xc0")
    claims_65500[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    for image_bytes in (png_that_claims(side, MAX_PIXELS // side + 1), bytes(claims_65500)):
        image = light.read_image(image_bytes)
        assert image.error == ERROR_TOO_LARGE
        assert image.width * image.height > MAX_PIXELS


def test_fill_bytes_without_end_take_no_time():
    image = light.read_image(b"\xff\xd8" + b"\xff" * 2**20)  # at quadratic cost it would take an hour
    assert image.error == ERROR_DAMAGED


def test_only_the_first_frame_of_a_gif_is_unpacked():
    image = light.read_image(gif_bomb(frames=300, side=1000))  # 300 MB, were all of it unpacked
    assert (image.width, image.height, image.error) == (1000, 1000, "")


def test_random_bytes_behind_a_magic_number_never_raise():
    generator = np.random.default_rng(0)
    for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\x10\0\0\0WEBPVP8 "):
        for length in (0, 1, 30, 300):
            image = light.read_image(magic + generator.bytes(length))
            assert image.pixels is None
            assert image.error
