"""Which way up a picture is held: phones store it as the sensor lies, and say in the EXIF how to turn it.

Looked through are the first 64 segments of a JPEG, and the first 64 fields of an EXIF's first directory: CIPA DC-008
(Exif 2.32), section 4.6.4. Pillow's parser would copy whatever all fields point at, gigabytes in a hostile file. The
twin in a graph is `tensorflow_reader.read_orientation`.
"""

from __future__ import annotations

import struct
from typing import Literal

import numpy as np

UPRIGHT = 1
SEGMENTS, FIELDS = 64, 64  # phones write ten fields
EXIF_BYTES = 1 << 16
EXIF = b"Exif\0\0"
TAG, SHORT = 0x0112, 3  # "Orientation", a number of two bytes
# Values of the tag, 1 to 8. A picture is first mirrored at its diagonal, then its columns or rows are reversed.
DIAGONAL, COLUMNS, ROWS = (5, 6, 7, 8), (2, 3, 6, 7), (3, 4, 7, 8)


def read_orientation(data: bytes) -> int:
    """How the pixels of a JPEG are to be turned: 1 (not at all; or it does not say, or is no JPEG) to 8."""
    if not data.startswith(b"\xff\xd8\xff"):
        return UPRIGHT
    position = 2
    for _ in range(SEGMENTS):
        head = data[position : position + 10]
        if head[:1] != b"\xff" or head[1:2] in (b"\xd9", b"\xda", b""):
            break
        if head[1:2] == b"\xe1" and head[4:] == EXIF:
            return exif_orientation(data[position + 10 : position + 10 + EXIF_BYTES])
        position += 1 if head[1:2] == b"\xff" else 2 + int.from_bytes(head[2:4], "big")  # a fill byte, or a segment
    return UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """The same of an EXIF by itself, with or without the six bytes that it begins with in a JPEG."""
    tiff = exif[: EXIF_BYTES + len(EXIF)].removeprefix(EXIF)[:EXIF_BYTES]
    byte_order: Literal["little", "big"] = "little" if tiff[:2] == b"II" else "big"
    number = lambda position, size: int.from_bytes(tiff[position : position + size].ljust(size, b"\0"), byte_order)
    directory = number(4, 4)
    for field in range(min(number(directory, 2), FIELDS)):
        start = directory + 2 + 12 * field
        if number(start, 2) == TAG and number(start + 2, 2) == SHORT:
            value = number(start + 8, 2)
            return value if UPRIGHT < value <= 8 else UPRIGHT
    return UPRIGHT


def write_orientation(orientation: int) -> bytes:
    """The segment of a JPEG that says it, and nothing else: it follows the first two bytes."""
    field = struct.pack(">HHIHH", TAG, SHORT, 1, orientation, 0)
    tiff = struct.pack(">2sHIH", b"MM", 42, 8, 1) + field + bytes(4)
    return struct.pack(">HH", 0xFFE1, 2 + len(EXIF) + len(tiff)) + EXIF + tiff


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] as stored -> [H, W, ...] or [W, H, ...] as it is shown."""
    if orientation in DIAGONAL:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if orientation in ROWS else 1, :: -1 if orientation in COLUMNS else 1]
