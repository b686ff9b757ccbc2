"""Measures the watermark's decoder: how many marked photographs it reads after which change, and its false alarms.

    python -m tests.provenance.measure_watermark PHOTOGRAPHS --unmarked FOLDER --output docs/watermark.json

PHOTOGRAPHS is a folder of photographs that no program has marked. Of each, a square is cut where chance puts it,
scaled to 512, 512, 768 or 1024 pixels in turn, and marked by the tests' encoder.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from deepfake_tf.provenance import watermark
from tests.provenance.marking import mark

SIDES = (512, 512, 768, 1024)
PROGRAMS = ("Stable Diffusion 1", "Stable Diffusion 2", "Stable Diffusion XL", "FLUX")


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "none (PNG)": lambda image: encoded(image, "PNG", compress_level=1),
    **{
        f"JPEG quality {quality}, {name}": (
            lambda image, quality=quality, sampling=sampling: encoded(
                image, "JPEG", quality=quality, subsampling=sampling
            )
        )
        for quality in (95, 90, 80)
        for name, sampling in (("chroma whole", 0), ("chroma halved", 2))
    },
    "WebP quality 90": lambda image: encoded(image, "WEBP", quality=90),
    "WebP quality 80": lambda image: encoded(image, "WEBP", quality=80),
    "scaled to 99 % (PNG)": lambda image: encoded(
        image.resize((round(0.99 * image.width), round(0.99 * image.height))), "PNG", compress_level=1
    ),
    "8 pixels cut off on the left (PNG)": lambda image: encoded(
        image.crop((8, 0, *image.size)), "PNG", compress_level=1
    ),
}


def images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))


def is_searched(file: Path) -> bool:
    with Image.open(file) as image:
        return watermark.MIN_PIXELS <= image.width * image.height <= watermark.MAX_PIXELS


def squares(files: list[Path]) -> Iterator[Image.Image]:
    chance = random.Random(1)
    for file, side in zip(files, itertools.cycle(SIDES)):
        with Image.open(file) as photograph:
            photograph = photograph.convert("RGB")
        cut = chance.randint(min(side, *photograph.size), min(photograph.size))
        left, top = chance.randint(0, photograph.width - cut), chance.randint(0, photograph.height - cut)
        square = photograph.crop((left, top, left + cut, top + cut))
        yield square.resize((side, side), Image.Resampling.LANCZOS)


def read(content: bytes) -> watermark.Watermark | None:
    with Image.open(io.BytesIO(content)) as image:
        return watermark.find_watermark(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--unmarked", type=Path, nargs="+", required=True, help="images in which nothing may be found")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    files = images_in(options.photographs)
    found: Counter[tuple[str, str]] = Counter()
    for square in squares(files):
        for program in PROGRAMS:
            marked = Image.fromarray(mark(np.asarray(square), program))
            for change, change_of in CHANGES.items():
                answer = read(change_of(marked))
                found[change, program] += answer is not None and answer.program == program
    unmarked = [path for folder in options.unmarked for path in images_in(folder) if is_searched(path)]
    alarms = sum(read(path.read_bytes()) is not None for path in unmarked)
    measured = {
        "photographs": len(files),
        "changes": [
            {"change": change, **{program: found[change, program] / len(files) for program in PROGRAMS}}
            for change in CHANGES
        ],
        "unmarked": {"images": len(unmarked), "found": alarms},
    }
    options.output.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
