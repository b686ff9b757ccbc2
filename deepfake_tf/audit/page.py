"""The audit as one HTML page that needs nothing else: pictures and plots stand inside it."""

from __future__ import annotations

import base64
import html
import io

from deepfake_tf.audit.findings import Audit, Check, Gallery, Plot
from deepfake_tf.audit.plots import encode
from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.reading.pictures import open_picture
from deepfake_tf.text import plural, printable

PICTURE_SIDE = 96  # pixels on the page
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 0; } h3 { font-size: .95rem; margin: 1rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid #8884; }
td { overflow-wrap: anywhere; }
td:first-child, td:nth-child(2) { white-space: nowrap; overflow-wrap: normal; }
section { border-top: 1px solid #8886; margin-top: 2rem; padding-top: 1rem; }
.verdict { display: inline-block; min-width: 3.2rem; text-align: center; border-radius: 4px; padding: 0 .4rem;
  color: #fff; font-weight: 600; }
.ok { background: #2b7a3d; } .look { background: #9a6700; } .stop { background: #b3261e; }
.row { display: flex; flex-wrap: wrap; gap: 8px; }
.groups { display: flex; flex-wrap: wrap; gap: 8px; }
.groups .row { border: 1px solid #8886; border-radius: 6px; padding: 6px; }
figure { margin: 0; width: 96px; font-size: 11px; line-height: 1.3; overflow-wrap: anywhere; }
figure img { width: 96px; height: 96px; object-fit: contain; background: #8882; }
.small { image-rendering: pixelated; }
.plots { margin-top: 1rem; }
.plots figure { width: 320px; max-width: 100%; }
.plots img { width: 100%; height: auto; background: #fff; }
.remedy { font-weight: 600; }
li { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  thead { display: none; }
  tr { display: block; border-bottom: 1px solid #8884; padding: .5rem 0; }
  td, td:first-child { display: inline-block; border: 0; padding: .1rem .5rem .1rem 0; }
  td:last-child { display: block; }
}
"""


def format_page(audit: Audit, conclusion: str) -> str:
    """The page, as text.

    Args:
        audit: Audit. Its galleries' pictures are read anew.
        conclusion: str. One sentence on the whole.
    """
    second = len(audit.examples) - audit.own
    against = f", against {second:,} of a second source" if second else ""
    rows = "".join(
        f'<tr><td><a href="#check{index}">{_text(check.name)}</a></td><td>{_badge(check.verdict)}</td>'
        f"<td>{_text(check.finding)}{_remedy(check)}</td></tr>"
        for index, check in enumerate(audit.checks)
    )
    notes = "".join(f"<li>{_text(note)}</li>" for note in audit.examples.notes)
    sections = "".join(_section(index, check, audit) for index, check in enumerate(audit.checks))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Data audit</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Data audit: {_badge(audit.verdict)} {_text(conclusion)}</h1>
<p>{plural(audit.own, "image")}{against}, in {audit.seconds:.0f} s.</p>
<table><thead><tr><th>Check</th><th>Said</th><th>Finding</th></tr></thead><tbody>{rows}</tbody></table>
{f"<h3>Notes of the readers</h3><ul>{notes}</ul>" if notes else ""}
{sections}
</body>
</html>
"""


def _section(index: int, check: Check, audit: Audit) -> str:
    if not (check.galleries or check.plots or check.listings):
        return f'<span id="check{index}"></span>'
    galleries = "".join(_gallery(gallery, audit) for gallery in check.galleries)
    plots = "".join(_plot(plot) for plot in check.plots)
    listings = "".join(
        f"<h3>{_text(listing.title)}</h3><ul>{''.join(f'<li>{_text(line)}</li>' for line in listing.lines)}</ul>"
        for listing in check.listings
    )
    return (
        f'<section id="check{index}"><h2>{_badge(check.verdict)} {_text(check.name)}</h2>{listings}{galleries}'
        f'<div class="row plots">{plots}</div></section>'
    )


def _gallery(gallery: Gallery, audit: Audit) -> str:
    rows = "".join(
        f'<div class="row">{"".join(_picture(position, audit) for position in row)}</div>' for row in gallery.rows
    )
    return f'<h3>{_text(gallery.title)}</h3><div class="{"groups" if len(gallery.rows) > 1 else ""}">{rows}</div>'


def _plot(plot: Plot) -> str:
    picture = f'<img alt="" src="{_data_uri(encode(plot.draw()), "png")}">'
    return f"<figure>{picture}<figcaption>{_text(plot.title)}</figcaption></figure>"


def _picture(position: int, audit: Audit) -> str:
    name = audit.examples.names[position]
    label = LABEL_NAMES[int(audit.examples.labels[position])]
    return (
        f"<figure>{_thumbnail(audit.examples.files[position])}<figcaption>{label} {_text(name)}</figcaption></figure>"
    )


def _thumbnail(file: str | bytes) -> str:
    picture = open_picture(file, PICTURE_SIDE, enlarge=False)
    if picture is None:
        return '<img alt="cannot be shown">'
    is_small = max(picture.size) < PICTURE_SIDE
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if is_small else "JPEG", **({} if is_small else {"quality": 85}))
    uri = _data_uri(buffer.getvalue(), "png" if is_small else "jpeg")
    return f'<img alt="" class="{"small" if is_small else ""}" src="{uri}">'


def _data_uri(encoded: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _badge(verdict: str) -> str:
    return f'<span class="verdict {verdict}">{verdict}</span>'


def _remedy(check: Check) -> str:
    return f'<br><span class="remedy">{_text(check.remedy)}</span>' if check.remedy else ""


def _text(text: str) -> str:
    """File names may hold anything: markup is escaped, and so is what steers or hides text."""
    return html.escape(printable(text[:2000]))
