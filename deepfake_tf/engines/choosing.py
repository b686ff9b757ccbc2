"""Several detectors behind one engine: each image goes to the one that its size calls for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from deepfake_tf.contract import Engine, Rows
from deepfake_tf.detectors.registry import choose_detector
from deepfake_tf.reading.pillow_reader import read_header


class ChoosingEngine:
    """Has the methods of an engine; loads a detector when the first image for it comes.

    May be used from several threads.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Engine]]):
        """
        Args:
            loaders: detector's name -> what returns its engine, or raises as engines do. Not empty.
        """
        self._loaders = dict(loaders)
        self._loaded: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def predict(self, encoded: list[bytes]) -> Rows:
        """N encoded images -> the rows of the score contract, an array [N] each, `detector` among them."""
        return self._run(encoded, "predict")

    def explain(self, encoded: list[bytes]) -> Rows:
        """The same, and `heatmap` float32 [N, h, w], 0..1; of several detectors object [N] of float32 [h, w]."""
        return self._run(encoded, "explain")

    def load_for(self, encoded: Sequence[bytes]) -> None:
        """Load what these images need; raises as the loaders do."""
        for name in {detector_for(image, self._loaders) for image in encoded}:
            self.engine(name)

    def engine(self, name: str) -> Engine:
        """The engine of a detector; see `__init__`."""
        with self._lock:  # two threads must not load one model twice
            if name not in self._loaded:
                self._loaded[name] = self._loaders[name]()
            return self._loaded[name]

    def _run(self, encoded: list[bytes], method: str) -> Rows:
        if len(self._loaders) == 1:
            [name] = self._loaders
            return with_detector(getattr(self.engine(name), method)(encoded), name)
        chosen = [detector_for(image, self._loaders) for image in encoded]
        parts: list[tuple[Sequence[int], Rows]] = []
        for name in self._loaders:
            indices = [index for index, choice in enumerate(chosen) if choice == name]
            if indices:
                rows = getattr(self.engine(name), method)([encoded[index] for index in indices])
                parts.append((indices, with_detector(rows, name)))
        return _joined(parts, len(encoded))


def detector_for(image: bytes, names: Collection[str]) -> str:
    """Which of the detectors `names` is asked for an encoded image; see `choose_detector`."""
    try:
        _, width, height = read_header(image)
    except Exception:  # the header of a damaged file: whichever detector is asked will say so
        width = height = 0
    return choose_detector(width, height, names)


def with_detector(rows: Rows, name: str) -> Rows:
    """The rows, and who judged: `detector`, object [N] of bytes, empty where there is no score."""
    return {**rows, "detector": np.where(rows["error"] == b"", name.encode(), b"").astype(object)}


def _joined(parts: Sequence[tuple[Sequence[int], Rows]], count: int) -> Rows:
    """Rows of some images each, back in the order of all."""
    joined: Rows = {}
    for indices, rows in parts:
        for name, values in rows.items():
            is_map = values.ndim > 1
            column = joined.setdefault(name, np.zeros(count, object if is_map else values.dtype))
            for index, value in zip(indices, values):
                column[index] = value
    return joined
