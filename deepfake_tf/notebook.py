"""What a notebook needs beside the rest of the package: curves that move, a server beside it, a secret.

Needs IPython, which a notebook brings along.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import requests

POLL_SECONDS = 1.0
START_TIMEOUT_SECONDS = 180.0
STOP_TIMEOUT_SECONDS = 60.0


@contextlib.contextmanager
def live_curves(run_dir: str | Path) -> Iterator[None]:
    """Show the learning curves of a run below the cell, anew after each epoch, while the block trains.

    Args:
        run_dir: str or Path. The run directory; see `deepfake_tf.training`.
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


@dataclasses.dataclass(frozen=True)
class Addresses:
    """Where a started server answers.

    Attributes:
        rest: str. TensorFlow Serving's REST API, such as "http://127.0.0.1:41234".
        gateway: str. The upload gateway, such as "http://127.0.0.1:43210".
        gateway_port: int.
    """

    rest: str
    gateway: str
    gateway_port: int


@contextlib.contextmanager
def running_server(model: str | Path | None = None, engine: str = "local") -> Iterator[Addresses]:
    """`deepfake-tf serve` in a process of its own, for as long as the block runs.

    Args:
        model: str, Path or None. A SavedModel; None takes the one that ships.
        engine: str. As of `deepfake-tf serve`; the default finds its ports by itself.

    Raises:
        OSError: it ended, or did not answer in time. The message ends in what it printed.
    """
    command = [sys.executable, "-m", "deepfake_tf.cli", "serve", "--engine", engine]
    command += ["--rest-port", "0", "--gateway-port", "0", *(["--model", str(model)] if model else [])]
    with tempfile.TemporaryDirectory(prefix="deepfake-tf-notebook-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            yield _wait_until_ready(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


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


def _wait_until_ready(process: subprocess.Popen, log: Path) -> Addresses:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text(errors="replace")
        if "\ntry " in text:  # the last line that it prints
            rest, gateway = (_address(text, name) for name in ("REST", "gateway"))
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{gateway}/healthz", timeout=10).ok:
                    return Addresses(rest, gateway, int(gateway.rpartition(":")[2]))
        time.sleep(POLL_SECONDS / 4)
    ended = f"ended with {process.returncode}" if process.poll() is not None else "did not answer in time"
    raise OSError(f"deepfake-tf serve {ended}:\n{log.read_text(errors='replace')[-2000:]}")


def _address(text: str, name: str) -> str:
    """`REST     http://127.0.0.1:41234/v1/...` -> `http://127.0.0.1:41234`."""
    line = next(line for line in text.splitlines() if line.startswith(f"{name} "))
    return "/".join(line.split()[1].split("/")[:3])
