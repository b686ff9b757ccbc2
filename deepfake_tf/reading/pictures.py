"""Any Pillow image as uint8 RGB: the one rule, for what is scored and for what is drawn."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_tf.reading.files import is_iso_image, read_file
from deepfake_tf.reading.orientation import UPRIGHT, exif_orientation, read_orientation, turn_upright

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "HEIF")  # Pillow's names; MPO comes by way of JPEG
HEIF_MODULES = ("pillow_heif", "pi_heif")  # either will do
_SPARE = 4  # a picture is first brought to so many times the side it is drawn at, by plain averages


class MissingDecoderError(ImportError):
    """The file is in a format whose decoder is not installed; says how to install it."""


@contextlib.contextmanager
def open_image(file: str | Path | bytes) -> Iterator[Image.Image]:
    """A file as a lazily decoded Pillow image of one of FORMATS; HEIC too, where a decoder of it is installed.

    Raises:
        MissingDecoderError: a HEIC file without a decoder.
        Exception: whatever Pillow's parsers stumble over.
    """
    encoded = file if isinstance(file, bytes) else read_file(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of untidy metadata and of size, which is judged elsewhere
        if is_iso_image(encoded[:32]) and encoded[8:12] not in (b"avif", b"avis"):
            register_heif()
        with Image.open(io.BytesIO(encoded), formats=FORMATS if "HEIF" in Image.OPEN else FORMATS[:-1]) as image:
            yield image


def register_heif() -> None:
    """Teach Pillow to read HEIC.

    Raises:
        MissingDecoderError: neither of HEIF_MODULES is installed.
    """
    for name in HEIF_MODULES:
        try:
            importlib.import_module(name).register_heif_opener()
        except ImportError:
            continue
        return
    raise MissingDecoderError("HEIC needs pillow-heif, which is not installed: pip install 'deepfake-tf[heic]'")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB, 8 bits a channel.

    16 bits are scaled to 8, where Pillow's own `convert` clips them to white. Alpha is dropped, never blended: what is
    judged are the colours that are stored. A palette's colours are looked up, CMYK, YCbCr, LAB and HSV converted, one
    bit and grey repeated.

    Modes "I" and "F" do not state their range: values up to 255 count as 8 bits, up to 65,535 as 16; in "F" values up
    to 1 count as 0..1.

    Args:
        image: PIL image of any size and mode; decoded here if it was not.

    Returns:
        An RGB image; the same object where it was RGB.

    Raises:
        ValueError: values of mode "I" or "F" outside those ranges, or not finite.
        OSError: the image cannot be decoded.
    """
    image.load()
    mode = image.mode
    if mode == "RGB":
        return image
    if mode.startswith("I;16"):
        return _from_grey((np.asarray(image) >> 8).astype(np.uint8))
    if mode in ("I", "F"):
        return _from_grey(_scale(np.asarray(image), mode))
    if mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])  # multiplied by its alpha: divided again first
    if "transparency" in image.info:
        image = image.copy()
        del image.info["transparency"]  # convert would look for a colour to spare, or fail on a damaged one
    return image.convert("RGB")


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """`to_rgb`, and turned as the image's EXIF says. (TIFF: Pillow turns it when it decodes it.)"""
    rgb = to_rgb(image)
    exif = image.info.get("exif")  # that of a PNG may stand behind its pixels
    orientation = exif_orientation(exif) if isinstance(exif, bytes) else UPRIGHT
    return rgb if orientation == UPRIGHT else Image.fromarray(turn_upright(np.asarray(rgb), orientation))


def encode_bmp(picture: Image.Image) -> bytes:
    """An RGB image as a BMP: the one lossless form that costs a copy and no compression."""
    buffer = io.BytesIO()
    picture.save(buffer, "BMP")
    return buffer.getvalue()


def encode_png(picture: Image.Image) -> bytes:
    """An RGB image as a PNG, compressed in little time."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def open_picture(file: str | Path | bytes, side: int, enlarge: bool = True) -> Image.Image | None:
    """An image file as it is drawn, the longer side `side` pixels.

    Args:
        file: its path, or its bytes.
        side: int, pixels.
        enlarge: bool. Whether a smaller image is enlarged, in hard squares, so that its pixels are seen.

    Returns:
        An RGB image, upright; None where it cannot be decoded or needs more memory than there is.
    """
    from deepfake_tf.reading.admission import admit  # which calls this module

    try:
        encoded = admit(file if isinstance(file, bytes) else read_file(file))[0]
        with open_image(encoded) as image:  # what is scored is drawn
            image.draft("RGB", (side, side))  # a JPEG is decoded at a fraction of its size
            picture = np.asarray(_fit(to_rgb(image), side, enlarge))
        return Image.fromarray(turn_upright(picture, read_orientation(encoded)))
    except Exception:  # decoders of broken files raise whatever they stumble over
        return None


def _fit(picture: Image.Image, side: int, enlarge: bool) -> Image.Image:
    scale = side / max(picture.size)
    if scale >= 1 and not enlarge:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # The filter's table for a picture of millions of pixels a side would not fit into memory.
    across, down = (max(1, length // (_SPARE * target)) for length, target in zip(picture.size, size))
    if across > 1 or down > 1:
        picture = picture.reduce((across, down))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _from_grey(grey: np.ndarray) -> Image.Image:
    return Image.fromarray(grey).convert("RGB")


def _scale(values: np.ndarray, mode: str) -> np.ndarray:
    """uint8 of values that do not say what white is."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0 and high <= 65_535):
        raise ValueError(f"an image of mode {mode!r} must hold 0..255 or 0..65535. Received: {low:g} to {high:g}")
    if mode == "F" and high <= 1:
        values = values * np.float32(255)
    if high > 255:
        values = values.astype(np.int32) >> 8
    return np.rint(values).astype(np.uint8)
