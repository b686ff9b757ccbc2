"""The way of an image without TensorFlow: the twin of `deepfake_tf.reading.tensorflow_reader` in NumPy and Pillow.

Same checks in the same order, same errors, same pixels to one grey level; a test holds the two together.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.WebPImagePlugin  # registers WebP: to find it by itself, Image.open would import every plugin

from deepfake_tf.config import IMAGE_SIZE, MAX_PIXELS
from deepfake_tf.contract import ERROR_DAMAGED, ERROR_EMPTY, ERROR_NO_SIZE, ERROR_TOO_LARGE, ERROR_UNKNOWN

_HEAD_BYTES = 32  # as much as the size of a PNG, BMP or WebP stands in
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers that state a size
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG markers that stand alone


@dataclasses.dataclass(frozen=True)
class ReadImage:
    """One image on its way to the network.

    Attributes:
        pixels: uint8 [224, 224, 3], RGB 0..255; None where there is an error.
        width, height: int, pixels, as the header states them; 0 where the image is damaged.
        error: why there are no pixels, else "".
    """

    pixels: np.ndarray | None
    width: int
    height: int
    error: str


def read_image(image_bytes: bytes, view: Callable[[np.ndarray], np.ndarray] | None = None) -> ReadImage:
    """Check, decode and resize one encoded image. Never raises: what is wrong stands in `error`.

    Args:
        image_bytes: an encoded image, or anything else.
        view: what the network sees of it: uint8 [H, W, 3] -> uint8 [size, size, 3]. None takes `resize`.
    """
    if not image_bytes:
        return ReadImage(None, 0, 0, ERROR_EMPTY)
    try:
        image_format, width, height = read_header(image_bytes)
        if not image_format:
            return ReadImage(None, 0, 0, ERROR_UNKNOWN)
        if width <= 0 or height <= 0:
            return ReadImage(None, width, height, ERROR_NO_SIZE)
        if width * height > MAX_PIXELS:
            return ReadImage(None, width, height, ERROR_TOO_LARGE)
        return ReadImage((view or resize)(decode(image_bytes)), width, height, "")
    except Exception:  # Pillow's parsers raise whatever a damaged file makes them trip over
        return ReadImage(None, 0, 0, ERROR_DAMAGED)


def read_header(image_bytes: bytes) -> tuple[str, int, int]:
    """Format and size as the header states them; nothing is decoded.

    Returns:
        Pillow's name of the format ("JPEG", "PNG", "GIF", "BMP", "WEBP", or "" for any other), width and
        height in pixels. The size is 0 x 0 where the format is unknown or the header is cut off.

    Raises:
        ValueError: a JPEG whose headers cannot be followed.
    """
    head = image_bytes[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0")
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG", *_jpeg_size(image_bytes)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", *struct.unpack_from(">ii", head, 16)
    if head.startswith(b"GIF8"):
        return "GIF", *_gif_size(image_bytes, head)
    if head.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", head, 18)
        return "BMP", width, abs(height)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP", *_webp_size(head)
    return "", 0, 0


def decode(image_bytes: bytes) -> np.ndarray:
    """Decode one image: JPEG, PNG, GIF (its first frame), BMP or WebP.

    Args:
        image_bytes: an encoded image; check its size with `read_header` first.

    Returns:
        uint8 [H, W, 3], RGB 0..255. Grey is repeated, alpha dropped, 16 bits cut to 8.

    Raises:
        Exception: of any kind; the bytes are no such image, a truncated one, or in a variant that
            TensorFlow does not decode.
    """
    image_format, width, height = read_header(image_bytes)
    if image_format == "BMP":
        _check_bmp(image_bytes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of untidy metadata and of size, which is checked here
        with PIL.Image.open(io.BytesIO(image_bytes), formats=(image_format,)) as image:
            if image.size != (width, height):
                raise ValueError(f"the header states {width} x {height} pixels. Received: {image.size}")
            image.load()
            image.info.pop("transparency", None)  # convert("RGB") would look for a colour to spare
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = (np.asarray(image).astype(np.int32) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(image.convert("RGB"))


def resize(image: np.ndarray, size: int = IMAGE_SIZE) -> np.ndarray:
    """Resize to the network's square, antialiased bilinear, rounded to whole grey levels.

    Args:
        image: uint8 [H, W, 3].
        size: int. Side of the result, in pixels. The aspect ratio is not kept.

    Returns:
        uint8 [size, size, 3].
    """
    # In float, a channel at a time: Pillow rounds 8-bit images after each of its two passes.
    planes = (PIL.Image.fromarray(image[:, :, channel].astype(np.float32)) for channel in range(3))
    channels = [np.asarray(plane.resize((size, size), PIL.Image.Resampling.BILINEAR)) for plane in planes]
    return np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)


def _jpeg_size(image_bytes: bytes) -> tuple[int, int]:
    """From the first start-of-frame segment: ITU T.81, B.2.2."""
    position = 2
    while position + 9 <= len(image_bytes):
        if image_bytes[position] != 0xFF:
            position += 1  # stray bytes between segments, which decoders pass over
            continue
        marker = image_bytes[position + 1]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", image_bytes, position + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        elif marker in (0xD9, 0xDA):
            break
        else:
            position += 2 + struct.unpack_from(">H", image_bytes, position + 2)[0]
    raise ValueError("a JPEG without a frame header")


def _gif_size(image_bytes: bytes, head: bytes) -> tuple[int, int]:
    """Of the canvas or of the first frame, whichever is larger: GIF89a specification, sections 18 and 20."""
    width, height = struct.unpack_from("<HH", head, 6)
    position = 13 + _colour_table_bytes(head[10])
    while image_bytes[position : position + 1] == b"\x21":  # extensions stand before the frame
        position += 2
        while length := int.from_bytes(image_bytes[position : position + 1]):
            position += 1 + length
        position += 1
    frame_width, frame_height = struct.unpack_from("<HH", image_bytes[position : position + 9].ljust(9, b"\0"), 5)
    return max(width, frame_width), max(height, frame_height)


def _colour_table_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _check_bmp(image_bytes: bytes) -> None:
    """TensorFlow reads 8 bits (uncompressed), 24 and 32; Pillow reads more."""
    bits, compression = struct.unpack_from("<HI", image_bytes, 28)
    if bits not in (8, 24, 32) or (bits == 8 and compression):
        raise ValueError(
            f"a BMP must have 8 (uncompressed), 24 or 32 bits. Received: {bits} bits, compression {compression}"
        )


def _webp_size(head: bytes) -> tuple[int, int]:
    """RFC 9649: VP8 (lossy), VP8L (lossless) and VP8X (extended) keep their size in three ways."""
    if head[15:16] == b"L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[15:16] == b"X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF
