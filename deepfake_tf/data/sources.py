"""What `--data` accepts: one or more sources of labelled images.

To add one, write a function that returns `Examples` in a module beside this one, and call it in `_load_one`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from deepfake_tf.contract import FAKE, REAL
from deepfake_tf.data.cifake.archive import load_archive
from deepfake_tf.data.examples import Examples, concatenate
from deepfake_tf.data.folders import load_folders
from deepfake_tf.data.labels_csv import load_csv
from deepfake_tf.data.predictathon import is_predictathon, load_predictathon

CIFAKE = "cifake"


def load_examples(sources: Sequence[str], archive: str | None = None, swap_labels: bool = False) -> Examples:
    """Labelled examples of all sources, one after the other.

    Args:
        sources: strings, each the name `cifake`; or a folder with one folder a class, or in the hackathon's layout;
            or a CSV file with the header path,label. See the modules that read them.
        archive: str or None. For `cifake`: the archive or unpacked folder to prepare it from.
        swap_labels: bool. Turn REAL into FAKE and FAKE into REAL in every source, and say so in the notes.

    Returns:
        Examples with both classes.

    Raises:
        FileNotFoundError: a source, or something that it names, does not exist.
        ValueError: no source, one of an unknown kind, `archive` without `cifake`, no images of a class, or what the
            sources' own modules find wrong. Each message says what was received and what to do.
        ConnectionError: CIFAKE is neither prepared nor can be downloaded.
    """
    if not sources:
        raise ValueError(f"No data given. Expected: {CIFAKE}, a folder, or a CSV file.")
    if archive and CIFAKE not in sources:
        raise ValueError(f"--archive is for --data {CIFAKE} alone. Received: --archive {archive}, --data {sources}")
    examples = concatenate([_load_one(source, archive) for source in sources])
    if empty := [name for name, count in examples.counts().items() if not count]:
        raise ValueError(
            f"No images of class {' or '.join(empty)} in {', '.join(sources)}. Received: {examples.counts()}. Add a "
            f"source that has them."
        )
    if swap_labels:
        note = "All labels were swapped (--swap-labels): what the data calls REAL counts as FAKE, and the reverse."
        examples = dataclasses.replace(examples, labels=FAKE + REAL - examples.labels, notes=(*examples.notes, note))
    return examples


def _load_one(source: str, archive: str | None) -> Examples:
    path = Path(source)
    if source == CIFAKE:
        # Not at the top: Keras and tensorflow-datasets take seconds to load, which the other sources need not wait for.
        import keras

        if keras.backend.backend() != "tensorflow":
            return load_archive(archive)
        from deepfake_tf.data.cifake.loading import load_cifake

        return load_cifake(archive)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}. Expected: {CIFAKE}, a folder, or a CSV file.")
    if path.is_dir():
        return load_predictathon(path) if is_predictathon(path) else load_folders(path)
    if path.suffix.lower() == ".csv":
        return load_csv(path)
    raise ValueError(
        f"{path} is neither a folder nor a .csv file. Unpack an archive first, or, if it is CIFAKE: --data {CIFAKE} "
        f"--archive {path}"
    )
