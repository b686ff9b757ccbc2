"""One pass over the images: everything that the checks need of each is kept, and nothing else.

About 350 bytes an image stay in memory, whatever the size of the images: 35 MB for 100,000 of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import os
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import imagehash
import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from deepfake_tf.contract import MAX_PIXELS
from deepfake_tf.data.examples import Examples
from deepfake_tf.progress import progress_bar
from deepfake_tf.reading.files import read_file, reason_of
from deepfake_tf.reading.pictures import to_rgb
from deepfake_tf.reading.pillow_reader import decode

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")  # those that the network's own decoder takes
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I")
METADATA = (
    "format",  # position in FORMATS
    "colour mode",  # position in MODES
    "width",
    "height",
    "aspect ratio",
    "bytes per pixel",
    "quantisation tables",  # a checksum of them all; 0 without
    "luma quantisation",  # mean of the first table; 0 without
    "chroma quantisation",  # mean of the last table; 0 without
    "chroma subsampling",  # 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0, -1 is anything else
    "progressive",
    "EXIF",
    "ICC profile",
    "XMP",
    "text",  # PNG text chunks, JPEG comments
)
STATISTICS = (
    *("red mean", "green mean", "blue mean", "red contrast", "green contrast", "blue contrast"),
    *("saturation", "clipped share", "horizontal gradient", "vertical gradient", "high-frequency energy"),
)
STATISTICS_SIDE = 256  # pixels of a side of the middle that the statistics look at, at full resolution
HASH_SIDE = 32  # pixels; the perceptual hash is made of a grey picture of this size
THUMBNAIL_SIDE = 8  # pixels
BLOCK = 256  # images handed to the threads at a time, so that memory stays flat

# Kinds of problems: why an image could not be read.
MISSING, EMPTY, TRUNCATED, UNREADABLE, TOO_LARGE = "missing", "empty", "truncated", "unreadable", "too large"
PROBLEMS = (MISSING, EMPTY, TRUNCATED, UNREADABLE, TOO_LARGE)

_ROW = np.dtype(
    [
        ("readable", bool),
        ("animated", bool),
        ("width", np.int32),
        ("height", np.int32),
        ("file_bytes", np.int64),
        # 64 bits of SHA-256: among a million images two different ones agree with a probability of 3e-8.
        ("file_digest", np.uint64),
        ("pixel_digest", np.uint64),
        ("metadata", np.float32, len(METADATA)),
        ("statistics", np.float32, len(STATISTICS)),
        ("hash", np.uint64),
        ("thumbnail", np.uint8, (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)),
    ]
)

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue


class Problem(NamedTuple):
    """Why an image could not be read: one of PROBLEMS, and the message."""

    kind: str
    message: str


@dataclasses.dataclass(frozen=True)
class Readings:
    """What one pass found; one row an image, in the order of the examples.

    Attributes:
        rows: structured array [N]. `readable` and `animated`; `width` and `height` in pixels; `file_bytes`;
            `file_digest` and `pixel_digest`, uint64, of the encoded and of the decoded image; `metadata` float32
            [N, 15], see METADATA; and, of a thorough pass, `statistics` float32 [N, 11], see STATISTICS; `hash`,
            uint64, a perceptual hash; `thumbnail` uint8 [N, 8, 8, 3]. An unreadable image's row is 0 but for its
            `file_digest` and `file_bytes`.
        problems: position -> Problem, of the images that could not be read.
    """

    rows: np.ndarray
    problems: dict[int, Problem]


def read_all(examples: Examples, thorough: bool = True, workers: int | None = None) -> Readings:
    """Read, decode and measure every image once.

    Args:
        examples: Examples.
        thorough: bool. False leaves out pixel statistics, perceptual hashes and thumbnails.
        workers: int or None. Threads; None is one a core. Decoding runs outside of Python's lock.

    Returns:
        Readings.
    """
    workers = workers or os.cpu_count() or 1
    rows = np.zeros(len(examples), _ROW)
    problems: dict[int, Problem] = {}
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers) as pool,
        progress_bar(len(examples), "reading images", "image") as bar,
    ):
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata and large images: both are judged here
        for positions in _blocks(len(examples)):
            results = pool.map(_read_one, (examples.files[i] for i in positions), [thorough] * len(positions))
            for position, result in zip(positions, results):
                if isinstance(result, tuple):
                    rows[position]["file_digest"], rows[position]["file_bytes"], problems[position] = result
                else:
                    rows[position] = result
            bar.update(len(positions))
    return Readings(rows, problems)


def perceptual_hash(picture: Image.Image) -> int:
    """pHash: which of the lowest 8 x 8 frequencies lie above their median (Zauner 2010, section 3.2).

    Args:
        picture: 32 x 32 pixels, of any colour mode.

    Returns:
        64 bits. Scaling, compression and changes of brightness flip few of them.
    """
    return int.from_bytes(np.packbits(imagehash.phash(picture).hash).tobytes(), "big")


def _blocks(count: int) -> Iterator[range]:
    return (range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def _read_one(file: str | bytes, thorough: bool) -> np.ndarray | tuple[int, int, Problem]:
    """A row, or the digest and size of the file, and what is wrong with it."""
    encoded = file if isinstance(file, bytes) else b""
    try:
        if isinstance(file, str):
            encoded = read_file(file)
        if not encoded:
            return 0, 0, Problem(EMPTY, "the file is empty")
        return _measure(encoded, thorough)
    except FileNotFoundError:
        return 0, 0, Problem(MISSING, "the file does not exist")
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        message = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            message = f"none of {', '.join(FORMATS)}"
        kind = UNREADABLE
        if isinstance(error, (_TooManyPixelsError, Image.DecompressionBombError)):
            kind = TOO_LARGE
        elif isinstance(error, OSError) and error.errno == errno.EFBIG:
            return 0, os.path.getsize(file), Problem(TOO_LARGE, reason_of(error))
        elif "truncated" in message.lower():
            kind = TRUNCATED
        return _digest(encoded), len(encoded), Problem(kind, message)


class _TooManyPixelsError(Exception):
    pass


def _measure(encoded: bytes, thorough: bool) -> np.ndarray:
    row = np.zeros((), _ROW)
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:  # MPO comes by way of JPEG, whose start it has
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _TooManyPixelsError(f"{width} x {height} pixels, more than {MAX_PIXELS}")
        # Cameras write MPO, a JPEG with more pictures behind it, under the name .jpg: no animation.
        row["animated"] = getattr(image, "is_animated", False) and image.format != "MPO"
        rgb = _rgb(image, encoded)
        row["metadata"] = _metadata(image, len(encoded))
    row["readable"], row["width"], row["height"], row["file_bytes"] = True, width, height, len(encoded)
    row["file_digest"] = _digest(encoded)
    row["pixel_digest"] = _digest(b"%d x %d " % (width, height), rgb.tobytes())
    if thorough:
        row["statistics"] = _statistics(rgb)
        small = rgb.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)
        row["hash"] = perceptual_hash(small)
        row["thumbnail"] = np.asarray(small.reduce(HASH_SIDE // THUMBNAIL_SIDE))
    return row


def _digest(*parts: bytes) -> int:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest()[:8], "big")


def _rgb(image: ImageFile.ImageFile, encoded: bytes) -> Image.Image:
    try:
        return to_rgb(image)
    except Exception:  # Pillow refuses some files that training reads, such as a JPEG without its end marker
        with contextlib.suppress(Exception):  # that it fails too: what is raised is the first reason
            return Image.fromarray(decode(encoded))
        raise


def _metadata(image: ImageFile.ImageFile, file_bytes: int) -> tuple[float, ...]:
    """The features named in METADATA, of what stands beside the pixels."""
    image_format = "JPEG" if image.format == "MPO" else image.format
    tables = [table for _, table in sorted(getattr(image, "quantization", {}).items())]
    checksum = zlib.crc32(repr(tables).encode()) >> 8  # 24 bits are exact in float32
    sampling = JpegImagePlugin.get_sampling(image) if isinstance(image, JpegImagePlugin.JpegImageFile) else -1
    info = image.info
    return (
        FORMATS.index(image_format) if image_format in FORMATS else -1,
        MODES.index(image.mode) if image.mode in MODES else -1,
        image.width,
        image.height,
        image.width / image.height,
        file_bytes / (image.width * image.height),
        checksum if tables else 0,
        sum(tables[0]) / len(tables[0]) if tables else 0,
        sum(tables[-1]) / len(tables[-1]) if tables else 0,
        sampling,
        bool(info.get("progressive")),
        "exif" in info,
        "icc_profile" in info,
        "xmp" in info or "XML:com.adobe.xmp" in info,
        "comment" in info or bool(getattr(image, "text", None)),
    )


def _statistics(rgb: Image.Image) -> np.ndarray:
    """The features named in STATISTICS, of the middle of the picture; float32 [11], levels of 0..255."""
    width, height = rgb.size
    left, top = max(0, (width - STATISTICS_SIDE) // 2), max(0, (height - STATISTICS_SIDE) // 2)
    box = (left, top, min(width, left + STATISTICS_SIDE), min(height, top + STATISTICS_SIDE))
    # Planes, because reductions over an innermost axis of three are many times slower.
    planes = np.ascontiguousarray(np.asarray(rgb.crop(box)).transpose(2, 0, 1)).astype(np.float32)
    highest, lowest = planes.max(0), planes.min(0)
    luma = np.tensordot(_LUMA, planes, 1)
    flat = planes.reshape(3, -1)
    across, down = np.diff(luma, axis=1), np.diff(luma, axis=0)
    return np.array(
        [
            *flat.mean(1),
            *flat.std(1),
            np.mean((highest - lowest) / np.maximum(highest, 1)),
            np.mean((lowest == 0) | (highest == 255)),
            _mean_size(across),
            _mean_size(down),
            _mean_size(np.diff(across, axis=0)),  # differences both ways: nothing of edges, all of noise and texture
        ],
        np.float32,
    )


def _mean_size(values: np.ndarray) -> float:
    return float(np.abs(values).mean()) if values.size else 0.0
