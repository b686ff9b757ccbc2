"""The photographs that come with the package, and what `make demo` makes of them."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.reading.pictures import to_rgb

CIFAKE_PER_CLASS = 4
THUMBNAIL_SIDE = 32  # pixels, the size of CIFAKE's images
PHOTOGRAPHS = {  # name in photographs/ -> the left, top and side of a square worth cropping
    "china.jpg": (330, 120, 220),
    "flower.jpg": (200, 30, 300),
    "grace_hopper.jpg": (130, 40, 260),
}


def read_samples() -> list[bytes]:
    """The photographs as they are, encoded."""
    return [(_folder() / name).read_bytes() for name in PHOTOGRAPHS]


def write_samples(folder: str | Path) -> list[Path]:
    """Write each photograph as it is, as a thumbnail of its middle, and as a crop, both 32 x 32; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    full_size, thumbnails, crops = [], [], []
    for name, (left, top, side) in PHOTOGRAPHS.items():
        source = _folder() / name
        full_size.append(folder / name)
        full_size[-1].write_bytes(source.read_bytes())
        with Image.open(source) as photograph:
            width, height = photograph.size
            middle = min(width, height)
            box = ((width - middle) // 2, (height - middle) // 2)
            stem = Path(name).stem
            thumbnails.append(_write_square(photograph, *box, middle, folder / f"{stem}_thumbnail.png"))
            crops.append(_write_square(photograph, left, top, side, folder / f"{stem}_crop.png"))
    return full_size + thumbnails + crops


def write_cifake_samples(folder: str | Path, archive: str | Path) -> list[Path]:
    """Write eight images of CIFAKE, four a class, named for their class.

    Raises:
        ModuleNotFoundError: tensorflow-datasets is missing.
    """
    from deepfake_tf.data.cifake.loading import load_cifake

    examples = load_cifake(archive)
    paths = []
    for label, name in enumerate(LABEL_NAMES):
        for number, index in enumerate(np.flatnonzero(examples.labels == label)[:CIFAKE_PER_CLASS], start=1):
            paths.append(Path(folder) / f"cifake_{name}_{number}.jpg")
            paths[-1].write_bytes(examples.files[index])
    return paths


def _write_square(photograph: Image.Image, left: int, top: int, side: int, path: Path) -> Path:
    square = to_rgb(photograph).crop((left, top, left + side, top + side))
    # The filter that CIFAR-10's images look like they went through: antialiased.
    square.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC).save(path)
    return path


def _folder() -> Path:
    return Path(str(importlib.resources.files("deepfake_tf"))) / "samples" / "photographs"
