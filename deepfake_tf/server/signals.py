"""How `serve` and `app` are ended."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator


class Ended(KeyboardInterrupt):
    """A signal came.

    Not KeyboardInterrupt itself: where that one passes through `eval` or `exec` of a text, as FastAPI and dataclasses
    call them, Python ends by SIGINT later on, though it was caught.
    """


def _end(*_: object) -> None:
    raise Ended


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block, and "stopped" is said. For the main thread.

    SIGINT too: a shell script starts what it puts into the background with SIGINT ignored, and Python leaves it so.
    """
    previous = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
