"""Workers that read their own files and tell each other: threads here, processes in test_jax_training.py."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.data.examples import Examples
from deepfake_tf.data.workers import Workers

if importlib.util.find_spec("jax") is None:
    pytest.skip("JAX is not installed: the extra [jax]", allow_module_level=True)
from deepfake_tf.data.in_memory import DecodedImages

BROKEN = 4


@dataclasses.dataclass(frozen=True)
class ThreadWorkers(Workers):
    """Workers that are threads of this process."""

    messages: list = dataclasses.field(default_factory=list)
    barrier: threading.Barrier | None = None

    def exchange(self, message: bytes) -> list[bytes]:
        self.messages[self.index] = message
        self.barrier.wait(timeout=60)
        everything = list(self.messages)
        self.barrier.wait(timeout=60)  # all have read it
        return everything


def make_examples(sides: list[int]) -> Examples:
    """PNGs of noise, one of them cut short."""
    generator = np.random.default_rng(0)
    files = []
    for side in sides:
        stream = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).save(stream, "PNG")
        files.append(stream.getvalue())
    files[BROKEN] = files[BROKEN][:50]
    names = [f"{index}.png" for index in range(len(sides))]
    return Examples(names, np.arange(len(sides)) % 2, files, [""] * len(sides))


@pytest.mark.parametrize("count", [2, 3, 12])
@pytest.mark.parametrize(
    "sides", [[8] * 11, [8, 9] * 5 + [8], [8] * 10 + [9]], ids=["one size", "by turns", "the last"]
)
def test_workers_read_their_own_files_and_know_all_images(sides, count):
    examples = make_examples(sides)
    alone = DecodedImages(examples, 16)
    messages, barrier = [b""] * count, threading.Barrier(count)

    def work(index: int) -> DecodedImages:
        own = [file if i % count == index else "of another worker.png" for i, file in enumerate(examples.files)]
        worker = ThreadWorkers(count, index, count, True, messages, barrier)
        return DecodedImages(dataclasses.replace(examples, files=own), 16, workers=worker)

    with ThreadPoolExecutor(count) as pool:
        parts = list(pool.map(work, range(count)))
    assert list(alone.errors) == [f"{BROKEN}.png"]
    for images in parts:
        np.testing.assert_array_equal(images.pixels, alone.pixels)
        assert images.digests == alone.digests
        assert images.errors == alone.errors
        assert images.examples.names == alone.examples.names
        np.testing.assert_array_equal(images.examples.labels, alone.examples.labels)
