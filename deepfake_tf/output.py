"""Predictions as a table, JSON, JSON Lines or CSV, and files that appear whole or not at all."""

from __future__ import annotations

import csv
import ctypes
import dataclasses
import io
import json
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.config import LABEL_INVALID
from deepfake_tf.inference.detector import Prediction

FORMATS = ("table", "json", "jsonl", "csv")
_FIELDS = [field.name for field in dataclasses.fields(Prediction)]


def format_predictions(
    predictions: Sequence[Prediction], output_format: str, more: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """One string that ends in a newline.

    Args:
        predictions: a sequence of Prediction.
        output_format: "table" for people; "json" (an array), "jsonl" (a row a line) or "csv" for programs.
        more: further fields of each row, the same in all of them; the table leaves them out. Default: none.
    """
    extras = more or [{}] * len(predictions)
    rows = [{**prediction.to_dict(), **extra} for prediction, extra in zip(predictions, extras)]
    if output_format == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if output_format == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if output_format == "csv":
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, [*_FIELDS, *(more[0] if more else ())], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()
    return _format_table(predictions)


def _format_table(predictions: Sequence[Prediction]) -> str:
    rows = [("file", "size", "label", "confidence", "verdict")]
    for prediction in predictions:
        size = f"{prediction.width} x {prediction.height}" if prediction.width else "-"
        if prediction.error:
            rows.append((printable(prediction.file), size, LABEL_INVALID, "-", f"error: {prediction.error}"))
            continue
        label, confidence = prediction.label, f"{prediction.confidence:.1%}"
        verdict = prediction.verdict
        if not prediction.in_domain:
            label, confidence, verdict = f"({label})", f"({confidence})", f"{verdict} (out of domain)"
        rows.append((printable(prediction.file), size, label, confidence, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    if reasons := sorted({_general(prediction.reason) for prediction in predictions if prediction.reason}):
        lines += ["", "In parentheses, out of domain: " + "; ".join(reasons) + ". Do not rely on it."]
    return "\n".join(lines) + "\n"


def _general(reason: str) -> str:
    """`640 x 427 pixels: the model ...` -> `the model ...`; the size stands in the row."""
    return reason.partition(" pixels: ")[2] or reason


def printable(text: str) -> str:
    """A file name may hold anything: control characters must not reach the terminal."""
    return "".join("?" if unicodedata.category(character)[0] == "C" else character for character in text)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file that appears complete or not at all; its folder is created where missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # A file name may hold bytes that are no UTF-8: they are written as they came.
            file.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp's own is 0600
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none takes its place before all are complete.

    Whatever kills this between the renames, each file is whole, and those that are still to follow lie under `part_of`:
    a reader that sees that its files do not match finds the missing ones there. The next call overwrites them.

    Args:
        contents: path -> content, in the order in which they take their places.
    """
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        part_of(path).write_bytes(content)
    for path in contents:
        os.replace(part_of(path), path)


def part_of(path: Path) -> Path:
    """Where `write_together` holds a file ready."""
    return path.with_name(f".{path.name}.part")


def replace_folder(new: Path, target: Path) -> None:
    """Move a complete folder to its place; whatever kills this, the old or the new one stands there, whole.

    Where the file system can exchange two names at once (most of Linux), there is no moment between. Elsewhere the
    old folder is renamed aside first; `restore_folder` puts it back after a kill between the two renames.

    Args:
        new: Path. On the same file system as `target`; it is gone afterwards.
        target: Path. A folder to be replaced, or nothing yet.
    """
    old = new
    if not target.exists():
        os.replace(new, target)
    elif not _exchange(new, target):
        old = _aside(target)
        os.replace(target, old)
        os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(target: Path) -> None:
    """Put right what a killed `replace_folder` left behind: call it before the folder is looked at."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        os.replace(aside, target)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    # Hidden, and no number: a server that watches the version folders beside it must not take it for one.
    return target.with_name(f".{target.name}.replaced")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # no such function, or (Windows) no such library
        return False
    at_working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other), exchange) == 0


def has_errors(predictions: Iterable[Prediction]) -> bool:
    return any(prediction.error for prediction in predictions)
