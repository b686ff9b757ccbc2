"""A file of rows that grows while images are scored, and can be gone on with after a cut.

Until it is complete it stands beside its place as `NAME.part`; under its own name it appears whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from deepfake_tf.output.tables import write_whole

FORMATS = ("jsonl", "csv")
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # a file name may hold any bytes


class RowFile:
    """Rows in JSON Lines or CSV; used as a context manager, which closes it.

    Attributes:
        files: the `file` of each row that it held when it was opened.
        failed: int. How many of those have an error.
        part: Path. Where the rows stand until `finish`.
    """

    def __init__(self, output: str | Path, row_format: str, resume: bool = False):
        """Open it for more rows.

        Args:
            output: str or Path. The file; its folder is created where missing.
            row_format: str. One of `FORMATS`.
            resume: bool. Keep the rows of an earlier run, cut or complete. A row that was cut off is dropped.

        Raises:
            FileExistsError: without `resume`, there are rows of a run that was cut.
            ValueError: with `resume`, the file holds something else.
        """
        self._output = Path(output)
        self._format = row_format
        self.part = self._output.with_name(f"{self._output.name}.part")
        self.files: set[str] = set()
        self.failed = 0
        self._header = ""
        if not resume and self.part.exists():
            raise FileExistsError(
                f"{self.part} holds the rows of a run that was cut. Go on with it by --resume, or delete it."
            )
        earlier = self.part if self.part.exists() else self._output
        kept = self._read(earlier) if resume and earlier.exists() else ""
        write_whole(self.part, kept)
        self._stream = self.part.open("a", **_ENCODING)  # type: ignore[call-overload]

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, text: str) -> None:
        """Add rows, as `format_predictions` gives them; they are on their way to the disk when it returns.

        Raises:
            ValueError: the columns are not those of the rows before.
        """
        if self._format == "csv":
            header, _, rows = text.partition("\n")
            if self._header and header != self._header:
                raise ValueError(f"{self.part} has other columns: {self._header}. Received: {header}. Delete it first.")
            text, self._header = rows if self._header else text, header
        self._stream.write(text)
        self._stream.flush()

    def finish(self) -> None:
        """Everything is written: give the file its name."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        os.replace(self.part, self._output)

    def _read(self, file: Path) -> str:
        """The whole rows of a file, as text."""
        with file.open("r", **_ENCODING) as stream:  # type: ignore[call-overload]
            text = stream.read()
        try:
            return self._read_csv(text) if self._format == "csv" else self._read_json_lines(text)
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{file} holds no rows of deepfake-tf predict --format {self._format}: {error}. Name another --output."
            ) from error

    def _read_json_lines(self, text: str) -> str:
        whole = text[: text.rfind("\n") + 1]
        for line in whole.splitlines():
            self._remember(json.loads(line))
        return whole

    def _read_csv(self, text: str) -> str:
        if not text:
            return ""
        rows, written = csv.reader(io.StringIO(text, newline=""), strict=True), io.StringIO(newline="")
        writer = csv.writer(written, lineterminator="\n")
        header = next(rows)
        self._header = ",".join(header)
        writer.writerow(header)
        found: list[list[str]] = []
        try:
            found.extend(rows)
        except csv.Error:  # it ends within quotes: the last row was cut off
            pass
        else:
            if found and not text.endswith("\n"):
                found.pop()
        for row in found:
            self._remember(dict(zip(header, row, strict=True)))
            writer.writerow(row)
        return written.getvalue()

    def _remember(self, row: dict[str, Any]) -> None:
        self.files.add(row["file"])
        self.failed += bool(row["error"])
