"""Labelled images, wherever they come from, and their split into training and validation."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.text import plural

if TYPE_CHECKING:
    from deepfake_tf.data.pipeline import DecodedImages


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled, still encoded images, in a fixed order.

    Attributes:
        names: one unique name an image, such as its path.
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        files: one item an image: the path of a file (str), or the encoded image itself (bytes).
        splits: one item an image: "train" or "test" where the source says so, else "".
        notes: what the user should know about the source, a sentence each.
    """

    names: Sequence[str]
    labels: np.ndarray
    files: Sequence[str | bytes]
    splits: Sequence[str]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: np.ndarray) -> Examples:
        """The examples at these positions, in this order."""
        return dataclasses.replace(
            self,
            names=[self.names[i] for i in indices],
            labels=self.labels[indices],
            files=[self.files[i] for i in indices],
            splits=[self.splits[i] for i in indices],
        )

    def counts(self) -> dict[str, int]:
        """Images a class: {"REAL": ..., "FAKE": ...}."""
        return {name: int(np.sum(self.labels == label)) for label, name in enumerate(LABEL_NAMES)}


def concatenate(parts: Sequence[Examples]) -> Examples:
    """One after the other. The name of the part's position is put before names that would clash."""
    if len(parts) == 1:
        return parts[0]
    names = [name for part in parts for name in part.names]
    if len(set(names)) < len(names):
        names = [f"{index}:{name}" for index, part in enumerate(parts) for name in part.names]
    return Examples(
        names=names,
        labels=np.concatenate([part.labels for part in parts]),
        files=[file for part in parts for file in part.files],
        splits=[split for part in parts for split in part.splits],
        notes=tuple(note for part in parts for note in part.notes),
    )


def split_validation(
    labels: np.ndarray, digests: Sequence[bytes], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split into training and validation with equal images on one side.

    Each class is split by itself. Which side an image falls on follows from the contents and the seed, not from names
    or order; where images are added or removed, some near the cut change sides.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
        digests: N digests of the decoded pixels; equal images have equal digests.
        fraction: float, 0..1. The share of each class to hold out.
        seed: int.

    Returns:
        Two sorted int64 arrays of positions: training and validation.
    """
    keys = np.array([hashlib.sha256(b"%d:" % seed + digest).digest()[:8].hex() for digest in digests])
    validation = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ordered = np.sort(keys[members])
        # Equal images share a key, so the whole group falls on one side of the cut.
        cut = ordered[min(round(fraction * len(members)), len(members) - 1)]
        validation[members] = keys[members] < cut
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def select_split(images: DecodedImages, split: str, fraction: float, split_seed: int) -> DecodedImages:
    """The images of one split.

    Args:
        images: DecodedImages. The data that a run was or would be trained on.
        split: str. "validation": what training with this fraction and split seed holds out; "training": what it
            learns from; "test": what the source marks so.
        fraction: float, 0..1. `TrainingConfig.validation_fraction`.
        split_seed: int. `TrainingConfig.split_seed`.

    Raises:
        ValueError: `split` is unknown, or has no images.
    """
    is_test = np.array([name == "test" for name in images.examples.splits], bool)
    if split == "test":
        selected = np.flatnonzero(is_test)
    elif split in ("training", "validation"):
        rest = np.flatnonzero(~is_test)
        digests = [images.digests[position] for position in rest]
        training, validation = split_validation(images.examples.labels[rest], digests, fraction, split_seed)
        selected = rest[training if split == "training" else validation]
    else:
        raise ValueError(f"split must be training, validation or test. Received: split={split!r}")
    if not len(selected):
        raise ValueError(
            f"The data hold no {split} images: {plural(len(images), 'image')}, marked test: {is_test.sum():,}."
        )
    return images.take(selected)
