from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from PIL import Image

from deepfake_tf.reading import tensorflow_reader

WIDTH, HEIGHT = 97, 61


@pytest.fixture(scope="module")
def photographs():
    """Photographs that installed packages carry, RGB."""
    china, flower = (Image.fromarray(image) for image in sklearn.datasets.load_sample_images().images)
    hopper = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    return [china, flower, hopper]


@pytest.fixture(scope="module")
def photo(photographs):
    return photographs[1].resize((WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def translucent(photo):
    image = photo.convert("RGBA")
    image.putalpha(photo.convert("L"))
    return image


def encode(image: Image.Image, image_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def decode(image_bytes: bytes) -> np.ndarray:
    return tensorflow_reader.decode(tf.constant(image_bytes)).numpy()


def as_pillow_decodes(image_bytes: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(image_bytes)).convert("RGB"))


ENCODED = {
    "JPEG, full colour": lambda rgb, rgba: encode(rgb, "JPEG", quality=85, subsampling=0),
    "JPEG, colour at half the size": lambda rgb, rgba: encode(rgb, "JPEG", quality=85, subsampling=2),
    "JPEG, progressive": lambda rgb, rgba: encode(rgb, "JPEG", progressive=True),
    "JPEG, grey": lambda rgb, rgba: encode(rgb.convert("L"), "JPEG"),
    "JPEG, CMYK": lambda rgb, rgba: encode(rgb.convert("CMYK"), "JPEG"),
    "PNG": lambda rgb, rgba: encode(rgb, "PNG"),
    "PNG, grey": lambda rgb, rgba: encode(rgb.convert("L"), "PNG"),
    "PNG, grey with alpha": lambda rgb, rgba: encode(rgba.convert("LA"), "PNG"),
    "PNG, alpha": lambda rgb, rgba: encode(rgba, "PNG"),
    "PNG, black and white": lambda rgb, rgba: encode(rgb.convert("1"), "PNG"),
    "PNG, palette": lambda rgb, rgba: encode(rgb.quantize(200), "PNG"),
    "PNG, palette with a transparent colour": lambda rgb, rgba: encode(rgb.quantize(16), "PNG", transparency=3),
    "GIF": lambda rgb, rgba: encode(rgb, "GIF"),
    "GIF, animated": lambda rgb, rgba: encode(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)] * 3),
    "BMP": lambda rgb, rgba: encode(rgb, "BMP"),
    "BMP, palette": lambda rgb, rgba: encode(rgb.quantize(200), "BMP"),
    "BMP, grey": lambda rgb, rgba: encode(rgb.convert("L"), "BMP"),
    "BMP, alpha": lambda rgb, rgba: encode(rgba, "BMP"),
    "WebP": lambda rgb, rgba: encode(rgb, "WEBP", quality=80),
    "WebP, lossless": lambda rgb, rgba: encode(rgb, "WEBP", lossless=True),
    "WebP, alpha": lambda rgb, rgba: encode(rgba, "WEBP"),
    "WebP, lossless with alpha": lambda rgb, rgba: encode(rgba, "WEBP", lossless=True, exact=True),
    "WebP, animated": lambda rgb, rgba: encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_decode_is_exactly_what_pillow_decodes(kind, photo, translucent):
    image_bytes = ENCODED[kind](photo, translucent)
    decoded = decode(image_bytes)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, as_pillow_decodes(image_bytes))


@pytest.mark.parametrize("kind", ENCODED)
def test_decode_in_a_dataset_is_decode_eagerly(kind, photo, translucent):
    image_bytes = ENCODED[kind](photo, translucent)
    (decoded,) = tf.data.Dataset.from_tensors(image_bytes).map(tensorflow_reader.decode).as_numpy_iterator()
    np.testing.assert_array_equal(decoded, decode(image_bytes))


def test_decode_16_bits_keeps_the_upper_8():
    values = (np.arange(HEIGHT * WIDTH, dtype=np.uint16) * 11).reshape(HEIGHT, WIDTH)
    decoded = decode(encode(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat((values >> 8)[..., None], 3, axis=2))


def test_decode_leaves_the_orientation_alone(photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert decode(encode(photo, "JPEG", exif=exif)).shape == (HEIGHT, WIDTH, 3)


def test_decode_one_pixel():
    np.testing.assert_array_equal(decode(encode(Image.new("RGB", (1, 1), (10, 20, 30)), "PNG")), [[[10, 20, 30]]])


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_decode_refuses_half_a_file(photo, image_format):
    image_bytes = encode(photo, image_format)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(image_bytes[: len(image_bytes) // 2])


@pytest.mark.parametrize(
    "image_bytes",
    [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", bytes(1000)],
)
def test_decode_refuses_what_is_no_image(image_bytes):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(image_bytes)


@pytest.mark.parametrize("kind", ENCODED)
def test_header_states_format_and_size(kind, photo, translucent):
    image_format, width, height = tensorflow_reader.read_header(tf.constant(ENCODED[kind](photo, translucent)))
    assert int(image_format) == getattr(tensorflow_reader, kind.split(",")[0].upper())
    assert (int(width), int(height)) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    "shape",
    [(640, 427), (WIDTH, HEIGHT), (32, 32), (50, 300), (225, 223), (1, 1)],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize("size", [224, 112, 32])
def test_resize_is_pillows_to_one_grey_level(photographs, shape, size):
    for photograph in photographs:
        image = photograph.resize(shape)
        resized = tensorflow_reader.resize(tf.constant(np.array(image)), size).numpy()
        expected = np.array(image.resize((size, size), Image.Resampling.BILINEAR))
        assert resized.dtype == np.uint8
        assert resized.shape == (size, size, 3)
        difference = np.abs(resized.astype(int) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.25


def test_resize_to_its_own_size_changes_nothing(photographs):
    image = np.array(photographs[0].resize((224, 224)))
    np.testing.assert_array_equal(tensorflow_reader.resize(tf.constant(image)).numpy(), image)


def test_resize_of_a_batch_is_resize_of_each(photographs):
    images = np.stack([np.array(photograph.resize((50, 40))) for photograph in photographs])
    batch = tensorflow_reader.resize(tf.constant(images), 32).numpy()
    np.testing.assert_array_equal(batch, [tensorflow_reader.resize(tf.constant(image), 32).numpy() for image in images])
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(2).map(lambda batch: tensorflow_reader.resize(batch, 32))
    np.testing.assert_array_equal(np.concatenate(list(dataset.as_numpy_iterator())), batch)


def test_normalise():
    np.testing.assert_allclose(
        tensorflow_reader.normalise(tf.constant([0, 51, 255], tf.uint8)), [-1.0, -0.6, 1.0], rtol=0, atol=1e-6
    )
    assert tensorflow_reader.normalise(tf.constant([0.0, 127.5])).numpy().tolist() == [-1.0, 0.0]
