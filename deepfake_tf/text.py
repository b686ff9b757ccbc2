"""Text for programs and for people, of values that may hold anything: file names, above all.

On most systems a file name is bytes. Python keeps those that are no UTF-8 as lone surrogates, which no UTF-8 file, no
strict JSON reader and no terminal takes. Written out, such a byte is `\\xe9`, and a character that would break a line
or steer a terminal `\\u2028`: what Bash's `printf` turns back into the name.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_LOOKS_ESCAPED = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_ESCAPE = re.compile(rf"\\\\|{_LOOKS_ESCAPED.pattern}")
_LINE_BREAKS = str.maketrans({character: f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"})
# What makes spreadsheets run a cell (OWASP, CSV injection), the wide forms of East Asian keyboards among it.
_RUNS_AS_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MARKED_AS_TEXT = re.compile(f"'{_RUNS_AS_FORMULA.pattern}")


def as_utf8(name: str) -> str:
    """A file name as text that UTF-8 can hold, and no two names alike.

    Args:
        name: str, as `os.fsdecode` gives it.

    Returns:
        The name itself where it can be, else bytes that are no UTF-8 as `\\xe9`. Where that is done, or where the name
        looks as if it had been, each backslash becomes two.
    """
    plain = not _SURROGATE.search(name) and not _LOOKS_ESCAPED.search(name)
    return name if plain else _escape(name, _SURROGATE.match)


def of_utf8(name: str) -> str:
    """The file name that `as_utf8` was given."""
    return _ESCAPE.sub(_unescaped, name) if _LOOKS_ESCAPED.search(name) else name


def printable(text: str) -> str:
    """A file name or a message on one line, without anything that steers a terminal; `as_utf8` otherwise."""
    plain = not any(map(_is_unprintable, text)) and not _LOOKS_ESCAPED.search(text)
    return text if plain else _escape(text, _is_unprintable)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON that every reader takes as UTF-8 and as one line (or with `indent`, as its own lines only).

    Args:
        value: what `json.dumps` takes. Strings may hold lone surrogates.
        indent: int or None, as of `json.dumps`.
    """
    # A lone surrogate, raw or escaped, is refused by strict readers; the other three end a line for some of them.
    dumped = json.dumps(value, indent=indent, ensure_ascii=False)
    return _SURROGATE.sub(lambda match: "\\" + _escaped(match[0]), dumped).translate(_LINE_BREAKS)


def as_cell(text: str) -> str:
    """A cell that a spreadsheet shows and does not run: with an apostrophe before what it would take for a formula."""
    text = _SURROGATE.sub(lambda match: _escaped(match[0]), text)
    return f"'{text}" if _RUNS_AS_FORMULA.match(text) else text


def of_cell(cell: str) -> str:
    """What `as_cell` was given."""
    return cell[1:] if _MARKED_AS_TEXT.match(cell) else cell


def format_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Rows that end in `\\n`; text that a spreadsheet would run as a formula is marked as text (see `as_cell`)."""
    return "".join(csv_row(as_cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows)


def csv_row(cells: Iterable[Any]) -> str:
    """One row, its cells as they are; ends in `\\n`."""
    buffer = io.StringIO(newline="")
    # By the line end that makes Python before 3.13 put a lone \r between quotes, without which the row breaks.
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def plural(count: int, noun: str) -> str:
    """`1 image`, `2 images`, `1,000 images`."""
    takes_es = noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch")  # spoken with a k
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if takes_es else "s")


def _is_unprintable(character: str) -> bool:
    """Controls, formats such as bidirectional overrides, surrogates, what has no glyph; line and paragraph breaks."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def _escape(text: str, is_escaped: Callable[[str], Any]) -> str:
    return "".join(
        _escaped(character) if is_escaped(character) else character for character in text.replace("\\", "\\\\")
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as `os.fsdecode` keeps it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescaped(match: re.Match[str]) -> str:
    if match[0] == "\\\\":
        return "\\"
    code = int(match[1][1:], 16)
    return chr(0xDC00 + code if match[1][0] == "x" else code)


def format_probability(probability: float) -> str:
    """As a percentage that never claims certainty."""
    if probability < 0.001:
        return "<0.1%"
    return ">99.9%" if probability > 0.999 else f"{probability:.1%}"


def format_band(band: tuple[float, float]) -> str:
    """From where to where, in the digits of `format_probability`."""
    return f"from {band[0]:.1%} to {band[1]:.1%}"
