"""Features of many photographs, computed once and cached: what heads are trained on.

A cache is a folder that can be continued after a cut, and extended by further copies:

    images.csv               a row an image: path, label, generator, repository, kind
    cache.json               what the features were made with; a cache of anything else is refused
    copy_00/piece_00000.npz  `index` int64 [n], rows of images.csv; `cls` float16 [n, blocks, 768]; `sizes` int32
                             [n, 2], width and height of the image; `errors`, a string an image, empty if it was read
    copy_01/...              the same for random views; copy 0 is the view that prediction uses

The pieces go through the images in a random order, so that those written so far are a fair sample.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.detectors.photograph.views import VIEW_SIZE, central_view
from deepfake_tf.reading.admission import admit
from deepfake_tf.reading.files import walk
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS
from deepfake_tf.reading.pillow_reader import decode
from deepfake_tf.text import csv_row
from deepfake_tf.training.photograph.random_views import LAW, random_view
from deepfake_tf.writing import whole_file, write_whole

BLOCKS = 10  # of twelve: the last two add little and cost a sixth of the time
COPIES = 3  # random views of an image: with one, noise made real images look generated
PIECE_IMAGES = 256
BATCH_IMAGES = 16
SQUARE_RATIO = 1.02  # of the long side to the short one, below which an image counts as square
MANIFEST = "manifest.csv"
LIGHT = ".tflite"

_Network = Callable[[np.ndarray], np.ndarray]  # uint8 [n, 224, 224, 3] -> float [n, blocks, 768]
_Batch = tuple[np.ndarray, list[tuple[int, int]], list[str]]  # views, widths and heights, errors


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One labelled image and where it comes from.

    Attributes:
        path: str, below the data's folder.
        label: int; 1 = FAKE, 0 = REAL.
        repository: str. The collection: images of one are never both trained on and measured.
        generator: str. What made a generated image; the source of a real one.
        kind: str, such as "photo", "paired", "scan"; empty where not stated.
    """

    path: str
    label: int
    repository: str
    generator: str
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Features:
    """A cache, read.

    Attributes:
        images: one a row, those that could be read.
        cls: float16 [copies, images, blocks, 768]; copy 0 is the view that prediction uses.
        sizes: int32 [images, 2], width and height of the image in pixels.
        errors: a sentence for each image that is left out.
    """

    images: tuple[Photograph, ...]
    cls: np.ndarray
    sizes: np.ndarray
    errors: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """int64 [images]; 1 = FAKE, 0 = REAL."""
        return np.array([image.label for image in self.images], np.int64)

    @property
    def repositories(self) -> np.ndarray:
        """str [images]."""
        return np.array([image.repository for image in self.images])

    @property
    def square(self) -> np.ndarray:
        """bool [images]. Whether the sides differ by less than 2 %."""
        return self.sizes.max(1) < SQUARE_RATIO * self.sizes.min(1)


