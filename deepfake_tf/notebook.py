"""What a notebook needs beside the rest of the package: curves that move, and a secret.

Needs IPython, which a notebook brings along.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 1.0


@contextlib.contextmanager
def live_curves(run_dir: str | Path) -> Iterator[None]:
    """Show the learning curves of a run below the cell, anew after each epoch, while the block trains.

    Args:
        run_dir: str or Path. The run directory; see `deepfake_tf.training.loop`.
    """
    from IPython.display import Image, display

    file = Path(run_dir) / "learning_curves.png"
    handle = display({"text/plain": "the curves appear after the first epoch"}, raw=True, display_id=True)
    ended = threading.Event()

    def watch() -> None:
        shown = 0
        while not ended.wait(POLL_SECONDS):
            changed = file.stat().st_mtime_ns if file.is_file() else 0
            if changed != shown:
                shown = changed
                handle.update(Image(data=file.read_bytes()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if file.is_file():
            handle.update(Image(data=file.read_bytes()))


def find_secret(name: str) -> str | None:
    """A secret by its name: of Colab's own store (the key in the side bar), else of the environment, else None."""
    try:
        from google.colab import userdata
    except ImportError:
        return os.environ.get(name) or None
    try:
        return userdata.get(name)
    except (userdata.SecretNotFoundError, userdata.NotebookAccessError):
        return None
