"""Images in a folder tree with one folder a class.

ROOT/REAL/...        ROOT/train/real_photos/...
ROOT/FAKE/...        ROOT/train/fake_sdxl/...
                     ROOT/test/...
"""

from __future__ import annotations

import collections
import re
from pathlib import Path

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.examples import Examples
from deepfake_tf.reading.files import walk
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS
from deepfake_tf.text import plural

SPLIT_FOLDERS = ("train", "test")
_CLASS_FOLDER = re.compile("(real|fake)([_-].*)?", re.IGNORECASE)
_IGNORED = re.compile(r"\.|__MACOSX$")  # what operating systems leave behind


def load_folders(root: str | Path) -> Examples:
    """Labelled examples from a tree with one folder a class.

    A class folder is called real or fake, in any case, or begins with `real_` or `fake_`. It may lie in a
    folder `train` or `test`, and its images at any depth below it.

    Args:
        root: str or Path. The folder that holds the class folders, or `train` and `test`.

    Returns:
        Examples named by their path from `root` on, in the order of these names.

    Raises:
        ValueError: no class folder, a folder of another name beside them, or a class without an image. The
            message lists what was found.
    """
    root = Path(root)
    folders = _subfolders(root)
    splits = {folder.name.lower(): folder for folder in folders if folder.name.lower() in SPLIT_FOLDERS}
    if splits:
        _refuse_others(root, folders, list(splits.values()), "train nor test")
        class_folders = [(split, folder) for split in splits for folder in _class_folders(splits[split])]
    else:
        class_folders = [("", folder) for folder in _class_folders(root)]

    found, left_out = [], collections.Counter[str]()
    for split, folder in class_folders:
        files = [file for file in map(Path, walk(folder)) if file.is_file() and not _is_ignored(file, folder)]
        images = [file for file in files if is_image(file)]
        left_out.update(file.suffix or file.name for file in files if not is_image(file))
        if not images:
            raise ValueError(
                f"{folder} holds no image. Received: {plural(len(files), 'file')}; images end in "
                f"{', '.join(IMAGE_EXTENSIONS)}. Fill the folder or remove it."
            )
        label = label_of_folder(folder.name)
        found += [(file.relative_to(root).as_posix(), label, str(file), split) for file in images]
    names, labels, paths, splits_of_images = zip(*sorted(found))
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in left_out.most_common(5))
    return Examples(
        names=names,
        labels=np.array(labels, np.int64),
        files=paths,
        splits=splits_of_images,
        notes=(f"{root}: left out files that are no images: {kinds}.",) if left_out else (),
    )


def label_of_folder(name: str) -> int | None:
    """1 for a folder of FAKE images, 0 for one of REAL images, None where the name says neither."""
    match = _CLASS_FOLDER.fullmatch(name)
    return LABEL_NAMES.index(match[1].upper()) if match else None


def is_image(file: Path) -> bool:
    """Whether the file's extension, in any case, is one of IMAGE_EXTENSIONS."""
    return file.suffix.lower() in IMAGE_EXTENSIONS


def _class_folders(parent: Path) -> list[Path]:
    folders = _subfolders(parent)
    classes = [folder for folder in folders if label_of_folder(folder.name) is not None]
    if not classes:
        raise ValueError(
            f"{parent} has no class folders. Expected: REAL and FAKE (or names that begin with real_ and fake_), or "
            f"train and test above them. Received: {_listing(parent)}"
        )
    _refuse_others(parent, folders, classes, "REAL nor FAKE")
    return classes


def _refuse_others(parent: Path, folders: list[Path], known: list[Path], expected: str) -> None:
    if others := [folder.name for folder in folders if folder not in known]:
        raise ValueError(
            f"{parent} has folders that are neither {expected}: {', '.join(others)}. Received: {_listing(parent)}. "
            f"Rename or move them, or give the images as a CSV file with the header path,label."
        )


def _subfolders(parent: Path) -> list[Path]:
    return sorted(entry for entry in parent.iterdir() if entry.is_dir() and not _IGNORED.match(entry.name))


def _is_ignored(file: Path, folder: Path) -> bool:
    return any(_IGNORED.match(part) for part in file.relative_to(folder).parts)


def _listing(parent: Path) -> str:
    names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in parent.iterdir())
    return ", ".join(names[:10]) + (f", ... ({len(names)} in all)" if len(names) > 10 else "") or "nothing"
