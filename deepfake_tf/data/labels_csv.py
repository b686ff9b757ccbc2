"""Images listed in a CSV file with the header `path,label` or `path,label,split`."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepfake_tf.contract import FAKE, REAL
from deepfake_tf.data.examples import Examples
from deepfake_tf.text import plural

LABELS = {"real": REAL, "0": REAL, "fake": FAKE, "1": FAKE}
SPLITS = ("", "train", "test")
HEADERS = (["path", "label"], ["path", "label", "split"])


@contextlib.contextmanager
def _as_value_error(file: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise ValueError(f"{file} is no CSV file that can be read: {error}") from error


def load_csv(file: str | Path) -> Examples:
    """Labelled examples listed in a CSV file (UTF-8, comma-separated).

    Args:
        file: str or Path. Columns: path, relative to the file's own folder or absolute; label, REAL or FAKE in any
            case, or 0 (real) or 1 (fake); optionally split: train, test or empty.

    Returns:
        Examples named by the path as the file gives it, in the file's order.

    Raises:
        ValueError: a bad header, row, label or split, or a path that stands there twice. The message names the
            line.
        FileNotFoundError: images are missing. The message names the first few, with their lines.
    """
    file = Path(file)
    names: dict[str, int] = {}  # the line each came from
    labels, paths, splits = [], [], []
    missing = []
    # Names may be bytes that are no UTF-8; a row longer than the module's limit is no row of ours.
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream, _as_value_error(file):
        reader = csv.reader(stream)
        header = [column.strip().lower() for column in next(reader, [])]
        if header not in HEADERS:
            raise ValueError(
                f"{file}, line 1: expected the header path,label or path,label,split. Received: {','.join(header)!r}"
            )
        for row in reader:
            if not row:
                continue
            place = f"{file}, line {reader.line_num}"
            if len(row) != len(header):
                raise ValueError(f"{place}: expected {len(header)} columns. Received: {','.join(row)!r}")
            name, label, split = (*(value.strip() for value in row), "")[:3]
            if label.lower() not in LABELS:
                raise ValueError(f"{place}: label must be REAL, FAKE, 0 or 1. Received: {label!r}")
            if split.lower() not in SPLITS:
                raise ValueError(f"{place}: split must be train, test or empty. Received: {split!r}")
            if name in names:
                raise ValueError(f"{place}: {name!r} stands on line {names[name]} already. Remove one of them.")
            path = file.parent / name
            if not path.is_file():
                missing.append(f"{name!r} (line {reader.line_num})")
            names[name] = reader.line_num
            labels.append(LABELS[label.lower()])
            paths.append(str(path))
            splits.append(split.lower())
    if missing:
        raise FileNotFoundError(
            f"{file} names {len(missing):,} of {plural(len(names), 'image')} that do not exist: "
            f"{', '.join(missing[:5])}"
            f"{', ...' if len(missing) > 5 else ''}. Paths are relative to {file.parent.absolute()}"
        )
    return Examples(list(names), np.array(labels, np.int64), paths, splits)
