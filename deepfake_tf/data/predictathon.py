"""The hackathon's layout (Predictathon 2025), the one that this project's predecessor was trained on.

    ROOT/train/real_cifake_images/N.png      ROOT/train/fake_cifake_images/N.png
    ROOT/train/real_cifake_preds.json        ROOT/train/fake_cifake_preds.json     (or both in ROOT)
    ROOT/test/test_images/N.png              without labels

A label file is a list of {"index": N, "prediction": "real" | "fake"}, one for each image of its folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.folders import is_image
from deepfake_tf.text import plural

CLASSES = ("real", "fake")
INVERTED_LABELS_NOTE = (
    "Data in this layout has circulated with inverted labels: generated images in real_cifake_images and photographs "
    "in fake_cifake_images. Whoever trains on those gets a detector that calls generated images real. Check with "
    "`deepfake-tf audit`, and add --swap-labels if it says so."
)


def is_predictathon(root: str | Path) -> bool:
    """Whether a folder has the hackathon's layout: its `train` folder, or the folder itself."""
    return any(_train_folder(Path(root)).joinpath(f"{name}_cifake_images").is_dir() for name in CLASSES)


def load_predictathon(root: str | Path) -> Examples:
    """Labelled examples of the hackathon's training images; the labels are those of its JSON files.

    Args:
        root: str or Path. The folder that holds `train`, or `train` itself.

    Returns:
        Examples named "train/real_cifake_images/1.png" and so on, all in the split "train". The notes say how
        many labels disagree with the folder, and that both may be inverted.

    Raises:
        FileNotFoundError: a class folder or label file is missing.
        ValueError: a label file is malformed, names images that are missing, or leaves images without a label.
    """
    train = _train_folder(Path(root))
    names, labels, files, disagreements = [], [], [], []
    for class_label, class_name in enumerate(CLASSES):
        folder = train / f"{class_name}_cifake_images"
        if not folder.is_dir():
            raise FileNotFoundError(f"{train} lacks the folder {folder.name}. Both classes are needed.")
        label_file = _label_file(train, class_name)
        json_labels = _read_labels(label_file)
        images = {file.stem: file for file in folder.iterdir() if is_image(file)}
        _check_match(label_file, json_labels, folder, images)
        for index, label in sorted(json_labels.items()):
            names.append(f"train/{folder.name}/{images[str(index)].name}")
            labels.append(label)
            files.append(str(images[str(index)]))
        disagreeing = sum(label != class_label for label in json_labels.values())
        disagreements.append(f"{disagreeing} of {len(images)} in {folder.name}")
    notes = [
        f"{root}: the labels are those of the JSON files. They disagree with the folder's name for "
        f"{' and '.join(disagreements)}.",
        INVERTED_LABELS_NOTE,
    ]
    return Examples(names, np.array(labels, np.int64), files, ["train"] * len(names), tuple(notes))


def _train_folder(root: Path) -> Path:
    return root / "train" if (root / "train").is_dir() else root


def _label_file(train: Path, class_name: str) -> Path:
    places = [folder / f"{class_name}_cifake_preds.json" for folder in (train, train.absolute().parent)]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"The labels of {train / class_name}_cifake_images are missing. Looked for: {places[0]}, {places[1]}. To go by "
        f"the folders alone, rename them REAL and FAKE."
    )


def _read_labels(file: Path) -> dict[int, int]:
    """Label by index."""
    try:
        rows = json.loads(file.read_text())
    except ValueError as error:  # of JSON or of UTF-8
        raise ValueError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{file} must be a list of objects. Received: {type(rows).__name__}")
    labels: dict[int, int] = {}
    for position, row in enumerate(rows, start=1):
        index, prediction = (row.get("index"), row.get("prediction")) if isinstance(row, dict) else (None, None)
        if type(index) is not int or prediction not in CLASSES:
            raise ValueError(
                f'{file}, entry {position}: expected {{"index": N, "prediction": "real" or "fake"}}. Received: {row!r}'
            )
        if index in labels:
            raise ValueError(f"{file}, entry {position}: index {index} stands there twice.")
        labels[index] = LABEL_NAMES.index(prediction.upper())
    return labels


def _check_match(label_file: Path, labels: dict[int, int], folder: Path, images: dict[str, Path]) -> None:
    named = {str(index) for index in labels}
    found = f"Found: {plural(len(images), 'image')}, {plural(len(labels), 'label')}"
    if missing := sorted(named - set(images)):
        raise ValueError(
            f"{label_file} names {plural(len(missing), 'image')} that {folder} lacks: {_some(missing)}. "
            f"{found}. Complete the folder, or take these entries out of the file."
        )
    if unlabelled := sorted(images[stem].name for stem in set(images) - named):
        raise ValueError(
            f"{folder} holds {plural(len(unlabelled), 'image')} without a label in {label_file}: {_some(unlabelled)}. "
            f"{found}. Add the labels, or move these images away."
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
