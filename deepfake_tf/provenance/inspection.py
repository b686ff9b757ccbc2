"""A file's own word on its origin: read, checked, weighed and put into one sentence."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from deepfake_tf.contract import LABEL_NAMES, MAX_FILE_BYTES, unexpected
from deepfake_tf.provenance import content_credentials, watermark
from deepfake_tf.provenance.containers import MAX_CREDENTIAL_BYTES, read_metadata
from deepfake_tf.provenance.findings import (
    AI_EDITED,
    CAPTURED,
    GENERATED,
    HINT,
    ORIGINS,
    STRENGTHS,
    UNKNOWN,
    WATERMARK,
    Finding,
    Report,
    clean,
)
from deepfake_tf.provenance.interpretation import findings_of
from deepfake_tf.provenance.metadata import Metadata
from deepfake_tf.reading.pictures import open_image
from deepfake_tf.text import plural, printable

if TYPE_CHECKING:
    import numpy as np

NOTHING_FOUND = "The file says nothing about its origin, which means nothing: most files do not, whatever they show."
NOTHING_READABLE = "The file says nothing about its origin that could be read."
_ORIGIN_WORDS = {GENERATED: "was generated", AI_EDITED: "was edited with AI", CAPTURED: "was captured by a camera"}


def inspect(
    source: str | Path | bytes,
    name: str = "",
    *,
    trust_list: str | Path | None = None,
    fetch_remote: bool = False,
    check_credentials: bool = True,
    check_watermark: bool = True,
) -> Report:
    """What a file says of its own origin: its metadata, and the watermark of generators in its pixels.

    Args:
        source: a path, or the encoded image.
        name: what to call the file in the report. Default: the path, or "image" for bytes.
        trust_list: a PEM file of the certificates whose signers count as known; see `content_credentials`.
        fetch_remote: whether Content Credentials that the file only links to are fetched.
        check_credentials: whether Content Credentials are checked, for which the whole file is read and hashed,
            or only looked at.
        check_watermark: whether the pixels are decoded and searched for a generator's watermark; see `watermark`.
            Without it, no pixel is decoded.

    Returns:
        The report. A file that cannot be read gives one with `error`; broken metadata gives both an error and
        the findings that could be made.

    Raises:
        ValueError: the trust list is not a PEM file of certificates (`content_credentials.check_trust_list` says so
            before the first of many files).
    """
    file = printable(name or (str(source) if not isinstance(source, bytes) else "image"))
    try:
        with _opened(source) as stream:
            metadata, findings = _read(stream)
            findings += _credential_findings(stream, metadata, trust_list, fetch_remote, check_credentials)
            if check_watermark:
                findings += _watermark_findings(stream, metadata)
    except content_credentials.TrustListError:  # the caller's mistake
        raise
    except Exception as failure:  # OSErrors, and whatever a parser stumbles over: one file must not end a run of many
        said = failure.strerror if isinstance(failure, OSError) else f"{type(failure).__name__}: {failure}"
        reason = f"cannot be read: {clean(said or str(failure))}"
        return Report(file, "", 0, 0, (), f"The file {reason}.", reason)
    findings.sort(key=_weight)
    error = clean("; ".join(metadata.problems))
    if not metadata.format:
        summary = "The file is no image that can be read."
    elif metadata.problems and not findings:
        summary = NOTHING_READABLE
    else:
        summary = _summary(findings)
    return Report(file, metadata.format, metadata.width, metadata.height, tuple(findings), summary, error)


def summarise(report: Report, pixel_verdict: str | None) -> str:
    """The file's word and the pixels' side by side; neither changes the other.

    Args:
        report: of `inspect`.
        pixel_verdict: what the detector says, such as "likely generated" or "out of domain"; None where it was
            not asked.

    Returns:
        One line, such as "The file carries a valid Content Credential from OpenAI that says it was generated.
        Pixels: out of domain."
    """
    unread = f" What could not be read: {report.error}." if report.format and report.error else ""
    return f"{report.summary}{unread} Pixels: {clean(pixel_verdict, 200) if pixel_verdict else 'not scored'}."


def evidence_share(
    files: Sequence[str | Path | bytes], labels: Sequence[int] | np.ndarray
) -> dict[str, dict[str, float]]:
    """How many files of each class give themselves away: a shortcut for a model that sees files, not pixels.

    Reads headers and metadata only; Content Credentials are looked at, not checked.

    Args:
        files: N paths or encoded images.
        labels: N integers; 1 = FAKE, 0 = REAL.

    Returns:
        A row a class, {"REAL": {...}, "FAKE": {...}}: for each of "generated", "ai_edited" and "captured" the
        share of its files, 0..1, with at least one finding that says so. A class without files has shares of 0.

    Raises:
        ValueError: files and labels differ in number.
    """
    if len(files) != len(labels):
        raise ValueError(
            f"One label a file is needed. Received: {plural(len(files), 'file')}, {plural(len(labels), 'label')}"
        )
    told = [origin for origin in ORIGINS if origin != UNKNOWN]
    counts = {name: dict.fromkeys(told, 0) for name in LABEL_NAMES}
    totals = dict.fromkeys(LABEL_NAMES, 0)
    for file, label in zip(files, labels):
        class_name = LABEL_NAMES[int(label)]
        totals[class_name] += 1
        report = inspect(file, check_credentials=False, check_watermark=False)
        for origin in {finding.says for finding in report.findings} - {UNKNOWN}:
            counts[class_name][origin] += 1
    return {
        class_name: {origin: count / max(totals[class_name], 1) for origin, count in row.items()}
        for class_name, row in counts.items()
    }


@contextlib.contextmanager
def _opened(source: str | Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    path = Path(source)
    if path.exists() and not path.is_file():  # a pipe would be waited on, a device read without end
        raise OSError("not a regular file")
    try:
        stream = path.open("rb")
    except ValueError as error:  # a path with a null byte
        raise OSError(str(error)) from error
    with stream:
        yield stream


def _read(stream: BinaryIO) -> tuple[Metadata, list[Finding]]:
    """Whatever a parser stumbles over is a problem of this file, and no exception."""
    try:
        metadata = read_metadata(stream)
        return metadata, findings_of(metadata.fields)
    except OSError:
        raise
    except Exception as failure:
        metadata = Metadata()
        metadata.problem(unexpected(failure))
        return metadata, []


def _credential_findings(
    stream: BinaryIO, metadata: Metadata, trust_list: str | Path | None, fetch_remote: bool, check: bool
) -> list[Finding]:
    link = next((field.value for field in metadata.fields if field.source == "XMP provenance"), "")
    if metadata.has_credential and not metadata.credential_size:
        return [content_credentials.empty_finding()]
    if not metadata.credential_size and not link:
        return []
    if metadata.credential_size > MAX_CREDENTIAL_BYTES:
        reason = f"it has {metadata.credential_size} bytes, more than {MAX_CREDENTIAL_BYTES}"
    elif check and (metadata.credential_size or fetch_remote):
        try:
            return content_credentials.read_findings(stream, metadata.format, trust_list, fetch_remote)
        except ImportError as error:
            reason = str(error)
    else:
        reason = "only the header was read"
    if metadata.credential_size:
        return [content_credentials.unchecked_finding(metadata.credential_bytes, reason)]
    return [content_credentials.remote_finding(link)]


def _watermark_findings(stream: BinaryIO, metadata: Metadata) -> list[Finding]:
    if not watermark.MIN_PIXELS <= metadata.width * metadata.height <= watermark.MAX_PIXELS:
        return []
    stream.seek(0)
    encoded = stream.read(MAX_FILE_BYTES + 1)
    if len(encoded) > MAX_FILE_BYTES:
        return []
    try:
        with open_image(encoded) as image:
            found = watermark.find_watermark(image)
    except Exception:  # decoders of damaged files raise whatever they stumble over; what cannot be seen has no mark
        return []
    if found is None:
        return []
    statement = f"The pixels carry the invisible mark that the reference programs of {found.program} write."
    bits = f"{found.matching} of {found.bits} bits"
    return [Finding("watermark", statement, WATERMARK, GENERATED, bits)]


def _weight(finding: Finding) -> tuple[int, int, bool]:
    """Strong before weak, telling before silent, and a credential before its claim."""
    return STRENGTHS.index(finding.strength), ORIGINS.index(finding.says), finding.source != "C2PA"


def _summary(findings: Sequence[Finding]) -> str:
    """The credential's standing if there is one, then each further origin that the file claims, at its strongest."""
    if not findings:
        return NOTHING_FOUND
    sentences = []
    told = {UNKNOWN}
    # A credential speaks first even where it is broken: that it is broken is what the reader must know.
    for finding in sorted(findings, key=lambda finding: finding.source != "C2PA"):
        if finding.source == "C2PA":
            sentences.append(f"The file {finding.statement[0].lower()}{finding.statement[1:]}")
            if finding.strength == HINT:  # broken or unchecked, so that other evidence of the same still counts
                continue
        elif finding.strength == WATERMARK:
            sentences.append(finding.statement)
        elif finding.says not in told and finding.source != "C2PA claim":
            verb = "hints" if finding.strength == HINT else "says"
            also = "also " if sentences else ""
            sentences.append(f"The file {also}{verb} that it {_ORIGIN_WORDS[finding.says]} ({finding.source}).")
        if finding.source != "C2PA claim":
            told.add(finding.says)
    return " ".join(sentences) or "The file names a program, and does not say how the image came to be."
