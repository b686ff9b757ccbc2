"""The audit as one HTML page that needs nothing else; the template is `page.html` beside this file."""

from __future__ import annotations

from pathlib import Path

from deepfake_tf.audit.findings import Audit
from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.html_pages import encoded_uri, picture_uri, render_page
from deepfake_tf.plots import encode_figure
from deepfake_tf.reading.pictures import open_picture
from deepfake_tf.text import plural, printable

TEMPLATE = Path(__file__).with_suffix(".html")
PICTURE_SIDE = 96  # pixels on the page
_LONGEST_TEXT = 2000  # characters of what comes out of files


def format_page(audit: Audit, conclusion: str) -> str:
    """The page, as text.

    Args:
        audit: Audit. Its galleries' pictures are read anew.
        conclusion: str. One sentence on the whole.
    """
    examples = audit.examples
    second = len(examples) - audit.own
    against = f", against {second:,} of a second source" if second else ""
    return render_page(
        TEMPLATE,
        audit=audit,
        conclusion=conclusion,
        images=plural(audit.own, "image") + against,
        thumbnail=lambda position: thumbnail(examples.files[position]),
        caption=lambda position: f"{LABEL_NAMES[int(examples.labels[position])]} {examples.names[position]}",
        draw=lambda plot: encoded_uri(encode_figure(plot.draw(), dpi=120), "PNG"),
        text=lambda text: printable(text[:_LONGEST_TEXT]),
    )


def thumbnail(file: str | bytes) -> tuple[str, bool] | None:
    """(data URI, whether it is smaller than its place) of a file's picture; None where it cannot be shown."""
    picture = open_picture(file, PICTURE_SIDE, enlarge=False)
    if picture is None:
        return None
    is_small = max(picture.size) < PICTURE_SIDE
    return picture_uri(picture, "PNG" if is_small else "JPEG"), is_small
