"""The audit on the terminal and as files."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from deepfake_tf.audit.findings import LOOK, OK, STOP, Audit
from deepfake_tf.audit.page import format_page
from deepfake_tf.text import json_text, plural, printable
from deepfake_tf.writing import write_whole

JSON_FILE = "audit.json"
HTML_FILE = "audit.html"
_CONCLUSIONS = {
    OK: "Nothing speaks against training on this.",
    LOOK: "Look at what is marked before training on this.",
    STOP: "Do not train on this as it is.",
}


def format_table(audit: Audit, width: int | None = None) -> str:
    """The checks for a terminal: name, verdict, what was found and what to do; `width` None is its own, at most 120."""
    width = width or min(shutil.get_terminal_size().columns, 120)
    name_width = max(len(check.name) for check in audit.checks)
    indent = " " * (name_width + 8)
    wrap = lambda text: textwrap.wrap(printable(text), max(width - len(indent), 40)) or [""]
    lines = [f"{'check':<{name_width}}  said  finding"]
    for check in audit.checks:
        first, *rest = wrap(check.finding) + (wrap(f"-> {check.remedy}") if check.remedy else [])
        lines.append(f"{check.name:<{name_width}}  {check.verdict:<4}  {first}")
        lines += [indent + line for line in rest]
    lines += [
        "",
        f"{audit.verdict}: {_CONCLUSIONS[audit.verdict]} ({plural(audit.own, 'image')}, {audit.seconds:.0f} s)",
    ]
    return "\n".join(lines) + "\n"


def write_report(audit: Audit, folder: str | Path) -> tuple[Path, Path]:
    """Write audit.json, with everything found, and audit.html, one file with pictures; each whole or not at all."""
    json_file, html_file = Path(folder) / JSON_FILE, Path(folder) / HTML_FILE
    write_whole(json_file, json_text(audit.to_dict(), indent=2) + "\n")
    write_whole(html_file, format_page(audit, _CONCLUSIONS[audit.verdict]))
    return json_file, html_file
