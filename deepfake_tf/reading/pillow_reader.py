"""The way of an image without TensorFlow: the twin of `deepfake_tf.reading.tensorflow_reader` in NumPy and Pillow.

Same checks in the same order, same errors, same pixels to one grey level; a test holds the two together. What is read
and what is refused, `admit` decides, for the engines of TensorFlow too; see `well_formed`.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import warnings

import numpy as np
import PIL.Image
import PIL.WebPImagePlugin  # registers WebP: to find it by itself, Image.open would import every plugin

from deepfake_tf.contract import ERROR_DAMAGED, ERROR_EMPTY, ERROR_NO_SIZE, ERROR_TOO_LARGE, ERROR_UNKNOWN, MAX_PIXELS
from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.detectors.spec import View
from deepfake_tf.reading import well_formed
from deepfake_tf.reading.orientation import read_orientation, turn_upright
from deepfake_tf.reading.pictures import to_rgb
from deepfake_tf.reading.well_formed import JPEG_END, JPEG_FILLER

_MAGIC_NUMBERS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF8", "BMP": b"BM"}
_HEAD_BYTES = 32  # as much as the size of a PNG, BMP or WebP stands in
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG markers that state a size


@dataclasses.dataclass(frozen=True)
class ReadImage:
    """One image on its way to the network.

    Attributes:
        pixels: uint8 [side, side, 3], RGB 0..255; None where there is an error.
        width, height: int, pixels, as stored; 0 where the image is damaged.
        error: why there are no pixels, else "".
    """

    pixels: np.ndarray | None
    width: int
    height: int
    error: str


def read_image(image_bytes: bytes, view: View | None = None, upright: bool = False) -> ReadImage:
    """Check, decode and resize one encoded image.

    Args:
        image_bytes: an encoded image, or anything else.
        view: what the network sees of it: uint8 [H, W, 3] -> uint8 [side, side, 3]. None takes `resize`.
        upright: bool. Whether that is turned as a JPEG's EXIF says.

    Raises:
        MemoryError: nothing else; what is wrong stands in `error`.
    """
    try:
        picture, width, height, error = admit(image_bytes)
        if error:
            return ReadImage(None, width, height, error)
        pixels = (view or resize)(_decode(picture))
        if upright:
            pixels = np.ascontiguousarray(turn_upright(pixels, read_orientation(picture)))
        return ReadImage(pixels, width, height, "")
    except MemoryError:
        raise
    except Exception:  # Pillow's parsers raise whatever a damaged file makes them trip over
        return ReadImage(None, 0, 0, ERROR_DAMAGED)


def admit(image_bytes: bytes) -> tuple[bytes, int, int, str]:
    """Whether an encoded image is read, by the rule that all engines share.

    Args:
        image_bytes: an encoded image, or anything else.

    Returns:
        The picture alone, as a file that every decoder takes alike (see `well_formed`); its width and height in
        pixels, 0 where they are not known; and "". Or, where it is refused, the bytes as they came, and why.
    """
    if not image_bytes:
        return image_bytes, 0, 0, ERROR_EMPTY
    try:
        image_format, width, height = read_header(image_bytes)
        if not image_format:
            return image_bytes, 0, 0, ERROR_UNKNOWN
        if width <= 0 or height <= 0:
            return image_bytes, 0, 0, ERROR_NO_SIZE
        if width * height > MAX_PIXELS:
            return image_bytes, width, height, ERROR_TOO_LARGE
        picture = _well_formed(image_format, image_bytes)
        _, width, height = read_header(picture)
        if width <= 0 or height <= 0:
            return image_bytes, 0, 0, ERROR_DAMAGED
    except MemoryError:
        raise
    except Exception:  # as in `read_image`
        return image_bytes, 0, 0, ERROR_DAMAGED
    if width * height > MAX_PIXELS:  # a WebP's picture, or a JPEG's second frame header, states another size
        return image_bytes, width, height, ERROR_TOO_LARGE
    return picture, width, height, ""


def read_header(image_bytes: bytes) -> tuple[str, int, int]:
    """Format and size as the header states them; nothing is decoded.

    Returns:
        Pillow's name of the format ("JPEG", "PNG", "GIF", "BMP", "WEBP", or "" for any other), width and
        height in pixels. The size is 0 x 0 where the format is unknown or the header is cut off.

    Raises:
        ValueError: a JPEG whose headers cannot be followed.
    """
    image_format = read_format(image_bytes)
    head = image_bytes[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0")
    if image_format == "JPEG":
        return "JPEG", *_jpeg_size(image_bytes)
    if image_format == "PNG":
        return "PNG", *struct.unpack_from(">ii", head, 16)
    if image_format == "GIF":
        return "GIF", *_gif_size(image_bytes)
    if image_format == "BMP":
        width, height = struct.unpack_from("<ii", head, 18)
        return "BMP", width, abs(height)
    if image_format == "WEBP":
        return "WEBP", *_webp_size(image_bytes)
    return "", 0, 0


def read_format(image_bytes: bytes) -> str:
    """Pillow's name of the format that a file begins like: "JPEG", "PNG", "GIF", "BMP", "WEBP"; "" for any other."""
    if image_bytes.startswith(b"RIFF"):
        return "WEBP" if image_bytes[8:12] == b"WEBP" else ""
    return next((name for name, magic in _MAGIC_NUMBERS.items() if image_bytes.startswith(magic)), "")


