"""Pictures to measure with, made on the spot: smooth colours with texture, so that they pack like photographs."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

FORMAT_OPTIONS = {"JPEG": {"quality": 90}, "PNG": {}, "WEBP": {"quality": 90}, "GIF": {}, "BMP": {}}


def encoded_picture(width: int, height: int, image_format: str, seed: int = 0) -> bytes:
    """One encoded picture, its format a key of `FORMAT_OPTIONS`. Another seed, another picture."""
    generator = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC), np.int16)
    texture = generator.integers(-6, 7, (height, width, 1), np.int16)
    buffer = io.BytesIO()
    pixels = np.clip(smooth + texture, 0, 255).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(buffer, image_format, **FORMAT_OPTIONS[image_format])
    return buffer.getvalue()


def encoded_pictures(count: int, width: int, height: int, image_format: str) -> list[bytes]:
    """`count` different pictures."""
    return [encoded_picture(width, height, image_format, seed) for seed in range(count)]
