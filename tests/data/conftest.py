"""A CIFAKE of a few images, for the tests of its reader, builder and loader."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.data.cifake import archive

TINY_COUNTS = {"train": 3, "test": 2}  # images a class


@pytest.fixture(scope="session")
def tiny_cifake_folder(tmp_path_factory):
    """The folder that holds DATASET/, with the layout and the file names of the published data set."""
    root = tmp_path_factory.mktemp("tiny_cifake")
    rng = np.random.default_rng(1)
    for split, count in TINY_COUNTS.items():
        for label in ("REAL", "FAKE"):
            folder = root / "DATASET" / split / label
            folder.mkdir(parents=True)
            for name in ["0000.jpg", "0000 (10).jpg", "0000 (2).jpg"][:count]:
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name, quality=90)
    (root / "README.md").write_text("not an image")
    return root


@pytest.fixture(scope="session")
def tiny_digest(tiny_cifake_folder):
    digest = hashlib.sha256()
    for file in sorted(tiny_cifake_folder.glob("DATASET/train/*/*.jpg"), key=str):
        digest.update(str(file.relative_to(tiny_cifake_folder)).encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


@pytest.fixture
def tiny_cifake(tiny_cifake_folder, tiny_digest, monkeypatch):
    """The same, where the reader expects that few images."""
    monkeypatch.setattr(archive, "IMAGES_PER_CLASS", TINY_COUNTS)
    monkeypatch.setattr(archive, "TRAIN_DIGEST", tiny_digest)
    return tiny_cifake_folder
