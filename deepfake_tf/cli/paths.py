"""The image files that the arguments of a command name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfake_tf.reading.files import is_image_file, walk
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS, TRANSCODED_EXTENSIONS
from deepfake_tf.writing import check_file, is_stream


def expand_paths(patterns: Sequence[str]) -> list[str]:
    """Files, folders searched for image files (see `is_image_file`), globs matched; each once, in a steady order.

    Raises:
        ValueError: a folder holds no images, or a glob matches nothing.
    """
    paths: list[str] = []
    for pattern in patterns:
        if os.path.isdir(pattern):  # unlike Path's methods, these functions do not raise where a folder is locked
            found = sorted(_images_in(pattern))
            if not found:
                names = ", ".join(IMAGE_EXTENSIONS + TRANSCODED_EXTENSIONS)
                raise ValueError(f"no image files ({names}) in folder {pattern}")
        elif os.path.exists(pattern) or not glob.has_magic(pattern):
            found = [pattern]  # a missing file becomes a row with an error
        else:
            found = sorted(file for file in glob.glob(pattern, recursive=True) if not os.path.isdir(file))
            if not found:
                raise ValueError(f"nothing matches {pattern}")
        paths += (str(Path(file)) for file in found)  # as rows name them: `./a.jpg` is `a.jpg`
    return list(dict.fromkeys(paths))


def _images_in(folder: str) -> Iterator[str]:
    """Its image files, and those folders in it that cannot be read: each becomes a row with an error."""
    locked: list[str] = []
    yield from (file for file in walk(folder, lambda error: locked.append(error.filename)) if is_image_file(Path(file)))
    yield from locked


def check_output(output: str, paths: Sequence[str], is_text: bool = True) -> None:
    """Whether a command that reads these images may write there; before work that would be lost.

    Args:
        output: the file.
        paths: of `expand_paths`.
        is_text: whether text will be written, for which no picture is replaced: the shell makes the first of
            `--output *.jpg` the output.

    Raises:
        OSError: as `check_file`.
        ValueError: it is one of the images, or a picture.
    """
    check_file(output)
    if is_stream(output) or not os.path.exists(output):
        return
    if any(os.path.exists(path) and os.path.samefile(path, output) for path in paths):
        raise ValueError(f"--output {output} is one of the images, and would be replaced. Name another file.")
    if is_text and is_image_file(Path(output)):
        raise ValueError(f"--output {output} is a picture, and would be replaced. Name another file.")
