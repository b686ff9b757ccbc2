"""The rule of what is read, the same for every engine: a file becomes its picture alone, well formed, or is refused.

Decoders differ in how they take what stands around a picture, and in how much damage there they forgive. So metadata,
later frames and what follows the picture are taken away, whatever their state, and a missing end is put back:

    JPEG    segments that hold no picture go, but JFIF's and Adobe's, which say what the colours mean; of an EXIF its
            orientation alone stays
    PNG     critical chunks stay, their checksums right; a missing end chunk is added
    GIF     the first frame alone, whole
    BMP     8 (uncompressed), 24 or 32 bits with a header of 40 bytes or more, as many pixels as it states
    WebP    the picture's own chunk, whole; of an animation that of its first frame

Each function takes a file of its format and returns one, or raises ValueError, IndexError or struct.error.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from deepfake_tf.reading.orientation import UPRIGHT, read_orientation, write_orientation

JPEG_END = b"\xff\xd9"
JPEG_FILLER = bytes(range(0x35, 0xF5)) * 4  # scan data of no meaning, without a marker
_PARTS = 1_000_000  # segments, chunks or blocks walked past; the largest pictures that are read need 400,000
# Not "\xff+": where fill bytes lead nowhere, that search takes quadratic time.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD8)}
_ADOBE_CMYK = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT")
PNG_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_BMP_HEADERS = struct.Struct("<2sIHHIIiiHHIIiiII")  # BITMAPFILEHEADER and BITMAPINFOHEADER
BMP_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)  # of red, green and blue, in the order of compression 0


def jpeg(data: bytes) -> tuple[bytes, bool]:
    """The picture, and whether the file has its end marker; without it the scan may be cut off."""
    orientation = read_orientation(data)
    exif = b"" if orientation == UPRIGHT else write_orientation(orientation)
    kept, has_adobe, components = [b"\xff\xd8", exif], False, 0
    segments = list(jpeg_segments(data))
    for marker, segment, _ in segments:
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = segment[9]
        if marker == 0xEE and segment[4:9] == b"Adobe" and len(segment) >= 16:
            has_adobe = True
        elif 0xE1 <= marker <= 0xEF or marker == 0xFE or (marker == 0xE0 and segment[4:9] != b"JFIF\0"):
            continue
        kept.append(segment)
    if components == 4 and not has_adobe:  # who writes CMYK writes it inverted, as Adobe does
        kept.insert(1, _ADOBE_CMYK)
    picture, found, _ = data[segments[-1][2] :].partition(JPEG_END)
    return b"".join([*kept, picture, found]), bool(found)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, bytes and end of each segment, up to the header of the first scan."""
    position = 2
    for _ in range(_PARTS):
        # Stray bytes between segments and fill bytes are passed over, as decoders do.
        found = _JPEG_MARKER.search(data, position)
        if found is None or found[1] == b"\xd9":
            break
        position, marker = found.end(), found[1][0]
        if marker in _JPEG_STANDALONE:
            continue
        end = position + struct.unpack_from(">H", data, position)[0]
        if end > len(data) or end < position + 2:
            break
        yield marker, data[position - 2 : end], end
        position = end
        if marker == 0xDA:
            return
    raise ValueError("the JPEG ends, or is cut off, before its picture")


