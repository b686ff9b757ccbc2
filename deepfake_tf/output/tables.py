"""Predictions as a table, JSON, JSON Lines or CSV, and files that appear whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.config import LABEL_INVALID
from deepfake_tf.engines.detector import Prediction

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


def has_errors(predictions: Iterable[Prediction]) -> bool:
    return any(prediction.error for prediction in predictions)