def list_photographs(folder: str | Path) -> list[Photograph]:
    """The labelled images of a folder: those of its manifest.csv, else `REAL/<source>/*` and `FAKE/<generator>/*`.

    Raises:
        FileNotFoundError: the folder holds neither.
        ValueError: a row of the manifest lacks a column or has another label, or a class is empty.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        with open(folder / MANIFEST, newline="", encoding="utf-8-sig") as file:  # Excel begins with a BOM
            images = [_from_row(row, folder / MANIFEST) for row in csv.DictReader(file)]
    elif all((folder / name).is_dir() for name in LABEL_NAMES):
        images = []
        for label, name in enumerate(LABEL_NAMES):
            for path in sorted(map(Path, walk(folder / name))):
                if path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith("."):
                    parts = path.relative_to(folder / name).parts
                    source = parts[0] if len(parts) > 1 else "unknown"
                    images.append(Photograph(path.relative_to(folder).as_posix(), label, source, source))
    else:
        raise FileNotFoundError(
            f"Photographs come with a {MANIFEST} (path, label, generator, repository, kind) or in REAL/<source>/ and "
            f"FAKE/<generator>/. Received: {str(folder)!r}"
        )
    for label, name in enumerate(LABEL_NAMES):
        if not any(image.label == label for image in images):
            raise ValueError(f"No {name} image found. Received: {str(folder)!r}")
    return images


def _from_row(row: dict[str, str], manifest: Path) -> Photograph:
    try:
        return Photograph(
            row["path"], LABEL_NAMES.index(row["label"]), row["repository"], row["generator"], row.get("kind") or ""
        )
    except (KeyError, ValueError):
        raise ValueError(
            f"{manifest}: a row needs path, label (REAL or FAKE), repository and generator. Received: {row}"
        ) from None


def extract(
    data: str | Path,
    cache: str | Path,
    weights: str | Path,
    copies: int = COPIES,
    blocks: int = BLOCKS,
    dtype: str = "mixed_bfloat16",
    report: Callable[[str], None] = print,
) -> None:
    """Compute the class tokens of all images and cache them; pieces that are there already are kept.

    All images are seen in the view that prediction uses before any random view is computed. A `.tflite`, such as the
    backbone that ships, is run by LiteRT, so that heads are trained on what they will see: twenty views a second on two
    cores. Other weights are run by Keras: seven a second (PyTorch backend, bfloat16).

    Args:
        data: str or Path. The images, see `list_photographs`.
        cache: str or Path. The folder of the cache, made where it is missing.
        weights: str or Path. CLIP's, see `load_clip_weights`.
        copies: int. Random views of each image beside the one that prediction uses.
        blocks: int, 1 to 12. After how many blocks the class token is kept.
        dtype: str. Keras dtype policy; without meaning for a `.tflite`.
        report: takes a line of progress a piece.

    Raises:
        FileNotFoundError, ValueError: see `list_photographs` and `load_clip_weights`; the cache belongs to other
            images, another network or another law.
    """
    data, cache = Path(data), Path(cache)
    images = list_photographs(data)
    is_light = Path(weights).suffix == LIGHT
    made_with = {
        "blocks": blocks,
        "dtype": "int8" if is_light else dtype,
        "weights_sha256": _sha256(Path(weights)),
        "law_of_random_views": LAW,
    }
    _open_cache(cache, images, made_with)
    network = None
    order = np.random.default_rng(0).permutation(len(images))
    for copy in range(1 + copies):
        for start in range(0, len(images), PIECE_IMAGES):
            piece = cache / f"copy_{copy:02}" / f"piece_{start // PIECE_IMAGES:05}.npz"
            if piece.is_file():
                continue
            if network is None:
                network = _load_light_network(weights, blocks) if is_light else _load_network(weights, blocks, dtype)
            rows = order[start : start + PIECE_IMAGES]
            cls, sizes, errors = [], [], []
            for views, view_sizes, problems in _views(data, [images[row] for row in rows], copy):
                cls.append(np.asarray(network(views), np.float16))
                sizes += view_sizes
                errors += problems
            with whole_file(piece) as temporary:
                np.savez(
                    temporary,
                    allow_pickle=False,
                    index=rows,
                    cls=np.concatenate(cls),
                    sizes=np.array(sizes, np.int32),
                    errors=np.array(errors),
                )
            report(f"copy {copy} of {copies}: {start + len(rows)} of {len(images)} images")


def load_features(cache: str | Path) -> Features:
    """Read a cache: the view that prediction uses, and the random views that are complete.

    Raises:
        FileNotFoundError: no such cache.
        ValueError: copy 0 is not complete.
    """
    cache = Path(cache)
    if not (cache / "images.csv").is_file():
        raise FileNotFoundError(f"No cache of features; `deepfake-tf features` makes one. Received: {str(cache)!r}")
    with open(cache / "images.csv", newline="", encoding="utf-8") as file:
        images = [_from_row(row, cache / "images.csv") for row in csv.DictReader(file)]
    arrays: list[np.ndarray] = []
    sizes = np.zeros((len(images), 2), np.int32)
    errors = np.zeros(len(images), object)
    for copy in range(len(list(cache.glob("copy_*")))):
        cls, seen = None, np.zeros(len(images), bool)
        for piece in sorted((cache / f"copy_{copy:02}").glob("piece_*.npz")):
            with np.load(piece) as archive:
                if cls is None:
                    cls = np.zeros((len(images), *archive["cls"].shape[1:]), np.float16)
                cls[archive["index"]] = archive["cls"]
                seen[archive["index"]] = True
                if copy == 0:
                    sizes[archive["index"]] = archive["sizes"]
                errors[archive["index"]] = [
                    first or later for first, later in zip(errors[archive["index"]], archive["errors"])
                ]
        if cls is None or not seen.all():
            if copy > 0:
                break
            raise ValueError(
                f"{cache}: {seen.sum()} of {len(images)} images have features of copy {copy}. Run `deepfake-tf "
                f"features` again: it goes on where it was cut"
            )
        arrays.append(cls)
    readable = np.array([not error for error in errors])
    return Features(
        tuple(image for image, good in zip(images, readable) if good),
        np.stack(arrays)[:, readable],
        sizes[readable],
        tuple(f"{image.path}: {error}" for image, error in zip(images, errors) if error),
    )


def _load_light_network(weights: str | Path, blocks: int) -> _Network:
    from ai_edge_litert.interpreter import Interpreter

    count = os.cpu_count() or 1
    try:
        runners = [Interpreter(str(weights), num_threads=1).get_signature_runner() for _ in range(count)]
        held = runners[0].get_output_details()["cls"]["shape"][1]
        runners[0].get_input_details()["pixels"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{weights} is no backbone.tflite of a photograph bundle: {error}") from None
    if held < blocks:
        raise ValueError(f"{weights} holds {held} blocks. Received: blocks={blocks}")
    pool = ThreadPoolExecutor(count)  # an image a thread: faster than all threads on one
    idle: SimpleQueue[Any] = SimpleQueue()
    for runner in runners:
        idle.put(runner)

    def compute_one(view: np.ndarray) -> np.ndarray:
        runner = idle.get()
        try:
            return runner(pixels=view[None])["cls"][0, :blocks]
        finally:
            idle.put(runner)

    return lambda views: np.stack(list(pool.map(compute_one, views)))


def _load_network(weights: str | Path, blocks: int, dtype: str) -> _Network:
    from deepfake_tf.networks.clip_weights import load_clip_weights  # imports Keras and its backend
    from deepfake_tf.networks.vit_b16 import build_vit_b16

    network = build_vit_b16(VIEW_SIZE, blocks, dtype)
    load_clip_weights(network, weights)

    def compute(views: np.ndarray) -> np.ndarray:
        # A batch of one size keeps compiled backends from compiling again for the last one.
        padded = np.zeros((BATCH_IMAGES, *views.shape[1:]), np.uint8)
        padded[: len(views)] = views
        return np.asarray(network.predict_on_batch(padded)["cls"])[: len(views)]

    return compute


def _views(
    data: Path, images: Sequence[Photograph], copy: int
) -> Iterator[tuple[np.ndarray, list[tuple[int, int]], list[str]]]:
    """Batches of views, sizes and errors, the next ones made while the network computes."""

    def make(batch: Sequence[Photograph]) -> _Batch:
        views = np.zeros((len(batch), VIEW_SIZE, VIEW_SIZE, 3), np.uint8)
        sizes, errors = [], []
        for view, image in zip(views, batch):
            size = (0, 0)
            try:
                encoded, error = admit((data / image.path).read_bytes())
                if error:
                    raise ValueError(error)
                pixels = decode(encoded, upright=True)
                view[:] = random_view(pixels, image.path, copy) if copy else central_view(pixels)
                size = (pixels.shape[1], pixels.shape[0])
                errors.append("")
            except Exception as error:  # Pillow's parsers raise whatever a damaged file makes them trip over
                errors.append(f"{type(error).__name__}: {error}")
            sizes.append(size)
        return views, sizes, errors

    with ThreadPoolExecutor(1) as pool:
        yield from pool.map(make, [images[i : i + BATCH_IMAGES] for i in range(0, len(images), BATCH_IMAGES)])


def _open_cache(cache: Path, images: Sequence[Photograph], made_with: dict[str, object]) -> None:
    rows = [[image.path, LABEL_NAMES[image.label], image.generator, image.repository, image.kind] for image in images]
    table = "".join(map(csv_row, [["path", "label", "generator", "repository", "kind"], *rows]))
    contents = {"images.csv": table, "cache.json": json.dumps(made_with, indent=2) + "\n"}
    for name, content in contents.items():
        path = cache / name
        if path.is_file() and path.read_bytes() != content.encode():
            raise ValueError(
                f"{path} says that this cache holds features of other images, another network or another law of random "
                f"views. Give another folder. Received: {made_with}, {len(images)} images"
            )
        write_whole(path, content)


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f"No such weights of CLIP ViT-B/16 (.npz, .safetensors or .tflite). Received: {str(path)!r}"
        )
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
