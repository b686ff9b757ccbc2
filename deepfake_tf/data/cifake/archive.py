"""The published CIFAKE archive, in whatever packaging: read whole, and checked before anything is made of it."""

from __future__ import annotations

import collections
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.examples import Examples
from deepfake_tf.progress import progress_bar

COMMIT = "e112a942abaecd02b6b1f6f646c807d56be8fb62"
REPOSITORY = "https://github.com/jordan-bird/CIFAKE-Real-and-AI-Generated-Synthetic-Images"
DOWNLOAD_URL = f"{REPOSITORY}/archive/{COMMIT}.zip"

NO_TEST_SPLIT_NOTE = "CIFAKE is at hand without its test split."
IMAGES_PER_CLASS = {"train": 50_000, "test": 10_000}
# SHA-256 over the train images in the order of their paths: "DATASET/" + name, NUL, SHA-256 of the file.
TRAIN_DIGEST = "8b4020b99e405aca103b53c5c73fd08d6562c02d06f78e128ff04870a727462a"


def read_images(path: str | Path) -> dict[str, bytes]:
    """Read CIFAKE into memory (about 100 MB) and check that it is complete and unchanged.

    Args:
        path: str or Path. A .zip, a .tar with any compression, or an unpacked folder; the images lie in
            `train/{REAL,FAKE}/` and, where the test split is there, `test/{REAL,FAKE}/`, below whatever
            folders the packaging adds.

    Returns:
        Encoded JPEG images by name, such as "train/FAKE/1000 (2).jpg", sorted by name.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: it is no archive, a damaged one, or one that holds something else.
    """
    path = _existing(path)
    images = {}
    at_least = IMAGES_PER_CLASS["train"] * len(LABEL_NAMES)
    try:
        with progress_bar(at_least, f"reading {path.name}", "image") as bar:
            for file_path, content in _files(path):
                if name := _image_name(file_path):
                    images[name] = content
                    bar.update()
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}). Get it again: {DOWNLOAD_URL}") from error
    _check(images, path)
    return dict(sorted(images.items()))


def load_archive(path: str | Path | None) -> Examples:
    """What `loading.load_cifake` gives, straight from the archive: tensorflow-datasets would need TensorFlow.

    Raises:
        FileNotFoundError, ValueError: no path is given, or as `read_images`.
    """
    if path is None:
        raise ValueError(
            f"Without TensorFlow, CIFAKE is read from an archive: --archive FILE|DIR. Get it: {DOWNLOAD_URL}"
        )
    return examples_of(read_images(path))


def examples_of(images: Mapping[str, bytes]) -> Examples:
    """Encoded images by name, in their order."""
    names = list(images)
    return Examples(
        names=names,
        labels=np.array([LABEL_NAMES.index(name.split("/")[1]) for name in names], np.int64),
        files=list(images.values()),
        splits=[name.partition("/")[0] for name in names],
        notes=() if any(name.startswith("test/") for name in names) else (NO_TEST_SPLIT_NOTE,),
    )


def fingerprint(path: str | Path) -> str:
    """A string that tells archives apart in well under a second.

    Of a file it covers the content; of a folder the files' paths and sizes, not their content.

    Raises:
        FileNotFoundError: the path does not exist.
    """
    path = _existing(path)
    if path.is_dir():
        listing = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*.jpg"))
        return f"folder {hashlib.sha256(repr(listing).encode()).hexdigest()}"
    with path.open("rb") as file:
        return f"file {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _existing(path: str | Path) -> Path:
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no CIFAKE archive at {path}. Check --archive, or get it: {DOWNLOAD_URL}")
    return Path(path)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file in a folder, tar or zip."""
    if path.is_dir():
        for file in path.rglob("*.jpg"):
            yield str(PurePosixPath(path.absolute().name, *file.relative_to(path).parts)), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zip_file:
            for entry in zip_file.infolist():
                yield entry.filename, zip_file.read(entry)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as tar_file:
            for member in tar_file:
                if content := tar_file.extractfile(member):  # None of a folder
                    yield member.name, content.read()
    else:
        raise ValueError(f"{path} is neither a folder nor a .zip or .tar archive. Get CIFAKE from {DOWNLOAD_URL}")


def _image_name(path: str) -> str | None:
    """Split, class and file name out of a path in the archive; None where it is no image of CIFAKE."""
    split, label, file = ("", "", "", *PurePosixPath(path).parts)[-3:]
    is_image = split in IMAGES_PER_CLASS and label in LABEL_NAMES and file.endswith(".jpg")
    return f"{split}/{label}/{file}" if is_image else None


def _check(images: Mapping[str, bytes], path: Path) -> None:
    counts = dict(collections.Counter(name.rpartition("/")[0] for name in images))
    expected = {
        f"{split}/{label}": count
        for split, count in IMAGES_PER_CLASS.items()
        for label in LABEL_NAMES
        if split == "train" or any(name.startswith("test/") for name in images)
    }
    if counts != expected:
        raise ValueError(
            f"{path} is not the whole of CIFAKE. Images found: {counts or 'none'}. Expected: {expected}, the test "
            f"split being optional. Get it again: {DOWNLOAD_URL}"
        )
    digest = hashlib.sha256()
    for name in sorted(name for name in images if name.startswith("train/")):
        digest.update(f"DATASET/{name}\0".encode() + hashlib.sha256(images[name]).digest())
    if digest.hexdigest() != TRAIN_DIGEST:
        raise ValueError(
            f"The train images in {path} are not those that CIFAKE was published with. Received: content digest "
            f"{digest.hexdigest()}. Expected: {TRAIN_DIGEST}. Get it again from {DOWNLOAD_URL}, or use changed "
            f"images as a folder: --data {path}"
        )
