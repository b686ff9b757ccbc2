"""How `serve` and `app` are ended."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """SIGINT and SIGTERM end the block, and "stopped" is said. For the main thread.

    SIGINT too: a shell script starts what it puts into the background with SIGINT ignored, and Python leaves it so.
    """
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
