"""Heat maps as pictures.

The map is coarse (4 x 4 to 14 x 14, by detector, for an image of any size): it shows which region pushed the network
towards its label, not which pixels were generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from deepfake_tf.contract import Explanation
from deepfake_tf.detectors.registry import sees_central_square, sees_upright
from deepfake_tf.plots import encode_figure, new_figure
from deepfake_tf.reading.orientation import read_orientation, turn_upright
from deepfake_tf.reading.pictures import open_picture, to_rgb
from deepfake_tf.text import printable

COLUMNS = 6  # pictures a row of a contact sheet
SHEET_SIDE = 320  # pixels, the longer side of a picture on the sheet
PICTURE_SIDE = 640  # of a picture by itself


def overlay(image: Image.Image, heatmap: np.ndarray, opacity: float = 0.5, central_square: bool = False) -> Image.Image:
    """Lay a heat map over an image.

    Args:
        image: PIL image of any size and mode.
        heatmap: float [h, w], 0..1.
        opacity: float, 0..1. Of the map where it is 1; where it is 0 the image stays as it is.
        central_square: bool. The map is of the image's central square alone; the rest stays as it is.

    Returns:
        An RGB image of the same size.

    Raises:
        ValueError: `opacity` or the map is out of range.
    """
    if not 0.0 <= opacity <= 1.0:
        raise ValueError(f"opacity must be from 0 to 1. Received: opacity={opacity}")
    if heatmap.ndim != 2 or heatmap.min() < 0.0 or heatmap.max() > 1.0:
        raise ValueError(f"A heat map is [h, w] in 0..1. Received: {list(heatmap.shape)}")
    width, height = (min(image.size),) * 2 if central_square else image.size
    values = Image.new("F", image.size)
    values.paste(
        Image.fromarray(np.asarray(heatmap, np.float32)).resize((width, height), Image.Resampling.BICUBIC),
        ((image.width - width) // 2, (image.height - height) // 2),
    )
    strength = np.clip(np.asarray(values), 0.0, 1.0)
    colours = colormaps["inferno"](strength)[..., :3] * 255.0
    pixels = np.asarray(to_rgb(image), np.float64)
    weight = (strength * opacity)[..., None]
    return Image.fromarray(np.round(pixels * (1.0 - weight) + colours * weight).astype(np.uint8))


def draw_picture(
    encoded: bytes, heatmap: np.ndarray | None = None, opacity: float = 0.5, detector: str = ""
) -> Image.Image | None:
    """The image as it is shown, upright, with a heat map over it where one is given.

    Args:
        encoded: the image file.
        heatmap: float [h, w], 0..1, or None.
        opacity: float, 0..1.
        detector: the row's `detector`, whose map it is.

    Returns:
        An RGB image, its longer side `PICTURE_SIDE`; small ones enlarged in hard squares. None where the file
        cannot be read, or its picture needs more memory than there is.
    """
    picture = open_picture(encoded, PICTURE_SIDE)
    if picture is None or heatmap is None:
        return picture
    return _with_map(picture, encoded, heatmap, opacity, detector)


def _with_map(picture: Image.Image, encoded: bytes, heatmap: np.ndarray, opacity: float, detector: str) -> Image.Image:
    """The map over a picture of `open_picture`, which is upright."""
    if not sees_upright(detector):
        heatmap = turn_upright(heatmap, read_orientation(encoded))
    return overlay(picture, heatmap, opacity, sees_central_square(detector))


def draw_sheet(explanations: Sequence[Explanation], images: Sequence[bytes]) -> bytes:
    """Images with their verdicts, and below each its overlay, on one sheet.

    Args:
        explanations: N of them.
        images: the N encoded images that they explain.

    Returns:
        An encoded PNG.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(2.1 * columns, 4.9 * rows)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, (explanation, encoded) in enumerate(zip(explanations, images, strict=True)):
        row, column = divmod(index, columns)
        prediction = explanation.prediction
        picture = open_picture(encoded, SHEET_SIDE) if not prediction.error else None
        above, below = grid[2 * row, column], grid[2 * row + 1, column]
        above.set_title(
            f"{printable(Path(prediction.file).name)}\n{_caption(prediction)}", fontsize=8, parse_math=False
        )
        if picture is None and not prediction.error:
            above.text(0.5, 0.5, "cannot be shown", ha="center", va="center", fontsize=8, transform=above.transAxes)
        elif picture is not None:
            above.imshow(picture)
            below.imshow(_with_map(picture, encoded, explanation.heatmap, 0.5, prediction.detector))
    return encode_figure(figure, dpi=110)


def _caption(prediction) -> str:
    if prediction.error:
        return "no score"
    if not prediction.in_domain:
        return f"{prediction.verdict}: out of domain"
    return f"{prediction.verdict} ({prediction.confidence:.1%} {prediction.label})"
