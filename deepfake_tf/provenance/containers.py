"""Metadata out of image files, without decoding a pixel and without reading more than a bounded share of them.

Files are walked by their own structure (JPEG segments, PNG chunks, RIFF chunks, TIFF tags, ISO boxes), seeking
past everything that is not metadata. Pillow is not used for it: it reads the whole file for AVIF, decodes
PNG pixels to reach text behind them, and gives no word of what it left out. Every limit that is met is
reported as a problem, none is an exception.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

from deepfake_tf.provenance import exif, iptc, tiff, xmp
from deepfake_tf.provenance.fields import Field
from deepfake_tf.provenance.isobmff import read_isobmff
from deepfake_tf.provenance.metadata import BLOCK_BYTES, Metadata
from deepfake_tf.reading.well_formed import webp_size

MAX_CREDENTIAL_BYTES = 32 << 20  # handed to the SDK, which holds it twice; usual are 0.01 to 10 MB
_PARTS = 20_000  # segments, chunks or boxes walked past: a PNG of 150 MB in Pillow's chunks of 64 kB has 2,400
_TEXTS = 200  # text chunks of one PNG

_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
_TIFF_XMP, _TIFF_IPTC, _TIFF_C2PA, _TIFF_WIDTH, _TIFF_HEIGHT = 700, 33723, 52545, 256, 257


def read_metadata(stream: BinaryIO) -> Metadata:
    """Read a file's header and metadata.

    Args:
        stream: seekable, at its start; JPEG, PNG, WebP, TIFF, AVIF or HEIC, or of GIF and BMP the size only.

    Returns:
        The metadata; its `format` is empty, with the reason among `problems`, where the file is none of these.
    """
    metadata = Metadata()
    try:
        _read_any(stream, metadata)
    except OSError:  # of the disk, not of the file's content
        raise
    except Exception as error:  # a parser's fault must not cost what it found before, nor end the caller's run
        metadata.problem(f"the metadata cannot be followed ({type(error).__name__}: {error})")
    return metadata


def _read_any(stream: BinaryIO, metadata: Metadata) -> None:
    head = stream.read(32)
    if head.startswith(b"\xff\xd8\xff"):
        _read_jpeg(stream, metadata)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        _read_png(stream, metadata)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        _read_webp(stream, metadata)
    elif head[:4] in (b"II*\0", b"MM\0*"):
        _read_tiff(stream, metadata)
    elif head[4:8] == b"ftyp":
        read_isobmff(stream, metadata)
    elif head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        metadata.format = "GIF"
        metadata.width, metadata.height = struct.unpack("<HH", head[6:10])
    elif head[:2] == b"BM" and len(head) >= 26:
        metadata.format = "BMP"
        metadata.width, height = struct.unpack("<ii", head[18:26])
        metadata.height = abs(height)
    else:
        metadata.problem("empty file" if not head else f"not an image of a known format. Received: {head[:8]!r}...")


def _read_jpeg(stream: BinaryIO, metadata: Metadata) -> None:
    metadata.format = "JPEG"
    stream.seek(2)
    for _ in range(_PARTS):
        marker_bytes = stream.read(2)
        while marker_bytes == b"\xff\xff":  # fill bytes
            marker_bytes = b"\xff" + stream.read(1)
        if len(marker_bytes) < 2 or marker_bytes[0] != 0xFF:
            metadata.problem("the JPEG breaks off among its headers")
            return
        marker = marker_bytes[1]
        if marker in (0xDA, 0xD9):  # the scan begins: metadata stands before it
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # these stand alone
            continue
        length = int.from_bytes(stream.read(2), "big") - 2
        if length < 0:
            metadata.problem("the JPEG breaks off among its headers")
            return
        start = stream.tell()
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = stream.read(5)
            if len(frame) == 5:
                metadata.height, metadata.width = struct.unpack(">HH", frame[1:])
        elif marker == 0xEB:
            _take_jumbf_packet(stream, length, metadata)
        elif marker in (0xE1, 0xED, 0xFE):
            _take_jpeg_segment(marker, metadata.read_block(stream, length, "a JPEG segment"), metadata)
        stream.seek(start + length)
    metadata.problem(f"more than {_PARTS} segments; the rest was not read")


def _take_jpeg_segment(marker: int, segment: bytes, metadata: Metadata) -> None:
    if marker == 0xE1 and segment.startswith(b"Exif\0"):
        metadata.add(exif.read_fields, segment)
    elif marker == 0xE1 and segment.startswith(_XMP_HEADER):
        metadata.add(xmp.read_fields, segment.removeprefix(_XMP_HEADER))
    elif marker == 0xED and segment.startswith(_PHOTOSHOP_HEADER):
        metadata.add(iptc.read_fields, iptc.iim_of_photoshop(segment.removeprefix(_PHOTOSHOP_HEADER)))
    elif marker == 0xFE:
        metadata.fields.append(Field("JPEG comment", "", _decode(segment)))


def _take_jumbf_packet(stream: BinaryIO, length: int, metadata: Metadata) -> None:
    """A part of a JUMBF box in APP11 (ISO 19566-5, annex D): "JP", instance, packet, then the box, in parts.

    The box's header is repeated in each packet; other boxes than C2PA's are let go.
    """
    start = stream.tell()
    head = stream.read(min(length, 64))
    packet = int.from_bytes(head[4:8], "big")
    if head.startswith(b"JP") and (b"c2pa" in head if packet == 1 else metadata.credential_size):
        skipped = min(8 if packet == 1 else 16, length)
        stream.seek(start + skipped)
        metadata.read_credential(stream, length - skipped)


def _read_png(stream: BinaryIO, metadata: Metadata) -> None:
    metadata.format = "PNG"
    stream.seek(8)
    texts = 0
    for _ in range(_PARTS):
        head = stream.read(8)
        if len(head) < 8:
            metadata.problem("the PNG breaks off before its end chunk")
            return
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        start = stream.tell()
        if kind == b"IEND":
            return
        if kind == b"IHDR":
            size = stream.read(8)
            if len(size) == 8:
                metadata.width, metadata.height = struct.unpack(">II", size)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            texts += 1
            if texts <= _TEXTS:
                _take_png_text(kind, metadata.read_block(stream, length, f"a {kind.decode()} chunk"), metadata)
            else:
                metadata.problem(f"more than {_TEXTS} text chunks; the rest was not read")
        elif kind == b"eXIf":
            metadata.add(exif.read_fields, metadata.read_block(stream, length, "the eXIf chunk"))
        elif kind == b"caBX":
            metadata.read_credential(stream, length)
        stream.seek(start + length + 4)
    metadata.problem(f"more than {_PARTS} chunks; the rest was not read")


def _take_png_text(kind: bytes, chunk: bytes, metadata: Metadata) -> None:
    """A text chunk (PNG specification, third edition, section 11.3.3)."""
    keyword, _, rest = chunk.partition(b"\0")
    key = keyword[:79].decode("latin-1")
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        compressed = rest[:1] == b"\1"
        rest = rest[2:].split(b"\0", 2)[-1]  # past the flags, the language and the translated keyword
    elif compressed:
        rest = rest[1:]
    if compressed:
        rest = _inflate(rest, f"the text {key!r}", metadata)
    if key == "XML:com.adobe.xmp":
        metadata.add(xmp.read_fields, rest)
    elif key in ("Raw profile type exif", "Raw profile type APP1", "Raw profile type iptc", "Raw profile type xmp"):
        _take_raw_profile(key, rest, metadata)
    else:
        metadata.fields.append(Field("PNG text", key, _decode(rest)))


def _take_raw_profile(key: str, text: bytes, metadata: Metadata) -> None:
    """ImageMagick's way with EXIF, IPTC and XMP in PNG: the profile's name, its length, then hexadecimal digits."""
    try:
        profile = bytes.fromhex("".join(text.decode("latin-1").split()[2:]))
    except ValueError:
        metadata.problem(f"the text {key!r} is not hexadecimal")
        return
    if key.endswith("iptc"):
        metadata.add(iptc.read_fields, iptc.iim_of_photoshop(profile) or profile)
    elif key.endswith("xmp") or profile.startswith(_XMP_HEADER):
        metadata.add(xmp.read_fields, profile.removeprefix(_XMP_HEADER))
    else:
        metadata.add(exif.read_fields, profile)


def _inflate(compressed: bytes, what: str, metadata: Metadata) -> bytes:
    """As much of a zlib stream as the limits allow: a kilobyte of it can hold a megabyte, ten of them a gigabyte."""
    decompressor = zlib.decompressobj()
    allowed = metadata.allow(BLOCK_BYTES)
    try:
        text = decompressor.decompress(compressed, allowed) if allowed else b""
    except zlib.error as error:
        metadata.problem(f"{what} cannot be decompressed ({error})")
        return b""
    metadata.bytes_read += len(text)
    if not decompressor.eof:
        metadata.problem(f"{what} was decompressed to its first {len(text)} bytes only")
    return text


def _read_webp(stream: BinaryIO, metadata: Metadata) -> None:
    metadata.format = "WEBP"
    stream.seek(12)
    for _ in range(_PARTS):
        head = stream.read(8)
        if not head:
            return
        if len(head) < 8:
            metadata.problem("the WebP breaks off")
            return
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        start = stream.tell()
        if kind in (b"VP8X", b"VP8 ", b"VP8L") and not metadata.width:
            metadata.width, metadata.height = webp_size(kind, stream.read(10))
        elif kind == b"EXIF":
            metadata.add(exif.read_fields, metadata.read_block(stream, length, "the EXIF chunk"))
        elif kind == b"XMP ":
            metadata.add(xmp.read_fields, metadata.read_block(stream, length, "the XMP chunk"))
        elif kind == b"C2PA":
            metadata.read_credential(stream, length)
        stream.seek(start + length + length % 2)
    metadata.problem(f"more than {_PARTS} chunks; the rest was not read")


def _read_tiff(stream: BinaryIO, metadata: Metadata) -> None:
    metadata.format = "TIFF"

    def read_at(offset: int, length: int) -> bytes:
        stream.seek(offset)
        return stream.read(length)

    wanted = frozenset({_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_XMP, _TIFF_IPTC})
    tags, _, problems = tiff.read_tags(read_at, wanted, BLOCK_BYTES)
    for problem in problems:
        metadata.problem(f"TIFF: {problem}")
    metadata.add(exif.fields_of, read_at)
    width, height, packet, block = (tags.get(tag) for tag in (_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_XMP, _TIFF_IPTC))
    if isinstance(width, int) and isinstance(height, int):
        metadata.width, metadata.height = width, height
    if isinstance(packet, bytes):
        metadata.add(xmp.read_fields, packet)
    if isinstance(block, bytes):
        metadata.add(iptc.read_fields, block)
    credential = tiff.read_tags(read_at, frozenset({_TIFF_C2PA}), MAX_CREDENTIAL_BYTES + 1)[0].get(_TIFF_C2PA)
    if isinstance(credential, int):
        metadata.problem("TIFF: the Content Credential's tag holds a number")
    if isinstance(credential, bytes):
        metadata.read_credential(io.BytesIO(credential), len(credential))


def _decode(text: bytes) -> str:
    """Text of an undeclared encoding: UTF-8 where it is that, else Latin-1, in which nothing fails."""
    try:
        return text.decode("utf-8").strip("\0 \n")
    except UnicodeDecodeError:
        return text.decode("latin-1").strip("\0 \n")