def png(data: bytes) -> bytes:
    kept = [_PNG_SIGNATURE]
    for kind, chunk in _png_chunks(data):
        if kind == b"IEND":
            break
        if kind[0] & 0x20:  # ancillary
            continue
        if kind not in _PNG_CRITICAL or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError(f"the PNG's chunk {kind!r} is unknown or damaged")
        kept.append(chunk)
    if len(kept) < 2 or kept[1][:8] != b"\0\0\0\x0dIHDR":
        raise ValueError("the PNG does not begin with its header")
    return b"".join([*kept, PNG_END])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind, and all the bytes, of each chunk that is whole."""
    position = 8
    for _ in range(_PARTS):
        if position + 12 > len(data):
            return
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return
        yield data[position + 4 : position + 8], data[position:end]
        position = end


def png_exif(data: bytes) -> bytes:
    """The content of the chunk eXIf; empty where there is none."""
    return next((chunk[8:-4] for kind, chunk in _png_chunks(data) if kind == b"eXIf"), b"")


def gif(data: bytes) -> bytes:
    position = gif_frame(data)
    if data[position] != 0x2C:
        raise ValueError("the GIF holds no frame where one must stand")
    size = data[position + 5 : position + 9]
    flags = data[position + 9]
    start = position + 10
    end, is_ended = _skip_sub_blocks(data, start + _gif_table(flags) + 1)
    if end > len(data):
        raise ValueError("the GIF is cut off")
    # The frame is the picture: the canvas gets its size.
    table = data[10 : 13 + _gif_table(data[10])]
    descriptor = b"\x2c" + bytes(4) + size + bytes([flags])
    return b"".join([b"GIF89a", size, table, descriptor, data[start:end], b"\x3b" if is_ended else b"\0\x3b"])


def gif_frame(data: bytes) -> int:
    """Where the first frame stands, behind the extensions; at the end where there is none."""
    position = 13 + _gif_table(data[10]) if len(data) > 10 else 13
    while data[position : position + 1] == b"\x21":
        position, _ = _skip_sub_blocks(data, position + 2)
    return min(position, len(data))


def _gif_table(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _skip_sub_blocks(data: bytes, position: int) -> tuple[int, bool]:
    """Behind a chain of blocks, and whether the empty block that ends it is there: it alone may be missing."""
    for _ in range(_PARTS):
        if position >= len(data):
            break
        length = data[position]
        position += 1
        if not length:
            return position, True
        position += length
    return position, False


def bmp(data: bytes) -> bytes:
    """With a header of 40 bytes, a palette of 256 colours where there is one, and nothing behind the pixels."""
    (_, _, _, _, start, header, width, height, _, bits, compression, *_) = _BMP_HEADERS.unpack_from(data)
    masks_are_usual = bits == 32 and compression == 3 and data[54:66] == BMP_MASKS
    if header < 40 or bits not in (8, 24, 32) or (compression and not masks_are_usual):
        raise ValueError(
            f"a BMP must have 8 (uncompressed), 24 or 32 bits. Received: {bits} bits, compression {compression}, a "
            f"header of {header} bytes"
        )
    size = (width * bits + 31) // 32 * 4 * abs(height)
    pixels = data[start : start + size]
    if start < 14 + header or len(pixels) < size:
        raise ValueError("the BMP is cut off")
    palette = data[14 + header : start][:1024].ljust(1024, b"\0") if bits == 8 else b""
    offset = 54 + len(palette)
    return (
        _BMP_HEADERS.pack(b"BM", offset + size, 0, 0, offset, 40, width, height, 1, bits, 0, size, 0, 0, 0, 0)
        + palette
        + pixels
    )


def webp(data: bytes) -> bytes:
    start = webp_picture(data)
    length = int.from_bytes(data[start + 4 : start + 8], "little")
    picture = data[start : start + 8 + length]
    if len(picture) < 8 + length or start == len(data):
        raise ValueError("the WebP holds no picture, or is cut off")
    picture += bytes(length % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(picture)) + b"WEBP" + picture


def webp_exif(data: bytes) -> bytes:
    """The content of the chunk EXIF; empty where there is none."""
    position = 12
    for _ in range(_PARTS):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"EXIF":
            return data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
        if position >= len(data):
            break
    return b""


def webp_size(kind: bytes, content: bytes) -> tuple[int, int]:
    """Width and height, pixels, as a chunk of a WebP states them: RFC 6386, section 9.1, and RFC 9649, section 2.7.

    Args:
        kind: b"VP8 ", b"VP8L" or b"VP8X".
        content: the chunk's, at least its first ten bytes; cut off, the size is 0 x 0.
    """
    if len(content) < 10:
        return 0, 0
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF


def webp_picture(data: bytes) -> int:
    """Where the chunk with the (first) picture stands, of kind "VP8 " or "VP8L"; at the end where there is none."""
    position = 12
    for _ in range(_PARTS):
        kind = data[position : position + 4]
        if kind in (b"VP8 ", b"VP8L"):
            return position
        if position + 8 > len(data):
            break
        if kind == b"ANMF":  # a frame of an animation: 16 bytes of position and duration, then its chunks
            position += 24
        else:
            length = int.from_bytes(data[position + 4 : position + 8], "little")
            position += 8 + length + length % 2
    return len(data)
