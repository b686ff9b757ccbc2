"""The fields of an IPTC-IIM block that bear on an image's origin (IPTC-NAA IIM 4.2, record 2)."""

from __future__ import annotations

import struct

from deepfake_tf.provenance.fields import Field

_DATASETS = {65: "OriginatingProgram", 80: "By-line", 110: "Credit", 115: "Source", 120: "Caption"}
_IPTC_RESOURCE = 0x0404
_RECORDS = 1000


def read_fields(block: bytes) -> tuple[list[Field], list[str]]:
    """The origin fields of an IIM block (TIFF tag 33723, or Photoshop's resource 0x0404).

    Args:
        block: bytes. Data sets, one after the other: 0x1C, record, number, two bytes of length, value.

    Returns:
        The fields, and what was wrong with the block, a sentence each.
    """
    fields: list[Field] = []
    position = 0
    for _ in range(_RECORDS):
        if position + 5 > len(block) or block[position] != 0x1C:
            return fields, []
        record, number, length = struct.unpack(">BBH", block[position + 1 : position + 5])
        value = block[position + 5 : position + 5 + length]
        if length >= 0x8000 or len(value) < length:
            return fields, ["IPTC: a data set is cut off"]
        if record == 2 and number in _DATASETS:
            fields.append(Field("IPTC", _DATASETS[number], value.decode("utf-8", errors="replace").strip("\0 ")))
        position += 5 + length
    return fields, [f"IPTC: more than {_RECORDS} data sets; the rest was not read"]


def iim_of_photoshop(resources: bytes) -> bytes:
    """The IIM block among Photoshop's image resources (JPEG APP13), empty where there is none.

    Each resource is "8BIM", a number, a padded name, a length and padded data (Adobe Photoshop File Formats).
    """
    position = 0
    while resources[position : position + 4] == b"8BIM" and position + 7 <= len(resources):
        name_bytes = 1 + resources[position + 6]
        start = position + 6 + name_bytes + name_bytes % 2
        if start + 4 > len(resources):
            return b""
        length = struct.unpack(">I", resources[start : start + 4])[0]
        if struct.unpack(">H", resources[position + 4 : position + 6])[0] == _IPTC_RESOURCE:
            return resources[start + 4 : start + 4 + length]
        position = start + 4 + length + length % 2
    return b""
