"""The tags of a TIFF structure: an EXIF block, or a TIFF file (TIFF 6.0; Exif 3.0, section 4.6).

Only the first directory and its EXIF directory are read, and of these only the tags that are asked for, so
that neither a directory that points to itself nor a value of gigabytes costs time or memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

EXIF_DIRECTORY = 34665
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_SHORT, _LONG = 3, 4
_ENTRIES = 1024  # of a directory: cameras write fewer than 100


def read_tags(
    read_at: Callable[[int, int], bytes], wanted: frozenset[int], value_bytes: int
) -> tuple[dict[int, bytes | int], str, list[str]]:
    """The wanted tags of the first directory and of its EXIF directory.

    Args:
        read_at: gives the bytes at (offset, length), fewer at the end of the data.
        wanted: tag numbers.
        value_bytes: int. Longer values are cut to this.

    Returns:
        The values (an int for a single SHORT or LONG, else bytes), the byte order ("<" or ">"; empty where the
        data is no TIFF structure), and what was wrong, a phrase each.
    """
    order = {b"II": "<", b"MM": ">"}.get(read_at(0, 2), "")
    head = read_at(0, 8)
    if not order or len(head) < 8 or struct.unpack(order + "H", head[2:4])[0] != 42:
        return {}, "", ["no TIFF header"]
    tags: dict[int, bytes | int] = {}
    problems: list[str] = []
    offset = struct.unpack(order + "I", head[4:8])[0]
    seen: set[int] = set()
    while offset:
        if offset in seen:
            problems.append("the directories form a cycle")
            break
        seen.add(offset)
        found = _read_directory(read_at, order, offset, wanted | {EXIF_DIRECTORY}, value_bytes, problems)
        pointer = found.pop(EXIF_DIRECTORY, 0)
        # Of two values the first stands: the EXIF directory cannot overrule the image's own.
        tags = found | tags
        offset = pointer if isinstance(pointer, int) and len(seen) < 3 else 0
    return tags, order, problems


def _read_directory(
    read_at: Callable[[int, int], bytes],
    order: str,
    offset: int,
    wanted: frozenset[int],
    value_bytes: int,
    problems: list[str],
) -> dict[int, bytes | int]:
    count_bytes = read_at(offset, 2)
    if len(count_bytes) < 2:
        problems.append("a directory lies outside the data")
        return {}
    count = min(struct.unpack(order + "H", count_bytes)[0], _ENTRIES)
    directory = read_at(offset + 2, 12 * count)
    if len(directory) < 12 * count:
        problems.append("a directory is cut off")
    tags: dict[int, bytes | int] = {}
    for start in range(0, len(directory) - 11, 12):
        tag, kind, values = struct.unpack(order + "HHI", directory[start : start + 8])
        if tag not in wanted or tag in tags:
            continue
        inline = directory[start + 8 : start + 12]
        if kind in (_SHORT, _LONG, 13) and values == 1:
            tags[tag] = struct.unpack(order + ("H" if kind == _SHORT else "I"), inline[: 2 if kind == _SHORT else 4])[0]
            continue
        length = _TYPE_BYTES.get(kind, 0) * values
        value = (
            inline[:length] if length <= 4 else read_at(struct.unpack(order + "I", inline)[0], min(length, value_bytes))
        )
        if len(value) < length:
            problems.append(f"tag {tag} is cut off at {len(value)} of {length} bytes")
        tags[tag] = value
    return tags
