"""CIFAKE as labelled examples: prepared once in tensorflow-datasets' own folder, read in seconds from then on."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import requests
import tensorflow_datasets as tfds

from deepfake_tf.data.cifake.archive import DOWNLOAD_URL, examples_of, fingerprint, read_images
from deepfake_tf.data.cifake.cifake_dataset_builder import Builder
from deepfake_tf.data.examples import Examples
from deepfake_tf.progress import progress_bar

BATCH_SIZE = 1000  # images a read
KNOWN_ARCHIVES_FILE = "prepared_from.txt"  # beside the prepared data: fingerprints of archives with this content


def load_cifake(archive: str | Path | None = None, data_dir: str | Path | None = None) -> Examples:
    """Labelled examples of CIFAKE, still encoded, sorted by name.

    What an archive without the test split gives is kept apart from the full data set. Without an archive, the
    full data set is preferred where both are prepared.

    Args:
        archive: str, Path or None. A .zip, a .tar with any compression, or an unpacked folder. None takes what
            is prepared, and downloads the public archive where nothing is.
        data_dir: str, Path or None. Where tensorflow-datasets keeps prepared data; None is its default, the
            environment variable TFDS_DATA_DIR or ~/tensorflow_datasets.

    Returns:
        Examples with names such as "train/FAKE/1000 (2).jpg", and JPEG bytes as files.

    Raises:
        FileNotFoundError, ValueError: as `archive.read_images`.
        ConnectionError: neither prepared, nor given, nor to be downloaded.
    """
    builders = [Builder(config=config, data_dir=data_dir) for config in ("full", "train")]
    if archive is None:
        prepared = [builder for builder in builders if _is_prepared(builder)]
        builder = prepared[0] if prepared else _download(builders[0])
    else:
        mark = fingerprint(archive)
        prepared = [builder for builder in builders if mark in _known_archives(builder)]
        builder = prepared[0] if prepared else _prepare_from(archive, mark, data_dir)
    return _read(builder)


def _is_prepared(builder: Builder) -> bool:
    # What download_and_prepare itself goes by; builder.is_prepared() logs a warning where the answer is no.
    return Path(builder.data_dir).is_dir()


def _known_archives(builder: Builder) -> list[str]:
    file = Path(builder.data_dir, KNOWN_ARCHIVES_FILE)
    return file.read_text().splitlines() if file.exists() else []


def _prepare_from(archive: str | Path, mark: str, data_dir: str | Path | None) -> Builder:
    images = read_images(archive)
    config = "full" if any(name.startswith("test/") for name in images) else "train"
    builder = Builder(config=config, data_dir=data_dir, images=images)
    _prepare(builder)
    with Path(builder.data_dir, KNOWN_ARCHIVES_FILE).open("a") as file:
        file.write(mark + "\n")
    return builder


def _download(builder: Builder) -> Builder:
    try:
        requests.head(DOWNLOAD_URL, timeout=10)  # tfds itself would try for minutes before it says so
        _prepare(builder)
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise ConnectionError(
            f"CIFAKE is not prepared in {builder.data_dir}, and cannot be downloaded from {DOWNLOAD_URL}: {error}. "
            f"Be online, or give an archive that you have: --archive FILE|DIR"
        ) from error
    return builder


def _prepare(builder: Builder) -> None:
    tfds.display_progress_bar(sys.stderr.isatty())
    with contextlib.redirect_stdout(io.StringIO()):  # tfds announces downloads there, even where it makes none
        builder.download_and_prepare()


def _read(builder: Builder) -> Examples:
    images: dict[str, bytes] = {}
    with progress_bar(builder.info.splits.total_num_examples, "loading CIFAKE", "image") as bar:
        for split in builder.info.splits:
            batches = builder.as_dataset(
                split=split,
                batch_size=BATCH_SIZE,
                decoders={"image": tfds.decode.SkipDecoding()},
                read_config=tfds.ReadConfig(try_autocache=False),
            )
            for batch in batches.as_numpy_iterator():
                images |= zip((name.decode() for name in batch["file_name"]), batch["image"])
                bar.update(len(batch["label"]))
    return examples_of(dict(sorted(images.items())))  # tfds stores them shuffled
