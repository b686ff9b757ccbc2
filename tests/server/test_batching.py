"""Requests that wait are joined, kept apart, and refused when too many."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deepfake_tf.server.batching import Batcher, Overloaded


def _images(*values: bytes) -> np.ndarray:
    return np.array(values, object)


def _run_batcher(use, model, **limits):
    """Runs `await use(batcher)` in a loop of its own."""
    with ThreadPoolExecutor(1) as executor:

        async def main():
            return await use(Batcher(model, executor, **limits))

        return asyncio.run(main())


def test_joins_what_waits_and_gives_each_its_own():
    sizes = []
    gate = threading.Event()

    def model(images):
        gate.wait(10)
        sizes.append(len(images))
        return {"length": np.array([len(image) for image in images])}

    async def use(batcher):
        calls = [asyncio.create_task(batcher(_images(*[b"x" * i] * (1 + i % 3)))) for i in range(12)]
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(*calls)

    answers = _run_batcher(use, model, max_batch_size=8)
    assert [answer["length"].tolist() for answer in answers] == [[i] * (1 + i % 3) for i in range(12)]
    assert max(sizes) <= 8
    assert len(sizes) < 12


def test_refuses_what_is_over_the_limits():
    gate = threading.Event()

    def model(images):
        gate.wait(10)
        return {"y": np.zeros(len(images))}

    async def use(batcher):
        with pytest.raises(ValueError, match="Task size 3 is larger than maximum input batch size 2"):
            await batcher(_images(b"", b"", b""))
        running = asyncio.create_task(batcher(_images(b"")))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(batcher(_images(b"", b""))) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="currently 2 batches enqueued and max_enqueued_batches is 2"):
            await batcher(_images(b""))
        gate.set()
        await asyncio.gather(running, *waiting)
        assert len((await batcher(_images(b"")))["y"]) == 1

    _run_batcher(use, model, max_batch_size=2, max_waiting_batches=2)


def test_failure_reaches_every_caller_of_the_batch_and_no_later_one():
    def model(images):
        if b"bad" in images:
            raise RuntimeError("damaged")
        return {"y": np.zeros(len(images))}

    async def use(batcher):
        outcomes = await asyncio.gather(*(batcher(_images(image)) for image in (b"a", b"bad")), return_exceptions=True)
        return outcomes, await batcher(_images(b"b"))

    outcomes, later = _run_batcher(use, model)
    assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]
    assert later["y"].shape == (1,)


def test_a_caller_that_gave_up_does_not_disturb_the_others():
    gate = threading.Event()

    def model(images):
        gate.wait(10)
        return {"length": np.array([len(image) for image in images])}

    async def use(batcher):
        calls = [asyncio.create_task(batcher(_images(b"x" * i))) for i in range(4)]
        await asyncio.sleep(0.05)
        calls[0].cancel()
        calls[2].cancel()
        gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = _run_batcher(use, model)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert isinstance(answers[2], asyncio.CancelledError)
    assert [int(answers[i]["length"][0]) for i in (1, 3)] == [1, 3]
