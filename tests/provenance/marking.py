"""An encoder of the watermark that `deepfake_tf.provenance.watermark` reads, as `invisible-watermark` writes it.

Held to the package itself by `reference_marked_*.webp`, which version 0.2.0 of it wrote.
"""

from __future__ import annotations

import numpy as np

from deepfake_tf.provenance.watermark import _MESSAGES

CELL = 36
ROOT = 0.7071067811865476


def message_of(program: str, swapped: bool = False) -> tuple[np.ndarray, bool, bool]:
    """bool [L]: the bits of a program; whether it hands floats to the encoder; whether RGB for BGR."""
    [message] = [message for message in _MESSAGES if (message.program, message.swapped) == (program, swapped)]
    return message.bits, message.signed, message.swapped


def mark(pixels: np.ndarray, program: str, swapped: bool = False) -> np.ndarray:
    """uint8 [H, W, 3], RGB -> the same with the mark of a program."""
    bits, signed, swapped = message_of(program, swapped)
    blue, green, red = np.moveaxis(pixels.astype(np.float64), 2, 0)[:: 1 if swapped else -1]
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    if signed:
        u, v = marked_plane(0.492 * (blue - y) + 0.5, bits) - 0.5, 0.877 * (red - y)
    else:
        y = np.rint(y)
        u, v = np.rint(0.492 * (blue - y)) + 128, np.rint(0.877 * (red - y))
        u = np.trunc(marked_plane(u, bits)) % 256 - 128  # bytes that overflow start again at 0
    planes = [y + 2.032 * u, y - 0.395 * u - 0.581 * v, y + 1.14 * v][:: 1 if swapped else -1]
    return np.rint(np.stack(planes, axis=2)).clip(0, 255).astype(np.uint8)


def marked_plane(u: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """float [H, W] -> the same, a bit in each block of 8 x 8 pixels."""
    height, width = (side // 4 * 4 for side in u.shape)
    low, high = split(u[:height, :width], 0)
    (band, vertical), (horizontal, diagonal) = split(low, 1), split(high, 1)
    for number, (row, column) in enumerate(np.ndindex(band.shape[0] // 4, band.shape[1] // 4)):
        block = band[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        position = np.unravel_index(np.abs(block.ravel()[1:]).argmax() + 1, (4, 4))
        place = np.abs(block[position]) // CELL + (0.75 if bits[number % len(bits)] else 0.25)
        block[position] = place * CELL if block[position] >= 0 else -place * CELL
    marked = u.copy()
    # The package hands the two bands back in the wrong order.
    marked[:height, :width] = join(join(band, horizontal, 1), join(vertical, diagonal, 1), 0)
    return marked


def split(values: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Haar's wavelet along an axis, rounded as PyWavelets does: sums below a whole number are cut off one too low."""
    first, second = np.split(values.reshape(*pairs(values.shape, axis)) * ROOT, 2, axis + 1)
    return (first + second).squeeze(axis + 1), (first - second).squeeze(axis + 1)


def join(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    low, high = low * ROOT, high * ROOT
    shape = list(low.shape)
    shape[axis] *= 2
    return np.stack([low + high, low - high], axis + 1).reshape(shape)


def pairs(shape: tuple[int, ...], axis: int) -> list[int]:
    return [*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 :]]
