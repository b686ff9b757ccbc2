"""The fields of an EXIF block that bear on an image's origin (Exif 3.0, CIPA DC-008-2023)."""

from __future__ import annotations

from collections.abc import Callable

from deepfake_tf.provenance.fields import Field
from deepfake_tf.provenance.tiff import read_tags

# In the order in which a reader expects them.
_TEXT_TAGS = {
    271: "Make",
    272: "Model",
    42035: "LensMake",
    42036: "LensModel",
    305: "Software",
    36867: "DateTimeOriginal",
    270: "ImageDescription",
    315: "Artist",
    37500: "MakerNote",  # text only in what generators write; a camera's own is binary and is left out
    37510: "UserComment",
}
TAGS = frozenset(_TEXT_TAGS)
_VALUE_BYTES = 1 << 20


def read_fields(block: bytes) -> tuple[list[Field], list[str]]:
    """The origin fields of an EXIF block.

    Args:
        block: bytes. The TIFF structure, with or without the "Exif\\0\\0" before it.

    Returns:
        The fields, and what was wrong with the block, a sentence each.
    """
    block = block.removeprefix(b"Exif\0\0")

    def read_at(offset: int, length: int) -> bytes:
        return block[offset : offset + length]

    return fields_of(read_at)


def fields_of(read_at: Callable[[int, int], bytes]) -> tuple[list[Field], list[str]]:
    """The origin fields of a TIFF structure that `read_at` gives the bytes of; see `tiff.read_tags`."""
    tags, order, problems = read_tags(read_at, TAGS, _VALUE_BYTES)
    fields = []
    for tag, key in _TEXT_TAGS.items():
        value = tags.get(tag)
        if not isinstance(value, bytes):
            continue
        text = _decode_comment(value, order) if tag == 37510 else _decode_text(value)
        if text and not (tag == 37500 and not text.isprintable()):
            fields.append(Field("EXIF", key, text))
    return fields, [f"EXIF: {problem}" for problem in problems]


def _decode_text(value: bytes) -> str:
    """An ASCII value; UTF-8 is what Exif 3.0 allows and generators write, the rest is taken as Latin-1."""
    value = value.split(b"\0", 1)[0]
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _decode_comment(value: bytes, order: str) -> str:
    """A UserComment: eight bytes name its character code (Exif 3.0, section 4.6.6.5.2)."""
    code, text = value[:8], value[8:]
    if code != b"UNICODE\0":
        return _decode_text(text if code in (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8)) else value)
    # Writers disagree on the byte order of UTF-16; in text of any European language the zeros tell it.
    even_zeros, odd_zeros = text[:512:2].count(0), text[1:512:2].count(0)
    if even_zeros == odd_zeros:
        encoding = "utf-16-le" if order == "<" else "utf-16-be"
    else:
        encoding = "utf-16-le" if odd_zeros > even_zeros else "utf-16-be"
    return text.decode(encoding, errors="replace").strip("\0 \n")
