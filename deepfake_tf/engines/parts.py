"""Many images, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator


def in_parts(encoded: list[bytes], most_bytes: int, most_images: int) -> Iterator[list[bytes]]:
    """The images in order, at most so many and so many bytes at a time; a larger image comes alone.

    Of no images there is one part, an empty one.
    """
    part: list[bytes] = []
    size = 0
    for image in encoded:
        if part and (len(part) == most_images or size + len(image) > most_bytes):
            yield part
            part, size = [], 0
        part.append(image)
        size += len(image)
    yield part
