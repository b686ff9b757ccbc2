"""The image files that the arguments of a command name."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from deepfake_tf.reading.files import is_image_file
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS, TRANSCODED_EXTENSIONS


def expand_paths(patterns: Sequence[str]) -> list[str]:
    """Files as given, folders searched for image files (see `is_image_file`), globs matched; in a steady order.

    Raises:
        ValueError: a folder holds no images, or a glob matches nothing.
    """
    paths: list[str] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if is_image_file(file))
            if not found:
                names = ", ".join(IMAGE_EXTENSIONS + TRANSCODED_EXTENSIONS)
                raise ValueError(f"no image files ({names}) in folder {pattern}")
        elif path.exists() or not glob.has_magic(pattern):
            found = [pattern]  # a missing file becomes a row with an error
        else:
            found = sorted(file for file in glob.glob(pattern, recursive=True) if not Path(file).is_dir())
            if not found:
                raise ValueError(f"nothing matches {pattern}")
        paths += found
    return list(dict.fromkeys(paths))
