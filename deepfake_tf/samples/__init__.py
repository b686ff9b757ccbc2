"""The photographs that come with the package, and what `make demo` makes of them."""

from __future__ import annotations

import importlib.resources
import io
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


def encoded_squares() -> list[bytes]:
    """What `write_samples` makes of each photograph, 32 x 32, as JPEG."""
    encoded = []
    for name in PHOTOGRAPHS:
        for square in _squares(name).values():
            buffer = io.BytesIO()
            square.save(buffer, "JPEG", quality=95)
            encoded.append(buffer.getvalue())
    return encoded


def write_samples(folder: str | Path) -> list[Path]:
    """Write each photograph as it is, as a thumbnail of its middle, and as a crop, both 32 x 32; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, list[Path]] = {"": [], "thumbnail": [], "crop": []}
    for name in PHOTOGRAPHS:
        paths[""].append(folder / name)
        paths[""][-1].write_bytes((_folder() / name).read_bytes())
        for kind, square in _squares(name).items():
            paths[kind].append(folder / f"{Path(name).stem}_{kind}.png")
            square.save(paths[kind][-1])
    return [path for kind in paths.values() for path in kind]


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


def _squares(name: str) -> dict[str, Image.Image]:
    """The middle of a photograph and a crop of it, both 32 x 32."""
    left, top, side = PHOTOGRAPHS[name]
    with Image.open(_folder() / name) as photograph:
        width, height = photograph.size
        middle = min(width, height)
        boxes = {"thumbnail": ((width - middle) // 2, (height - middle) // 2, middle), "crop": (left, top, side)}
        # The filter that CIFAR-10's images look like they went through: antialiased.
        return {
            kind: to_rgb(photograph)
            .crop((left, top, left + side, top + side))
            .resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
            for kind, (left, top, side) in boxes.items()
        }


def _folder() -> Path:
    return Path(str(importlib.resources.files("deepfake_tf"))) / "samples" / "photographs"
