"""What the network sees of a photograph: the one definition, for training and for prediction."""

from __future__ import annotations

import numpy as np
from PIL import Image

VIEW_SIZE = 224  # pixels


def central_view(pixels: np.ndarray) -> np.ndarray:
    """The central square, scaled to the network's input.

    The square has the short side's length and starts at (long side - short side) // 2. It is cut out first, so that
    the filter sees nothing outside it, then scaled by Pillow's antialiased bicubic filter (Keys, a = -0.5; across
    the rows, rounded to whole grey levels, then down the columns, rounded again).

    Args:
        pixels: uint8 [H, W, 3], RGB, any size.

    Returns:
        uint8 [224, 224, 3].

    Raises:
        ValueError: pixels is not of that dtype and shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 [H, W, 3]. Received: {pixels.dtype} {list(pixels.shape)}")
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    return np.asarray(square.resize((VIEW_SIZE, VIEW_SIZE), Image.Resampling.BICUBIC))


pillow_view = central_view
