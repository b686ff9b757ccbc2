"""One image, made by formula, whose logit travels with every exported model: an engine that gives another is not used.

Libraries, processors and drivers are many, and some have been seen to return garbage without an error.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import numpy as np

KNOWN_LOGIT = "known_image_logit"  # in the model card of a SavedModel, and in the JSON beside a .tflite
SIDE = 32


def known_image() -> bytes:
    """The image as a BMP of 32 x 32 pixels: two ramps and a wave."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    wave = 0.5 + 0.5 * np.sin(9 * x) * np.cos(7 * y)
    blue_green_red = np.stack([wave, y, x], axis=-1)[::-1]  # a BMP starts at the bottom
    pixels = np.floor(255 * blue_green_red).astype(np.uint8).tobytes()
    header = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    offset = 14 + len(header)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + header + pixels


def check_known_image(
    logits_of: Callable[[list[bytes]], np.ndarray],
    expected: float | None,
    tolerance: float,
    batch_sizes: tuple[int, ...],
    library: str,
    model: str | os.PathLike[str],
    remedy: str,
) -> None:
    """Score the known image, and compare its logit with the one that travels with the model.

    Args:
        logits_of: N encoded images -> logits, float [N].
        expected: float. None, of a model that was exported before it was stated, is not checked.
        tolerance: float. What this library may be off by.
        batch_sizes: how many times the image is scored in one call, a call each: the ways in which the engine will
            be used.
        library: str. What runs the network, with its version.
        model: path of the model.
        remedy: str. What to do where a logit is off.

    Raises:
        ValueError: a logit is farther off than `tolerance`, or no number.
    """
    if expected is None:
        return
    for count in batch_sizes:
        logits = logits_of([known_image()] * count)
        if not (np.abs(logits - expected) <= tolerance).all():  # NaN is farther off too
            raise ValueError(
                f"{library} computes {model} wrongly on this machine and is not used. The logit of the known image "
                f"must be {expected:.4f}, at most {tolerance:g} off. Received, of the image {count} times at once: "
                f"{', '.join(f'{logit:.4g}' for logit in logits)}. {remedy}"
            )
