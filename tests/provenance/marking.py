"""An encoder of the watermark that `deepfake_tf.provenance.watermark` reads, as `invisible-watermark` writes it.

Held to the package itself by `reference_marked_*.webp`, which version 0.2.0 of it wrote.
"""

from __future__ import annotations

import numpy as np

from deepfake_tf.provenance.watermark import _MESSAGES

CELL = 36


def message_of(program: str, swapped: bool = False) -> tuple[np.ndarray, bool, bool]:
    """bool [L]: the bits of a program; whether it hands floats to the encoder; whether RGB for BGR."""
    [message] = [message for message in _MESSAGES if (message.program, message.swapped) == (program, swapped)]
    return message.bits, message.signed, message.swapped


def mark(pixels: np.ndarray, program: str, swapped: bool = False) -> np.ndarray:
    """uint8 [H, W, 3], RGB -> the same with the mark of a program."""
    bits, signed, swapped = message_of(program, swapped)
    blue, green, red = np.moveaxis(pixels.astype(np.float64), 2, 0)[:: 1 if swapped else -1]
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    u, v = 0.492 * (blue - y), 0.877 * (red - y)
    if not signed:
        y, u, v = np.rint(y), np.rint(u) + 128, np.rint(v)
    u = marked_plane(u + (0.5 if signed else 0), bits)
    u = u - 0.5 if signed else np.floor(u + 1e-9).clip(0, 255) - 128
    planes = [y + 2.032 * u, y - 0.395 * u - 0.581 * v, y + 1.14 * v][:: 1 if swapped else -1]
    return np.rint(np.stack(planes, axis=2)).clip(0, 255).astype(np.uint8)


def marked_plane(u: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """float [H, W] -> the same, a bit in each block of 8 x 8."""
    height, width = (side // 4 * 4 for side in u.shape)
    cells = u[:height, :width].reshape(height // 2, 2, width // 2, 2).transpose(0, 2, 1, 3)
    band = cells.sum(axis=(2, 3)) / 2
    moved = band.copy()
    blocks = [(row, column) for row in range(band.shape[0] // 4) for column in range(band.shape[1] // 4)]
    for number, (row, column) in enumerate(blocks):
        block = moved[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        position = np.unravel_index(np.abs(block.ravel()[1:]).argmax() + 1, (4, 4))
        place = np.abs(block[position]) // CELL + (0.75 if bits[number % len(bits)] else 0.25)
        block[position] = np.copysign(place * CELL, block[position] or 1.0)
    # The package hands the two bands of details back in the wrong order, which transposes each 2 x 2 pixels.
    changed = cells.swapaxes(2, 3) + ((moved - band) / 2)[:, :, None, None]
    result = u.copy()
    result[:height, :width] = changed.transpose(0, 2, 1, 3).reshape(height, width)
    return result
