"""Reports as a table for the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from deepfake_tf.provenance.findings import Report


def format_table(reports: Sequence[Report], width: int | None = None) -> str:
    """The reports for a terminal: a file's name and size, its findings, and the summary.

    Args:
        reports: of `inspect`.
        width: columns. Default: the terminal's, at most 120.

    Returns:
        Lines without a trailing newline. Whatever the files contain, no control character is among it.
    """
    width = width or min(shutil.get_terminal_size().columns, 120)
    return "\n\n".join(_format_report(report, width) for report in reports)


def _format_report(report: Report, width: int) -> str:
    size = f"  {report.format} {report.width} x {report.height}" if report.format else ""
    lines = [f"{report.file}{size}"]
    rows = [(finding.strength, finding.says, finding.source, finding.statement) for finding in report.findings]
    if rows:
        columns = [max(len(row[column]) for row in rows) for column in range(3)]
        columns[2] = min(columns[2], 30)
        indent = 2 + sum(columns) + 2 * len(columns)
        for row in rows:
            cells = "  ".join(cell.ljust(column) for cell, column in zip(row, columns))
            statement = textwrap.wrap(row[3], max(width - indent, 30)) or [""]
            lines.append(f"  {cells}  {statement[0]}")
            lines += [" " * indent + line for line in statement[1:]]
    lines += textwrap.wrap(report.summary, width, initial_indent="  = ", subsequent_indent="    ")
    if report.error:
        lines += textwrap.wrap(report.error, width, initial_indent="  ! ", subsequent_indent="    ")
    return "\n".join(lines)
