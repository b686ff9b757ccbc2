"""What the score contract says in words, for every engine: why an image has no score, or is out of domain."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from deepfake_tf.config import MAX_PIXELS

Rows = dict[str, np.ndarray]  # a field of the score contract -> an array [N]; texts as bytes; heatmap [N, h, w]


class Engine(Protocol):
    """What runs a model. May be called by several threads at once."""

    def predict(self, encoded: list[bytes]) -> Rows:
        """N encoded images -> the outputs of the SavedModel's signature `serving_default`."""

    def explain(self, encoded: list[bytes]) -> Rows:
        """The same, and `heatmap`, float32 [N, h, w], 0..1."""


ERROR_EMPTY = "empty file"
ERROR_UNKNOWN = "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)"
ERROR_NO_SIZE = "the image header is damaged or cut off"
ERROR_TOO_LARGE = f"too many pixels: at most {MAX_PIXELS // 1_000_000} million are accepted"
ERROR_DAMAGED = "the image is damaged, cut off, or in a variant of its format that is not supported"

REASON_UNLIKE = "unlike the images that the model was trained and measured on"


def reason_for_size(size: str, shortest: int, longest: int | None) -> str:
    """Why an image of this size is out of domain.

    Args:
        size: str, such as "640 x 427".
        shortest: int. The smallest side seen in training, in pixels.
        longest: int or None. The largest; None where only the smallest matters.
    """
    if longest is None:
        seen = f"{shortest} and more"
    else:
        seen = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    return f"{size} pixels: the model was trained and measured on sides of {seen} pixels"
