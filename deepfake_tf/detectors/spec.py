"""What a detector is, apart from its weights."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line prints its help without NumPy
    import numpy as np

View = Callable[["np.ndarray"], "np.ndarray"]  # uint8 [H, W, 3] -> uint8 [side, side, 3]


@dataclasses.dataclass(frozen=True)
class DetectorSpec:
    """A detector's name, and what it makes of an image before its network.

    The view stands twice, by Pillow for the light engines and by TensorFlow for training and the exported graph; a
    test holds the two to one grey level of each other.

    Attributes:
        name: str. In rows (`detector`) and on the command line.
        model_name: str. The model's name on a server, and its folder under `saved_model/`.
        judges: str. What it can judge, in words that end "... judges ".
        view_side: int, pixels. The square that the network reads.
        shortest_side: int, pixels. Images whose short side is below it are out of domain.
        longest_side: int or None, pixels. Images whose long side is above it are out of domain; None: no limit.
        central_square: bool. Whether the network sees the image's central square alone, and its map is of that.
        upright: bool. Whether a JPEG's EXIF orientation is applied to what the network sees; the map is of that.
        views: str. The module with `pillow_view`.
        tensorflow_views: str. The module with `tensorflow_view`, string -> uint8 [side, side, 3] in a graph.
    """

    name: str
    model_name: str
    judges: str
    view_side: int
    shortest_side: int
    longest_side: int | None
    central_square: bool
    upright: bool
    views: str
    tensorflow_views: str

    def accepts(self, width: int, height: int) -> bool:
        """Whether an image of so many pixels is of the sizes that the detector was measured on."""
        return min(width, height) >= self.shortest_side and (
            self.longest_side is None or max(width, height) <= self.longest_side
        )

    @property
    def pillow_view(self) -> View:
        """uint8 [H, W, 3], RGB -> uint8 [view_side, view_side, 3], without TensorFlow."""
        return importlib.import_module(self.views).pillow_view

    @property
    def tensorflow_view(self) -> Callable[[Any], Any]:
        """uint8 tensor [..., H, W, 3], RGB -> uint8 tensor [..., view_side, view_side, 3]."""
        return importlib.import_module(self.tensorflow_views).tensorflow_view
