"""Files that somebody else made: which of them count as images by name or content, and how they are read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from deepfake_tf.contract import MAX_FILE_BYTES
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS, OTHER_IMAGE_EXTENSIONS, TRANSCODED_EXTENSIONS

_HEAD_BYTES = 32
_MAGIC_NUMBERS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ISO_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


def read_file(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: it cannot be read; is a directory, a pipe, a device or a socket, on which reading could wait for ever
            or never end; or has more than MAX_FILE_BYTES.
    """
    check_regular(path)
    with open(path, "rb") as stream:
        data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:  # it grew, or, as in /proc, states no size
        raise OSError(errno.EFBIG, too_large(len(data)))
    return data


def check_regular(path: str | os.PathLike[str]) -> int:
    """The size of a regular file, in bytes.

    Raises:
        OSError: as `read_file`, whose work this is without the reading.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a path with a null byte
        raise OSError(str(error)) from error
    if stat.S_ISDIR(status.st_mode):
        os.scandir(path).close()  # of a locked one, that is what is said
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError("not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, too_large(status.st_size))
    return status.st_size


def too_large(size: int) -> str:
    """Why a file of `size` bytes is refused."""
    return f"file too large: {size / 2**20:.0f} MiB, at most {MAX_FILE_BYTES // 2**20} MiB are accepted"


def reason_of(error: OSError | ValueError) -> str:
    """What a row says of a file that could not be read."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def walk(folder: str | os.PathLike[str], onerror: Callable[[OSError], object] | None = None) -> Iterator[str]:
    """All files below a folder, in no order; links to folders are followed, each folder is visited once.

    Args:
        folder: path.
        onerror: takes what is raised by a folder that cannot be read; None passes over it.
    """
    seen = set()
    for place, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        identity = os.path.realpath(place)
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        yield from (os.path.join(place, name) for name in names)


def is_image_file(file: Path) -> bool:
    """Whether a file found in a folder is an image: by its extension, in any case, or else by its first bytes.

    True of images that are not scored too (SVG, PSD, raw), and of whatever bears an image's name: each is a row that
    says why, where a file left out would go unnoticed. Folders are none.
    """
    if file.suffix.lower() in IMAGE_EXTENSIONS + TRANSCODED_EXTENSIONS + OTHER_IMAGE_EXTENSIONS:
        return not os.path.isdir(file)
    try:
        if not file.is_file():
            return False
        with file.open("rb") as stream:
            return is_image_head(stream.read(_HEAD_BYTES))
    except OSError:
        return False  # neither named like an image nor readable


def is_image_head(head: bytes) -> bool:
    """Whether a file that begins so is in a format that `predict` scores.

    A BMP's two letters begin too many texts: its reserved bytes must be zero as well.
    """
    return (
        head.startswith(_MAGIC_NUMBERS)
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head.startswith(b"BM") and head[6:10] == bytes(4) and len(head) == _HEAD_BYTES)
        or is_iso_image(head)
    )


def is_iso_image(head: bytes) -> bool:
    """Whether a file begins as an AVIF or HEIC does (ISO/IEC 23008-12)."""
    return head[4:8] == b"ftyp" and head[8:12] in _ISO_BRANDS
