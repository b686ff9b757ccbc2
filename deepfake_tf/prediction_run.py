"""What lies between many images and their rows: scoring with a bar on the terminal, rows as they come, provenance."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from typing import Any

from deepfake_tf import conclusion, provenance
from deepfake_tf.contract import is_unexpected
from deepfake_tf.engines.detector import Detector, Prediction
from deepfake_tf.output.row_file import RowFile
from deepfake_tf.output.tables import format_predictions, has_errors
from deepfake_tf.progress import progress_bar

ROWS_AT_ONCE = 32
_WITH_FINDINGS = ("json", "jsonl")  # the formats that can hold a list in a row


@dataclasses.dataclass(frozen=True)
class RowFileRun:
    """What `score_into` did.

    Attributes:
        scored: int. Images of this run.
        skipped: int. Images that had a row from an earlier one.
        has_failures: bool. Whether a row has an error, those from before counted.
        unexpected: the errors of this run that nobody foresaw; see `contract.unexpected`.
    """

    scored: int
    skipped: int
    has_failures: bool
    unexpected: tuple[str, ...]


def score(detector: Detector, paths: Sequence[str]) -> list[Prediction]:
    """A prediction for each file, in their order."""
    return list(progress_bar(len(paths), "scoring", "image", detector.predict_iter(paths)))


def score_into(
    rows: RowFile, detector: Detector, paths: Sequence[str], row_format: str, with_provenance: bool = False
) -> RowFileRun:
    """Write rows as they come: memory stays flat, and a run that is cut can be gone on with.

    Args:
        rows: RowFile, not yet opened; complete and closed afterwards. Cut, it keeps its rows, and stderr says where.
        detector: Detector.
        paths: the files. Those that `rows` has from before are passed over.
        row_format: str. That of `rows`: "jsonl" or "csv".
        with_provenance: bool. Add the fields of `provenance_fields`, which `rows` was made with.
    """
    with rows:
        left = [path for path in paths if path not in rows.files]
        has_failures = rows.failed > 0
        errors: list[str] = []
        predictions = detector.predict_iter(left)
        try:
            with progress_bar(len(left), "scoring", "image") as bar:
                while batch := list(itertools.islice(predictions, ROWS_AT_ONCE)):
                    evidence = provenance_rows(batch, row_format) if with_provenance else None
                    rows.write(format_predictions(batch, row_format, evidence))
                    has_failures |= has_errors(batch)
                    errors += filter(is_unexpected, (prediction.error for prediction in batch))
                    bar.update(len(batch))
        except BaseException:
            if rows.has_rows:
                print(f"the rows so far are kept in {rows.part}: go on with --resume", file=sys.stderr)
            raise
        rows.finish()
    return RowFileRun(len(left), len(paths) - len(left), has_failures, tuple(errors))


def provenance_fields(output_format: str) -> list[str]:
    """The names of the fields that `provenance_rows` gives in a format."""
    return [*conclusion.FIELDS, "provenance", *(["findings"] if output_format in _WITH_FINDINGS else [])]


def provenance_rows(predictions: Sequence[Prediction], output_format: str) -> list[dict[str, Any]]:
    """What each file says of itself, a file without a score too, and what follows from that and from its score.

    Args:
        predictions: of files, N.
        output_format: str, as of `format_predictions`.

    Returns:
        N dicts: the fields of `conclusion.FIELDS`; `provenance`, one line; and in JSON `findings`, JSON-able.
    """
    rows = []
    for prediction in predictions:
        report = provenance.inspect(prediction.file)
        verdict = prediction.verdict if prediction.in_domain else "out of domain"
        row: dict[str, Any] = dict(conclusion.conclude(prediction, report).to_row())
        row["provenance"] = provenance.summarise(report, None if prediction.error else verdict)
        if output_format in _WITH_FINDINGS:
            row["findings"] = report.to_dict()["findings"]
        rows.append(row)
    return rows
