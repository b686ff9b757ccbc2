"""What the score contract says in words, for every engine: why an image has no score, or is out of domain."""

from __future__ import annotations

from deepfake_tf.config import MAX_PIXELS

ERROR_EMPTY = "empty file"
ERROR_UNKNOWN = "not an image in a supported format (JPEG, PNG, GIF, BMP, WebP)"
ERROR_NO_SIZE = "the image header is damaged or cut off"
ERROR_TOO_LARGE = f"too many pixels: at most {MAX_PIXELS // 1_000_000} million are accepted"
ERROR_DAMAGED = "the image is damaged, cut off, or in a variant of its format that is not supported"

REASON_UNLIKE = "unlike the images that the model was trained and measured on"


def reason_for_size(size: str, min_side: int, max_side: int) -> str:
    """Why an image of this size is out of domain.

    Args:
        size: str, such as "640 x 427".
        min_side: int. The smallest side seen in training, in pixels.
        max_side: int. The largest.
    """
    seen = f"{min_side}" if min_side == max_side else f"{min_side} to {max_side}"
    return f"{size} pixels: the model was trained and measured on sides of {seen} pixels"
