"""What the page draws: an image as it is shown, its overlay, and the probability as a gauge."""

from __future__ import annotations

import html
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from deepfake_tf.output.heatmaps import overlay

PICTURE_SIDE = 640  # pixels, the longer side of a picture on the page
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The gauge brings its own background, so that its contrast is the same on a light and on a dark page.
_WIDTH, _HEIGHT = 400, 112
_LEFT, _RIGHT = 20, 380  # where 0 and 1 lie
_INK, _PAPER = "#1b1f24", "#ffffff"


def draw_picture(encoded: bytes, heatmap: np.ndarray | None = None, opacity: float = 0.5) -> Image.Image | None:
    """The image at the page's size, upright, with a heat map over it where one is given.

    Args:
        encoded: the image file.
        heatmap: float [h, w], 0..1, over the pixels as stored, or None.
        opacity: float, 0..1.

    Returns:
        An RGB image, its longer side `PICTURE_SIDE`; small ones enlarged in hard squares. None where Pillow
        cannot read the file.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            turn = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
            image.draft("RGB", (PICTURE_SIDE, PICTURE_SIDE))  # a JPEG is decoded at a fraction of its size
            picture = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    scale = PICTURE_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    if heatmap is not None:
        picture = overlay(picture, heatmap, opacity)
    return picture.transpose(turn) if turn is not None else picture


def draw_gauge(probability: float, threshold: float | None = None, band: tuple[float, float] | None = None) -> str:
    """P(FAKE) on a line from 0 to 1, as an SVG.

    Args:
        probability: float, 0..1.
        threshold: float, 0..1, at and above which an image counts as generated; None where it is unknown.
        band: (low, high), 0..1, between which the verdict is "uncertain"; None where it is unknown.

    Raises:
        ValueError: the probability is outside 0..1.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"A probability is from 0 to 1. Received: {probability}")
    x = _position(probability)
    parts = [f'<rect x="{_LEFT}" y="48" width="{_RIGHT - _LEFT}" height="16" rx="3" fill="#d5dae1"/>']
    if band is not None:
        low, high = (_position(edge) for edge in band)
        parts.append(f'<rect x="{low:.1f}" y="48" width="{high - low:.1f}" height="16" fill="url(#hatch)"/>')
        parts.append(_text(_WIDTH / 2, 104, "hatched: uncertain"))
    if threshold is not None:
        line = _position(threshold)
        parts.append(f'<path d="M{line:.1f} 42V72" stroke="{_INK}" stroke-width="2" stroke-dasharray="4 2"/>')
        parts.append(_text(line, 86, f"threshold {threshold:.0%}"))
    parts.append(f'<path d="M{x:.1f} 48l-8 -14h16z" fill="{_INK}"/>')
    parts.append(f'<path d="M{x:.1f} 48v16" stroke="{_INK}" stroke-width="3"/>')
    parts.append(_text(x, 26, format_probability(probability), 20, "bold"))
    parts.append(f'<text x="{_LEFT}" y="104" font-size="13">0 % real</text>')
    parts.append(f'<text x="{_RIGHT}" y="104" font-size="13" text-anchor="end">100 % generated</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" fill="{_INK}">'
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V6" stroke="{_INK}" stroke-width="3"/></pattern></defs>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="{_PAPER}"/>' + "".join(parts) + "</svg>"
    )


def format_probability(probability: float) -> str:
    """As a percentage that never claims certainty."""
    if probability < 0.001:
        return "<0.1%"
    return ">99.9%" if probability > 0.999 else f"{probability:.1%}"


def describe_gauge(probability: float, threshold: float | None, band: tuple[float, float] | None) -> str:
    """The gauge in words, for people who cannot see it."""
    words = f"Probability that the image is generated: {format_probability(probability)}."
    if threshold is not None:
        words += f" Threshold {threshold:.0%}."
    if band is not None:
        words += f" Uncertain, hatched, from {band[0]:.0%} to {band[1]:.0%}."
    return words


def _position(value: float) -> float:
    return _LEFT + value * (_RIGHT - _LEFT)


def _text(x: float, y: int, words: str, size: int = 13, weight: str = "normal") -> str:
    """Centred on `x`, but never cut off at an edge."""
    half = 0.3 * size * len(words)
    x = min(max(x, half + 4), _WIDTH - half - 4)
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="middle"'
    return f'<text x="{x:.1f}" y="{y}" {style}>{html.escape(words)}</text>'
