"""The documents of the repository, and what is read out of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FOLDERS = (".", "docs", "saved_model", "saved_model/photograph", "serving")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n|\n(?= {4}))+")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    """For pytest's list of tests."""
    return path.relative_to(ROOT).as_posix()


def code_blocks(text: str, language: str) -> list[str]:
    return [code for named, code in _FENCE.findall(text) if named == language]


def shell_blocks(text: str) -> list[str]:
    """Fenced blocks of the shell, or of no language, and indented ones."""
    prose = _FENCE.sub("", text)
    return code_blocks(text, "bash") + code_blocks(text, "") + _INDENTED.findall(prose)


def inline_code(text: str) -> list[str]:
    """What stands in single backticks, each on one line."""
    return [" ".join(code.split()) for code in _INLINE.findall(_FENCE.sub("", text))]


def links(text: str) -> list[str]:
    return _LINK.findall(_INLINE.sub("", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """Of the headings, as code hosts and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
