"""How a picture is held: EXIF's orientation, the same for every reader and for what is drawn."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from deepfake_tf.contract import ERROR_DAMAGED
from deepfake_tf.detectors import cifake
from deepfake_tf.detectors import photograph as photographs
from deepfake_tf.reading import admission, tensorflow_reader
from deepfake_tf.reading.orientation import read_orientation, turn_upright, write_orientation
from deepfake_tf.reading.pictures import open_picture, to_upright_rgb
from deepfake_tf.reading.pillow_reader import read_image
from deepfake_tf.reading.tensorflow_batches import read_images
from tests.images import encode, photograph

ORIENTATIONS = range(1, 9)
read_in_a_graph = tf.function(tensorflow_reader.read_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def exif_of(orientation, byte_order=">"):
    exif = Image.Exif()
    exif.endian = byte_order
    exif[0x010F] = "a maker"
    exif[0x0112] = orientation
    return exif


def held(orientation, image_format="JPEG", **options):
    """A file that is stored so that turning it gives the picture."""
    stored = turn_upright(np.asarray(photograph(320, 240)), {6: 8, 8: 6}.get(orientation, orientation))
    exif = exif_of(orientation)
    return encode(Image.fromarray(np.ascontiguousarray(stored)), image_format, exif=exif, **options)


def upright_pixels(encoded):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"))


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("orientation", [*ORIENTATIONS, 0, 9, 65535])
def test_both_readers_find_what_pillow_wrote(orientation, byte_order):
    encoded = encode(photograph(), "JPEG", exif=exif_of(orientation, byte_order))
    expected = orientation if orientation in ORIENTATIONS else 1
    assert read_orientation(encoded) == expected
    assert int(read_in_a_graph(encoded)) == expected
    assert read_orientation(encode(photograph(), "JPEG")) == 1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turned_as_pillow_turns(orientation):
    image = Image.open(io.BytesIO(encode(photograph(48, 48), "JPEG", exif=exif_of(orientation))))
    pixels, expected = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turn_upright(pixels, orientation), expected)
    np.testing.assert_array_equal(tensorflow_reader.turn_upright(pixels, tf.constant(orientation)), expected)


def test_of_damaged_metadata_both_readers_make_the_same():
    generator = np.random.default_rng(0)
    whole, found = encode(photograph(), "JPEG", exif=exif_of(6)), []
    for _ in range(1000):
        damaged = bytearray(whole)
        for position in generator.integers(0, 90, generator.integers(1, 6)):
            damaged[position] = generator.choice([0, 255, 0xE1, 0x12, 3, 8, generator.integers(256)])
        encoded = bytes(damaged[: generator.integers(1, 120)]) if generator.random() < 0.3 else bytes(damaged)
        found.append(read_orientation(encoded))
        assert found[-1] == int(read_in_a_graph(encoded)), encoded[:120]
    assert 100 < np.count_nonzero(np.array(found) != 1) < 900


def test_only_so_many_segments_are_looked_through():
    encoded = encode(photograph(), "JPEG", exif=exif_of(6))
    for count, expected in ((62, 6), (63, 1)):  # Pillow writes one more, JFIF's
        padded = encoded[:2] + b"\xff\xe2\x00\x02" * count + encoded[2:]
        assert read_orientation(padded) == int(read_in_a_graph(padded)) == expected


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_of_metadata_the_orientation_alone_is_handed_on(orientation):
    picture, error = admission.admit(held(orientation))
    assert not error
    assert read_orientation(picture) == orientation
    assert b"a maker" not in picture
    assert (write_orientation(orientation) in picture) == (orientation != 1)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photographs_are_seen_upright(orientation):
    encoded = held(orientation, quality=95)
    expected = photographs.SPEC.pillow_view(upright_pixels(encoded)).astype(int)
    seen = read_image(encoded, photographs.SPEC.pillow_view, upright=True)
    pixels, codes, width, height = read_images([encoded], photographs.SPEC.tensorflow_view, 224, upright=True)
    np.testing.assert_allclose(seen.pixels, expected, atol=2)  # it is scaled first: across, then down
    np.testing.assert_allclose(pixels[0].numpy().astype(int), expected, atol=2)
    assert (seen.width, seen.height) == (int(width[0]), int(height[0])) == Image.open(io.BytesIO(encoded)).size
    assert int(codes[0]) == 0


def test_images_of_cifake_are_seen_as_stored():
    encoded = encode(photograph(32, 32), "JPEG", exif=exif_of(6))
    plain = encode(photograph(32, 32), "JPEG")
    assert not cifake.SPEC.upright
    np.testing.assert_array_equal(read_image(encoded).pixels, read_image(plain).pixels)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_other_formats_are_turned_before_an_engine_sees_them(image_format):
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95}}.get(image_format, {})
    for orientation in (6, 3):
        picture, error = admission.admit(held(orientation, image_format, **options))
        assert not error
        turned = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
        assert turned.shape == (240, 320, 3)
        assert np.abs(turned - np.asarray(photograph(320, 240))).mean() < 6


@pytest.mark.parametrize("orientation", [1, 6])
def test_turned_or_not_the_same_damage_is_refused(orientation):
    whole = held(orientation, "PNG")
    ended, error = admission.admit(whole[:-12])  # the end chunk alone is missing
    assert (error, read_image(ended).error) == ("", "")
    half, error = admission.admit(whole[: len(whole) // 2])
    assert (error or read_image(half).error) == ERROR_DAMAGED


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF"])
def test_pictures_are_drawn_upright(image_format):
    drawn = np.asarray(open_picture(held(8, image_format), 320)).astype(int)
    assert np.abs(drawn - np.asarray(photograph(320, 240))).mean() < 6


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_pil_images_are_turned_as_their_files_are(mode):
    image = Image.fromarray((np.arange(60 * 40, dtype=np.uint16) * 20).reshape(40, 60))
    fields = struct.pack(">HHI4sHHIHH", 0x0100, 1, 1, b"\1\0\0\0", 0x0112, 3, 1, 6, 0)  # a width of one byte is wrong
    exif = b"Exif\0\0" + struct.pack(">2sHIH", b"MM", 42, 8, 2) + fields + bytes(4)
    encoded = encode(image if mode == "I;16" else photograph(60, 40).convert(mode), "PNG", exif=exif)
    turned = np.asarray(to_upright_rgb(Image.open(io.BytesIO(encoded))))
    assert turned.shape == (60, 40, 3)
    np.testing.assert_array_equal(turned, np.asarray(Image.open(io.BytesIO(admission.admit(encoded)[0]))))


def test_fields_that_all_point_at_a_megabyte_are_not_copied():
    field = struct.pack(">HHII", 0xC000, 7, 1 << 20, 26)
    many = struct.pack(">2sHIH", b"MM", 42, 8, 3000) + field * 3000 + bytes(1 << 20)
    for image_format in ("PNG", "WEBP"):
        encoded = encode(photograph(), image_format, exif=many)
        tracemalloc.start()
        assert not admission.admit(encoded)[1]
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        tracemalloc.stop()


def test_fill_bytes_stand_before_a_segment():
    encoded = encode(photograph(), "JPEG", exif=exif_of(6))
    start = encoded.index(b"\xff\xe1")
    filled = encoded[:start] + b"\xff" * 5 + encoded[start:]
    assert read_orientation(filled) == int(read_in_a_graph(filled)) == 6


def test_damaged_metadata_loses_no_picture():
    encoded = encode(photograph(), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff" + bytes(20))
    picture, error = admission.admit(encoded)
    assert not error
    np.testing.assert_array_equal(read_image(picture).pixels, read_image(encode(photograph(), "PNG")).pixels)
