"""HTML files that need nothing else: templates, and pictures that stand inside them.

Jinja2 escapes whatever is put into a template. Each template also forbids its page scripts and everything that is not
in it, so that no word of a file can do anything there.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from deepfake_tf.text import printable

_JPEG_QUALITY = 85


def render_page(template: Path, **values: Any) -> str:
    """A page, as text that UTF-8 can hold.

    Args:
        template: Path. It has the filter `printable` for what comes out of files: what steers or hides text is
            written out.
        values: what the template names.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)


def picture_uri(picture: Image.Image, format: str = "JPEG") -> str:
    """An image as a data URI; `format` is "JPEG" or "PNG"."""
    buffer = io.BytesIO()
    picture.save(buffer, format, **({"quality": _JPEG_QUALITY} if format == "JPEG" else {}))
    return encoded_uri(buffer.getvalue(), format)


def encoded_uri(encoded: bytes, format: str) -> str:
    """An encoded image as a data URI."""
    return f"data:image/{format.lower()};base64,{base64.b64encode(encoded).decode()}"
