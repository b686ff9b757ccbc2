"""Metadata out of AVIF and HEIC files: ISO base media boxes (ISO 14496-12; HEIF, ISO 23008-12)."""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

from deepfake_tf.provenance import exif, xmp
from deepfake_tf.provenance.metadata import Metadata

_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.2, annex A.5
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC"}
_BOXES = 1000
_ITEMS = 1000  # a tiled HEIC of 100 megapixels has about 400


@dataclasses.dataclass
class _Item:
    kind: bytes = b""
    content_type: bytes = b""
    offset: int = 0
    length: int = 0


class _CutOffError(ValueError):
    pass


class _Bytes:
    """Big-endian numbers out of a box, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def take(self, count: int) -> bytes:
        taken = self.content[self.position : self.position + count]
        if len(taken) < count:
            raise _CutOffError
        self.position += count
        return taken

    def text(self) -> bytes:
        end = self.content.find(b"\0", self.position)
        if end < 0:
            raise _CutOffError
        return self.take(end + 1 - self.position)[:-1]


def read_isobmff(stream: BinaryIO, metadata: Metadata) -> None:
    """Fill in the metadata of a file of ISO boxes.

    Args:
        stream: seekable; an AVIF or HEIC file.
        metadata: is filled in: its format stays empty where the file is neither, such as a video.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    items: dict[int, _Item] = {}
    for kind, start, end in _boxes(stream, size, metadata):
        stream.seek(start)
        if kind == b"ftyp":
            brands = stream.read(min(end - start, 128))
            # The first four bytes are the major brand, the next four its version, then the compatible ones.
            known = [_BRANDS[brands[i : i + 4]] for i in (0, *range(8, len(brands), 4)) if brands[i : i + 4] in _BRANDS]
            if not known:
                metadata.problem(f"neither AVIF nor HEIC. Received: the brand {brands[:4]!r}")
                return
            metadata.format = known[0]
        elif kind == b"uuid" and stream.read(16) == _C2PA_UUID:
            metadata.read_credential(stream, end - start - 16)
        elif kind == b"meta":
            try:
                _read_meta(_Bytes(metadata.read_block(stream, end - start, "the meta box")), items, metadata)
            except _CutOffError:
                metadata.problem("the meta box is broken")
    for item in items.values():
        if not item.length or item.offset >= size:
            continue
        stream.seek(item.offset)
        if item.kind == b"Exif":
            block = metadata.read_block(stream, item.length, "the EXIF item")
            # Four bytes say how far the TIFF header lies behind them.
            metadata.add(exif.read_fields, block[4 + int.from_bytes(block[:4], "big") :])
        elif item.content_type == b"application/rdf+xml":
            metadata.add(xmp.read_fields, metadata.read_block(stream, item.length, "the XMP item"))


def _boxes(stream: BinaryIO, end: int, metadata: Metadata) -> list[tuple[bytes, int, int]]:
    """The boxes of the file's top level: kind, start and end of the content."""
    boxes: list[tuple[bytes, int, int]] = []
    position = 0
    while position + 8 <= end:
        if len(boxes) == _BOXES:
            metadata.problem(f"more than {_BOXES} boxes; the rest was not read")
            break
        stream.seek(position)
        head = stream.read(16)
        length, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - position
        if length < header or position + length > end:
            metadata.problem(f"the box {kind!r} is broken or cut off")
            break
        boxes.append((kind, position + header, position + length))
        position += length
    return boxes


def _read_meta(box: _Bytes, items: dict[int, _Item], metadata: Metadata) -> None:
    crops: list[tuple[int, int]] = []  # HEVC codes whole blocks; the image is what is cropped from them
    box.take(4)  # version and flags
    for kind, content in _children(box):
        if kind == b"iinf":
            version = content.number(4) >> 24
            content.number(2 if version == 0 else 4)
            for entry_kind, entry in _children(content):
                if entry_kind == b"infe":
                    _read_item_entry(entry, items)
        elif kind == b"iloc":
            _read_item_locations(content, items)
        elif kind == b"iprp":
            for container, properties in _children(content):
                if container != b"ipco":
                    continue
                for property_kind, value in _children(properties):
                    if property_kind == b"ispe":
                        value.take(4)
                        width, height = value.number(4), value.number(4)
                        # The tiles and the thumbnail have sizes of their own; the image is the largest.
                        if width * height > metadata.width * metadata.height:
                            metadata.width, metadata.height = width, height
                    elif property_kind == b"clap":
                        crops.append((_quotient(value), _quotient(value)))
    metadata.width, metadata.height = max(crops, default=(metadata.width, metadata.height))


def _quotient(value: _Bytes) -> int:
    numerator, denominator = value.number(4), value.number(4)
    return numerator // max(denominator, 1)


def _children(box: _Bytes) -> list[tuple[bytes, _Bytes]]:
    children: list[tuple[bytes, _Bytes]] = []
    while box.position + 8 <= len(box.content) and len(children) < _ITEMS:
        length, kind = box.number(4), box.take(4)
        if length < 8:
            raise _CutOffError
        children.append((kind, _Bytes(box.take(length - 8))))
    return children


def _read_item_entry(entry: _Bytes, items: dict[int, _Item]) -> None:
    version = entry.number(4) >> 24
    if version < 2:
        return  # HEIF requires version 2 or 3, which name the kind
    identifier = entry.number(2 if version == 2 else 4)
    entry.take(2)  # protection
    item = items.setdefault(identifier, _Item())
    item.kind = entry.take(4)
    entry.text()  # name
    if item.kind == b"mime":
        item.content_type = entry.text()


def _read_item_locations(box: _Bytes, items: dict[int, _Item]) -> None:
    version = box.number(4) >> 24
    sizes = box.number(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version > 0 else 0
    count = min(box.number(2 if version < 2 else 4), _ITEMS)
    for _ in range(count):
        item = items.setdefault(box.number(2 if version < 2 else 4), _Item())
        construction = box.number(2) & 15 if version > 0 else 0
        box.take(2)  # data reference
        base = box.number(base_bytes)
        extents = box.number(2)
        if not extents:
            continue
        box.take(index_bytes)
        offset, length = base + box.number(offset_bytes), box.number(length_bytes)
        box.take((extents - 1) * (index_bytes + offset_bytes + length_bytes))
        if construction == 0:  # metadata lies in one piece, in the file itself
            item.offset, item.length = offset, length
