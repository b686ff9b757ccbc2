"""What the page draws: an image as it is shown, its overlay, and the probability as a gauge."""

from __future__ import annotations

import html

import numpy as np
from PIL import Image

from deepfake_tf.detectors.registry import sees_central_square
from deepfake_tf.output.heatmaps import overlay
from deepfake_tf.reading.pictures import open_image, open_picture

NUMBER = "Probability that the image is generated"  # what every percentage on the page is
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

_WIDTH, _HEIGHT = 400, 148
_LEFT, _RIGHT = 20, 380  # where 0 and 1 lie
_LIGHT = ("#1b1f24", "#d5dae1")  # ink and bar; the page's own background shows through
_DARK = ("#f2f4f7", "#4a5260")


def draw_picture(
    encoded: bytes, heatmap: np.ndarray | None = None, opacity: float = 0.5, detector: str = ""
) -> Image.Image | None:
    """The image at the page's size, upright, with a heat map over it where one is given.

    Args:
        encoded: the image file.
        heatmap: float [h, w], 0..1, over the pixels as stored, or None.
        opacity: float, 0..1.
        detector: the row's `detector`, whose map it is.

    Returns:
        An RGB image, its longer side `PICTURE_SIDE`; small ones enlarged in hard squares. None where the file
        cannot be read, or its picture needs more memory than there is.
    """
    picture = open_picture(encoded, PICTURE_SIDE)
    if picture is None:
        return None
    if heatmap is not None:
        picture = overlay(picture, heatmap, opacity, sees_central_square(detector))
    turn = _turn(encoded)
    return picture.transpose(turn) if turn is not None else picture


def _turn(encoded: bytes) -> Image.Transpose | None:
    """What turns the picture upright, by its EXIF; None where nothing does."""
    try:
        with open_image(encoded) as image:
            return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # parsers of broken metadata raise whatever they stumble over
        return None


def draw_gauge(
    probability: float,
    threshold: float | None = None,
    band: tuple[float, float] | None = None,
    dark: bool = False,
) -> str:
    """P(FAKE) on a line from 0 to 1, as an SVG.

    Args:
        probability: float, 0..1.
        threshold: float, 0..1, at and above which an image counts as generated; None where it is unknown.
        band: (low, high), 0..1, between which the verdict is "uncertain"; None where it is unknown.
        dark: bool. For a page with a dark background.

    Raises:
        ValueError: the probability is outside 0..1.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"A probability is from 0 to 1. Received: {probability}")
    ink, bar = _DARK if dark else _LIGHT
    x = _position(probability)
    parts = [_text(_WIDTH / 2, 16, NUMBER)]
    parts.append(f'<rect x="{_LEFT}" y="66" width="{_RIGHT - _LEFT}" height="16" rx="3" fill="{bar}"/>')
    if band is not None:
        low, high = (_position(edge) for edge in band)
        parts.append(f'<rect x="{low:.1f}" y="66" width="{high - low:.1f}" height="16" fill="url(#hatch)"/>')
        parts.append(_text(_WIDTH / 2, 142, f"hatched: uncertain, {format_band(band)}"))
    if threshold is not None:
        line = _position(threshold)
        parts.append(f'<path d="M{line:.1f} 60V90" stroke="{ink}" stroke-width="2" stroke-dasharray="4 2"/>')
        parts.append(_text(line, 104, f"threshold {threshold:.0%}"))
    parts.append(f'<path d="M{x:.1f} 66l-8 -14h16z" fill="{ink}"/>')
    parts.append(f'<path d="M{x:.1f} 66v16" stroke="{ink}" stroke-width="3"/>')
    parts.append(_text(x, 44, format_probability(probability), 20, "bold"))
    parts.append(f'<text x="{_LEFT}" y="122" font-size="13">0 % real</text>')
    parts.append(f'<text x="{_RIGHT}" y="122" font-size="13" text-anchor="end">100 % generated</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" fill="{ink}">'
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path d="M0 0V6" stroke="{ink}" stroke-width="3"/></pattern></defs>'
        + "".join(parts)
        + "</svg>"
    )


def format_probability(probability: float) -> str:
    """As a percentage that never claims certainty."""
    if probability < 0.001:
        return "<0.1%"
    return ">99.9%" if probability > 0.999 else f"{probability:.1%}"


def format_band(band: tuple[float, float]) -> str:
    """From where to where, in the digits of `format_probability`."""
    return f"from {band[0]:.1%} to {band[1]:.1%}"


def describe_gauge(probability: float, threshold: float | None, band: tuple[float, float] | None) -> str:
    """The gauge in words, for people who cannot see it."""
    words = f"{NUMBER}: {format_probability(probability)}."
    if threshold is not None:
        words += f" Threshold {threshold:.0%}."
    if band is not None:
        words += f" Uncertain, hatched, {format_band(band)}."
    return words


def _position(value: float) -> float:
    return _LEFT + value * (_RIGHT - _LEFT)


def _text(x: float, y: int, words: str, size: int = 13, weight: str = "normal") -> str:
    """Centred on `x`, but never cut off at an edge."""
    half = 0.3 * size * len(words)
    x = min(max(x, half + 4), _WIDTH - half - 4)
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="middle"'
    return f'<text x="{x:.1f}" y="{y}" {style}>{html.escape(words)}</text>'
