"""Damaged image files by formula: cut off, bits turned, bytes changed, lost, doubled or put in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.images import encode, photograph

DAMAGES = ("cut", "cut_end", "bits", "head_bit", "byte", "zeros", "noise", "lost", "inserted", "doubled")


def damaged_files(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of `count` files, each kind of image in turn and each kind of damage by chance."""
    generator = np.random.default_rng(seed)
    originals = _originals()
    for number, name in zip(range(count), list(originals) * (count // len(originals) + 1)):
        damage = str(generator.choice(DAMAGES))
        yield f"{number:05d}_{damage}_{name}", _damage(originals[name], damage, generator)


def _damage(data: bytes, damage: str, generator: np.random.Generator) -> bytes:
    changed, length = bytearray(data), len(data)
    at, run = int(generator.integers(length)), int(generator.integers(1, 40))
    end = min(at + run, length)
    if damage == "cut":
        del changed[at:]
    elif damage == "cut_end":
        del changed[length - run :]
    elif damage == "bits":
        for position in generator.integers(length, size=5):
            changed[position] ^= 1 << int(generator.integers(8))
    elif damage == "head_bit":
        changed[int(generator.integers(min(64, length)))] ^= 1 << int(generator.integers(8))
    elif damage == "byte":
        changed[at] = int(generator.integers(256))
    elif damage == "zeros":
        changed[at:end] = bytes(end - at)
    elif damage == "noise":
        changed[at:end] = generator.bytes(end - at)
    elif damage == "lost":
        del changed[at:end]
    elif damage == "inserted":
        changed[at:at] = generator.bytes(run)
    else:
        changed[at:at] = changed[at:end]
    return bytes(changed)


def _originals() -> dict[str, bytes]:
    small, large = photograph(48, 40), photograph(150, 110, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    translucent = small.convert("RGBA")
    translucent.putalpha(small.convert("L"))
    sixteen_bits = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [photograph(48, 40, seed) for seed in (1, 2)]}
    return {
        "baseline.jpg": encode(small, "JPEG", quality=90),
        "large.jpg": encode(large, "JPEG", quality=75),
        "progressive.jpg": encode(large, "JPEG", progressive=True),
        "grey.jpg": encode(small.convert("L"), "JPEG"),
        "cmyk.jpg": encode(small.convert("CMYK"), "JPEG"),
        "metadata.jpg": encode(small, "JPEG", exif=exif, comment=b"hello"),
        "full_colour.jpg": encode(small, "JPEG", subsampling=0),
        "restarts.jpg": encode(large, "JPEG", restart_marker_rows=1),
        "colour.png": encode(small, "PNG"),
        "large.png": encode(large, "PNG"),
        "grey.png": encode(small.convert("L"), "PNG"),
        "palette.png": encode(small.convert("P"), "PNG", transparency=3),
        "alpha.png": encode(translucent, "PNG"),
        "sixteen_bits.png": encode(sixteen_bits, "PNG"),
        "one_bit.png": encode(small.convert("1"), "PNG"),
        "still.gif": encode(small, "GIF"),
        "animated.gif": encode(small, "GIF", **frames),
        "transparent.gif": encode(small.convert("P"), "GIF", transparency=3),
        "colour.bmp": encode(small, "BMP"),
        "palette.bmp": encode(small.convert("P"), "BMP"),
        "alpha.bmp": encode(translucent, "BMP"),
        "grey.bmp": encode(small.convert("L"), "BMP"),
        "lossy.webp": encode(small, "WEBP"),
        "large.webp": encode(large, "WEBP"),
        "lossless.webp": encode(small, "WEBP", lossless=True),
        "alpha.webp": encode(translucent, "WEBP"),
        "alpha_lossless.webp": encode(translucent, "WEBP", lossless=True),
        "animated.webp": encode(small, "WEBP", **frames),
        "metadata.webp": encode(small, "WEBP", exif=exif),
    }
