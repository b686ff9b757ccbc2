"""Predictions as a table, JSON, JSON Lines or CSV: UTF-8, a row ends at `\\n` alone, and `file` names the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepfake_tf.contract import LABEL_INVALID, Prediction
from deepfake_tf.text import as_utf8, format_csv, json_text, printable

FORMATS = ("table", "json", "jsonl", "csv")
_FIELDS = [field.name for field in dataclasses.fields(Prediction)]


def format_predictions(
    predictions: Sequence[Prediction], output_format: str, more: Sequence[Mapping[str, Any]] | None = None
) -> str:
    """One string that ends in a newline.

    Args:
        predictions: a sequence of Prediction.
        output_format: "table" for people; "json" (an array), "jsonl" (a row a line) or "csv" for programs. There, a
            file's name is as `text.as_utf8` writes it.
        more: further fields of each row, the same in all of them; of these the table shows `sentence` alone, under
            "conclusion". Default: none.
    """
    extras = more or [{}] * len(predictions)
    rows = [
        {**prediction.to_dict(), **extra, "file": as_utf8(prediction.file)}
        for prediction, extra in zip(predictions, extras)
    ]
    if output_format == "json":
        return json_text(rows, indent=2) + "\n"
    if output_format == "jsonl":
        return "".join(json_text(row) + "\n" for row in rows)
    if output_format == "csv":
        columns = csv_columns(more[0] if more else ())
        return format_csv([columns, *([row[column] for column in columns] for row in rows)])
    return _format_table(predictions, [row["sentence"] for row in extras] if more and "sentence" in more[0] else None)


def csv_columns(more: Iterable[str] = ()) -> list[str]:
    """The header of the CSV: the fields of a prediction, then the further ones."""
    return [*_FIELDS, *more]


def _format_table(predictions: Sequence[Prediction], conclusions: Sequence[str] | None) -> str:
    rows: list[tuple[str, ...]] = [("file", "size", "label", "confidence", "verdict")]
    for prediction in predictions:
        size = f"{prediction.width} x {prediction.height}" if prediction.width else "-"
        if prediction.error:
            rows.append((printable(prediction.file), size, LABEL_INVALID, "-", f"error: {printable(prediction.error)}"))
            continue
        label, confidence = prediction.label, f"{prediction.confidence:.1%}"
        verdict = prediction.verdict
        if not prediction.in_domain:
            label, confidence, verdict = f"({label})", f"({confidence})", f"{verdict} (out of domain)"
        rows.append((printable(prediction.file), size, label, confidence, verdict))
    if conclusions is not None:
        rows = [(*row, last) for row, last in zip(rows, ("conclusion", *conclusions), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    if reasons := sorted({_general(prediction.reason) for prediction in predictions if prediction.reason}):
        lines += ["", "In parentheses, out of domain: " + "; ".join(reasons) + ". Do not rely on it."]
    return "\n".join(lines) + "\n"


def _general(reason: str) -> str:
    """`640 x 427 pixels: the model ...` -> `the model ...`; the size stands in the row."""
    return reason.partition(" pixels: ")[2] or reason


def has_errors(predictions: Iterable[Prediction]) -> bool:
    return any(prediction.error for prediction in predictions)
