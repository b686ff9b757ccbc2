"""A file of rows that grows while images are scored, and can be gone on with after a cut.

Until it is complete it stands beside its place as `NAME.part`; under its own name it appears whole or not at all. A
pipe or a device, which cannot be replaced, gets the rows as they come.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from deepfake_tf import writing
from deepfake_tf.output.tables import csv_columns
from deepfake_tf.text import csv_row, of_cell, of_utf8

FORMATS = ("jsonl", "csv")


class RowFile:
    """Rows in JSON Lines or CSV.

    Made before anything slow, it says what is in the way and writes nothing; used as a context manager, it opens the
    file for rows and closes it.

    Attributes:
        files: the file of each row that it holds from before.
        failed: int. How many of those have an error.
        part: Path or None. Where the rows stand until `finish`; None of a pipe or device.
    """

    def __init__(self, output: str | Path, row_format: str, resume: bool = False, more: Iterable[str] = ()):
        """Look at what is there.

        Args:
            output: str or Path. The file; its folder is created where missing.
            row_format: str. One of `FORMATS`.
            resume: bool. Keep the rows of an earlier run, cut or complete. A row that was cut off is dropped.
            more: the further fields that the rows will have, as for `output.format_predictions`.

        Raises:
            FileExistsError: without `resume`, there are rows of a run that was cut.
            OSError: no file can be written there.
            ValueError: with `resume`, the file holds something else, rows with other fields, or is no file.
        """
        self._output = output
        self._format = row_format
        self._columns = csv_columns(more)
        self.part: Path | None = None
        self.files: set[str] = set()
        self.failed = 0
        self._kept = b""
        self._header = ""
        self._stream: BinaryIO | None = None
        writing.check_file(output)
        if writing.is_stream(output):
            if resume:
                raise ValueError(f"--resume needs a file that can be read again. Received: {output}")
            return
        self._target = writing.link_target(output)
        self.part = self._target.with_name(f"{self._target.name}.part")
        writing.check_file(self.part)
        if not resume and self.has_rows:
            raise FileExistsError(
                f"{self.part} holds the rows of a run that was cut. Go on with it by --resume, or delete it."
            )
        earlier = self.part if self.has_rows else self._target
        if resume and earlier.exists():
            self._kept = self._read(earlier)

    @property
    def has_rows(self) -> bool:
        """Whether rows stand under `part`."""
        return self.part is not None and self.part.exists() and self.part.stat().st_size > 0

    def __enter__(self) -> RowFile:
        if self.part is None:
            self._stream = writing.open_stream(self._output)
        else:
            writing.write_whole(self.part, self._kept)
            self._stream = self.part.open("ab")
            self._kept = b""
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()
        if self.part is not None and not self.has_rows:  # nothing to go on with
            self.part.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        """Add rows, as `format_predictions` gives them; they are on their way to the disk when it returns.

        Raises:
            ValueError: the columns are not those of the rows before.
        """
        assert self._stream is not None
        if self._format == "csv":
            header, _, rows = text.partition("\n")
            if self._header and header != self._header:
                raise ValueError(f"{self._output} has other columns: {self._header}. Received: {header}")
            text, self._header = rows if self._header else text, header
        self._stream.write(text.encode("utf-8"))
        self._stream.flush()

    def finish(self) -> None:
        """Everything is written: give the file its name."""
        assert self._stream is not None
        self._stream.close()
        if self.part is not None:
            writing.put_in_place(self.part, self._target)

    def _read(self, file: Path) -> bytes:
        """The whole rows of a file."""
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # rows end there and nowhere else; cut, a character may be in two
        try:
            text = whole.decode("utf-8")
            return (self._read_csv(text) if self._format == "csv" else self._read_json_lines(text)).encode("utf-8")
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{file} holds no rows of deepfake-tf predict --format {self._format}: {error}. Name another --output."
            ) from error

    def _read_json_lines(self, text: str) -> str:
        for line in text.split("\n")[:-1]:
            row = json.loads(line)
            self._check_fields(row)
            self._remember(row["file"], row["error"])
        return text

    def _read_csv(self, text: str) -> str:
        if not text:
            return ""
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(rows)
        self._check_fields(header)
        self._header = csv_row(header).removesuffix("\n")
        found: list[list[str]] = []
        with contextlib.suppress(csv.Error):  # it ends within quotes: the last row was cut off
            found.extend(rows)
        for row in found:
            cells = dict(zip(header, row, strict=True))
            self._remember(of_cell(cells["file"]), cells["error"])
        return "".join(map(csv_row, [header, *found]))

    def _check_fields(self, fields: Iterable[str]) -> None:
        if list(fields) != self._columns:
            raise ValueError(f"its rows have {', '.join(map(str, fields))}, not {', '.join(self._columns)}")

    def _remember(self, file: str, error: str) -> None:
        self.files.add(of_utf8(file))
        self.failed += bool(error)
