"""Concurrent requests as one call of the model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from deepfake_tf.contract import MAX_BATCH_SIZE

MAX_WAITING_BATCHES = 16


class Overloaded(Exception):
    """The queue is full: the caller should try again later."""


def check_size(size: int, max_batch_size: int) -> None:
    """
    Raises:
        ValueError: more images in one request than in one call of the model.
    """
    if size > max_batch_size:
        raise ValueError(f"Task size {size} is larger than maximum input batch size {max_batch_size}")


class Batcher:
    """Joins the images of requests that wait into one call of the model.

    It never waits for a batch to fill: what arrives while the model is busy becomes the next batch, so an
    idle server answers at once and a busy one in full batches.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], dict[str, np.ndarray]],
        executor: Executor,
        max_batch_size: int = MAX_BATCH_SIZE,
        max_waiting_batches: int = MAX_WAITING_BATCHES,
    ):
        """
        Args:
            run: object [N] of bytes -> arrays, the first dimension of each N.
            executor: Executor. Where `run` is called, one batch at a time.
            max_batch_size: int. Images in one call, and so in one request.
            max_waiting_batches: int. Full batches that may wait before requests are refused.
        """
        self._run = run
        self._executor = executor
        self._max_batch_size = max_batch_size
        self._max_waiting_batches = max_waiting_batches
        self._waiting: deque[tuple[np.ndarray, asyncio.Future]] = deque()
        self._worker: asyncio.Task | None = None

    async def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """object [N] of bytes -> the outputs for these N alone.

        Raises:
            ValueError: N is over the limit.
            Overloaded: too much is waiting already.
            Exception: whatever the model raised; then every request of the batch gets it.
        """
        check_size(len(images), self._max_batch_size)
        waiting = sum(len(others) for others, _ in self._waiting)
        if waiting + len(images) > self._max_batch_size * self._max_waiting_batches:
            raise Overloaded(
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{-(-waiting // self._max_batch_size)} batches enqueued and max_enqueued_batches is "
                f"{self._max_waiting_batches}"
            )
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((images, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while tasks := self._take_batch():
            images = np.concatenate([images for images, _ in tasks])
            try:
                outputs = await loop.run_in_executor(self._executor, self._run, images)
            except Exception as error:
                for _, future in tasks:
                    if not future.done():
                        future.set_exception(error)
                continue
            start = 0
            for images, future in tasks:
                end = start + len(images)
                if not future.done():  # the caller may have gone
                    future.set_result({name: output[start:end] for name, output in outputs.items()})
                start = end

    def _take_batch(self) -> list[tuple[np.ndarray, asyncio.Future]]:
        tasks: list[tuple[np.ndarray, asyncio.Future]] = []
        size = 0
        while self._waiting and size + len(self._waiting[0][0]) <= self._max_batch_size:
            images, future = self._waiting.popleft()
            if not future.done():  # the caller may have gone
                tasks.append((images, future))
                size += len(images)
        return tasks