def decode(image_bytes: bytes, upright: bool = False) -> np.ndarray:
    """Decode one image: JPEG, PNG, GIF or WebP (of an animation the first frame), or BMP.

    Args:
        image_bytes: an encoded image; check its size with `read_header` first.
        upright: bool. Whether it is turned as a JPEG's EXIF says.

    Returns:
        uint8 [H, W, 3], RGB 0..255. Grey is repeated, alpha dropped, 16 bits cut to 8.

    Raises:
        Exception: of any kind; the bytes are no such image, a truncated one, or in a variant that
            TensorFlow does not decode.
    """
    picture, _, _, error = admit(image_bytes)
    if error:
        raise ValueError(error)
    pixels = _decode(picture)
    return np.ascontiguousarray(turn_upright(pixels, read_orientation(picture))) if upright else pixels


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


pillow_view = resize  # of the detector `cifake`


def _jpeg_size(image_bytes: bytes) -> tuple[int, int]:
    """From the first start-of-frame segment: ITU T.81, B.2.2."""
    for marker, segment, _ in well_formed.jpeg_segments(image_bytes):
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", segment, 5)
            return width, height
    raise ValueError("a JPEG without a frame header")


def _gif_size(image_bytes: bytes) -> tuple[int, int]:
    """Of the first frame, which is what is read: GIF89a specification, section 20."""
    start = well_formed.gif_frame(image_bytes)
    return struct.unpack_from("<HH", image_bytes[start : start + 9].ljust(9, b"\0"), 5)


def _well_formed(image_format: str, image_bytes: bytes) -> bytes:
    """The picture alone; raises whatever its damage makes parsers trip over."""
    if image_format == "JPEG":
        picture, has_end = well_formed.jpeg(image_bytes)
        return picture if has_end else _end_jpeg(picture)
    picture = getattr(well_formed, image_format.lower())(image_bytes)
    if image_format == "GIF":
        _decode(picture)  # TensorFlow's decoder leaves a damaged frame's pixels as they come: Pillow's word counts
    return picture


def _end_jpeg(picture: bytes) -> bytes:
    """A JPEG that lacks its end marker, with it.

    Whether the marker alone is missing shows in the pixels: where the scan is whole, they do not depend on what
    follows it.

    Raises:
        ValueError: the scan is cut off.
    """
    picture = picture.removesuffix(JPEG_END[:1])
    ended = picture + JPEG_END
    if not np.array_equal(_decode(ended), _decode(picture + JPEG_FILLER + JPEG_END)):
        raise ValueError("the JPEG is cut off within its picture")
    return ended


def _decode(picture: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of a well-formed picture."""
    image_format, width, height = read_header(picture)
    if image_format == "BMP":
        return _decode_bmp(picture, width, height)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of untidy metadata and of size, which is checked here
        with PIL.Image.open(io.BytesIO(picture), formats=(image_format,)) as image:
            if image.size != (width, height):
                raise ValueError(f"the header states {width} x {height} pixels. Received: {image.size}")
            return np.asarray(to_rgb(image))


def _decode_bmp(picture: bytes, width: int, height: int) -> np.ndarray:
    start, channels, is_upside_down = (
        int.from_bytes(picture[10:14], "little"),
        picture[28] // 8,
        picture[25] < 0x80,  # the sign of the height
    )
    row = (width * channels + 3) // 4 * 4
    rows = np.frombuffer(picture, np.uint8, row * height, start).reshape(height, row)
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    if channels == 1:
        pixels = np.frombuffer(picture, np.uint8, 1024, start - 1024).reshape(256, 4)[pixels[:, :, 0]]
    pixels = pixels[:, :, 2::-1]
    return np.ascontiguousarray(pixels[::-1] if is_upside_down else pixels)


def _webp_size(image_bytes: bytes) -> tuple[int, int]:
    """Of the (first) picture, lossy or lossless."""
    start = well_formed.webp_picture(image_bytes)
    head = image_bytes[start : start + 18].ljust(18, b"\0")
    return well_formed.webp_size(head[:4], head[8:])
