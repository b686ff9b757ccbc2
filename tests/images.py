"""Encoded images that tests make: good ones of every format, and broken ones of every kind."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photograph(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    """A smooth coloured picture with some texture."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray(np.clip(pixels + generator.integers(-9, 10, pixels.shape), 0, 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def good_images() -> dict[str, bytes]:
    image = photograph()
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    sixteen_bits = Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30)
    return {
        "baseline.jpg": encode(image, "JPEG"),
        "progressive.jpg": encode(image, "JPEG", progressive=True),
        "grey.jpg": encode(image.convert("L"), "JPEG"),
        "cmyk.jpg": encode(image.convert("CMYK"), "JPEG"),
        "rotated.jpg": encode(image, "JPEG", exif=exif),
        "colour.png": encode(image, "PNG"),
        "palette.png": encode(image.convert("P"), "PNG"),
        "alpha.png": encode(image.convert("RGBA"), "PNG"),
        "sixteen_bits.png": encode(sixteen_bits, "PNG"),
        "single_pixel.png": encode(image.resize((1, 1)), "PNG"),
        "still.gif": encode(image, "GIF"),
        "animated.gif": encode(image, "GIF", save_all=True, append_images=[photograph(seed=1), photograph(seed=2)]),
        "colour.bmp": encode(image, "BMP"),
        "palette.bmp": encode(image.convert("P"), "BMP"),
        "lossy.webp": encode(image, "WEBP"),
        "lossless.webp": encode(image, "WEBP", lossless=True),
        "alpha.webp": encode(image.convert("RGBA"), "WEBP"),
    }


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of under 100 bytes whose header states any size."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def gif_bomb(frames: int, side: int = 4000) -> bytes:
    """A GIF of some KB a frame that unpacks to side x side pixels each."""
    blank = Image.new("P", (side, side))
    first = encode(blank, "GIF")
    start = first.index(b"\x2c")
    return first[:start] + first[start:-1] * frames + b"\x3b"


def broken_images() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, a part of the error that they deserve)."""
    image = photograph(200, 160)
    return {
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"this is no image", "not an image"),
        "vector.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        "icon.webp": (encode(image, "ICO"), "not an image"),
        "cut.jpg": (encode(image, "JPEG")[:1500], "damaged"),
        "cut.png": (encode(image, "PNG")[:1500], "damaged"),
        "cut.gif": (encode(image, "GIF")[:900], "damaged"),
        "cut.webp": (encode(image, "WEBP")[:300], "damaged"),
        "cut.bmp": (encode(image, "BMP")[:900], "damaged"),
        "three_bytes.jpg": (b"\xff\xd8\xff", "damaged"),
        "header_only.gif": (b"GIF89a", "damaged"),
        "huge.png": (png_that_claims(30_000, 30_000), "too many pixels"),
        "overflowing.png": (png_that_claims(2**31 - 1, 2**31 - 1), "too many pixels"),
    }
