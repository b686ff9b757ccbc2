"""What a file says of its own origin: one finding a statement, one report a file.

A finding repeats what the file claims; only a signature by a known party proves that the claim was made by
that party, and nothing here proves that the claim is true. No finding changes the probability from the pixels.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from typing import Any

# How much a finding weighs.
SIGNED = "signed"  # a Content Credential, intact, by a signer on the trust list
DECLARED = "declared"  # written there on purpose, by anybody: a prompt, a digital source type
WATERMARK = "watermark"  # in the pixels: the invisible mark of a generator
HINT = "hint"  # goes with such images, but is easily copied or left over: a camera's name, a program's name
STRENGTHS = (SIGNED, DECLARED, WATERMARK, HINT)

# What a finding says about how the image came to be.
GENERATED = "generated"
AI_EDITED = "ai_edited"
CAPTURED = "captured"
UNKNOWN = "unknown"
ORIGINS = (GENERATED, AI_EDITED, CAPTURED, UNKNOWN)

RAW_CHARACTERS = 500  # of a raw value kept in a finding: a prompt is recognised by less


@dataclasses.dataclass(frozen=True)
class Finding:
    """One statement that the file makes.

    Attributes:
        source: where it stands, such as "C2PA", "XMP", "EXIF UserComment" or "PNG text 'parameters'".
        statement: what it says, in plain words.
        strength: "signed", "declared", "watermark" or "hint".
        says: "generated", "ai_edited", "captured" or "unknown".
        raw: the value as found, cut to `RAW_CHARACTERS`, without control characters. It is not escaped:
            whoever shows it on a web page escapes it.
        status: of a Content Credential: "valid", "unknown_signer", "tampered", "invalid", "unchecked" or
            "remote"; empty for every other finding.
    """

    source: str
    statement: str
    strength: str
    says: str = UNKNOWN
    raw: str = ""
    status: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """What one file says of its own origin.

    Attributes:
        file: the name given, as `text.printable` writes it: on one line, and to be found again.
        format: "JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC", "GIF", "BMP", or empty where it is none of these.
        width: in pixels as the header states it; 0 where unknown.
        height: in pixels as the header states it; 0 where unknown.
        findings: the weightiest first.
        summary: one or two sentences.
        error: empty, or what could not be read; findings made before it still stand.
    """

    file: str
    format: str
    width: int
    height: int
    findings: tuple[Finding, ...]
    summary: str
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        report = dataclasses.asdict(self)
        report["findings"] = [dataclasses.asdict(finding) for finding in self.findings]
        return report


def clean(text: str, limit: int = RAW_CHARACTERS) -> str:
    """The text on one line, cut to `limit` characters, without anything that steers a terminal or hides text.

    Control and format characters (escape sequences, bidirectional overrides, zero-width joiners) and lone
    surrogates become U+FFFD; runs of white space become one space.
    """
    cut = text[: 4 * limit]  # before the loop below: the text may be a megabyte of prompt
    line = " ".join(cut.split())
    line = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char)[0] == "C" else char for char in line)
    return line if len(line) <= limit and len(cut) == len(text) else line[: limit - 1] + "…"
