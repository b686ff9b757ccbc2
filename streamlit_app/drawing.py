"""What the page draws: the probability as a gauge."""

from __future__ import annotations

import html

from deepfake_tf.text import format_band, format_probability

NUMBER = "Probability that the image is generated"  # what every percentage on the page is

_WIDTH, _HEIGHT = 400, 148
_LEFT, _RIGHT = 20, 380  # where 0 and 1 lie
_LIGHT = ("#1b1f24", "#d5dae1")  # ink and bar; the page's own background shows through
_DARK = ("#f2f4f7", "#4a5260")


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
