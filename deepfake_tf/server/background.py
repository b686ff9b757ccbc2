"""Processes beside this one: TensorFlow Serving, the model server for the page and for notebooks, and the page."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import requests

from deepfake_tf.engines.finding import find_model
from deepfake_tf.engines.tf_serving import connect

START_TIMEOUT_SECONDS = 180
_STOP_TIMEOUT_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Child:
    """A process that was started here, and what it prints."""

    process: subprocess.Popen
    log: Path

    def output(self) -> str:
        """The end of what it has printed."""
        return self.log.read_text(errors="replace")[-4000:].strip()

    def check_running(self, name: str) -> None:
        """
        Raises:
            OSError: the process has ended. Shows the end of what it printed.
        """
        if self.process.poll() is not None:
            raise OSError(f"{name} ended with status {self.process.returncode}:\n{self.output()}")


@dataclasses.dataclass(frozen=True)
class RunningServer:
    """A model server that answers.

    Attributes:
        child: Child.
        rest: str. TensorFlow Serving's REST API, such as "http://127.0.0.1:41234".
        gateway: str. The upload gateway, such as "http://127.0.0.1:43210".
        gateway_port: int.
    """

    child: Child
    rest: str
    gateway: str
    gateway_port: int


@contextlib.contextmanager
def running_server(model: str | Path | None = None, engine: str = "auto") -> Iterator[RunningServer]:
    """`deepfake-tf serve` on free ports of this machine, for as long as the block runs.

    Args:
        model: str, Path or None. A SavedModel or `.tflite`; None takes the one that ships.
        engine: str. As of `deepfake-tf serve`.

    Raises:
        FileNotFoundError: no such model.
        OSError: it did not start, or not in time. The message ends in what it printed.
    """
    find_model(model, "auto")  # told here, not in a log
    rest, grpc, gateway = (free_port("127.0.0.1") for _ in range(3))
    fields = {
        "model": None if model is None else str(model),
        "engine": engine,
        "rest_port": rest,
        "grpc_port": grpc,
        "gateway_port": gateway,
    }
    code = f"from deepfake_tf.server.launch import ServeOptions, serve; serve(ServeOptions(**{fields!r}))"
    with running([sys.executable, "-c", code]) as child:
        server = RunningServer(child, f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{gateway}", gateway)
        with contextlib.closing(connect(server.rest)) as client:
            wait_for(client.is_ready, child, "the model server")
        wait_until_it_answers(f"{server.gateway}/healthz", child, "the upload gateway")
        yield server


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    """A process for as long as the block runs.

    Args:
        command: the program and its arguments.
        environment: variables beside those of this process.
    """
    with tempfile.TemporaryDirectory(prefix="deepfake-tf-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
            )
        try:
            yield Child(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_it_answers(url: str, child: Child, name: str) -> None:
    """Wait for a GET that succeeds.

    Raises:
        OSError: the process ended, or did not answer in time; with what it printed.
    """
    wait_for(lambda: _answers(url), child, name)


def free_port(host: str) -> int:
    """A TCP port on which nothing listens now."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        return listening.getsockname()[1]


def wait_for(is_there: Callable[[], bool], child: Child, name: str) -> None:
    """Wait for a child to be ready.

    Raises:
        OSError: the process ended, or was not ready in time; with what it printed.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_there():
        child.check_running(name)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} did not start within {START_TIMEOUT_SECONDS} s:\n{child.output()}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
