"""Servers that the tests talk to over a socket: an application in a thread, or `serve` as a process."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from deepfake_tf.server.slow_clients import http_settings

PROJECT = Path(__file__).parents[2]
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 90  # TensorFlow's own end takes seconds on a machine that is busy


@contextlib.contextmanager
def application(app) -> Iterator[int]:
    """Runs an ASGI application, by HTTP as `serve` speaks it; yields its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none", **http_settings()))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def ask(port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None):
    """(status, headers, body); the path goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class ServeProcess:
    """`serve` in a process of its own; the addresses are those that it prints."""

    def __init__(self, environment: dict[str, str] | None = None, **options):
        arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
        code = f"from deepfake_tf.server.launch import ServeOptions, serve; serve(ServeOptions({arguments}))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=PROJECT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> ServeProcess:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._starts_with("try "):
            if self.process.poll() is not None or time.monotonic() > deadline:
                output = self.stop(signal.SIGTERM)
                raise AssertionError(f"serve did not start:\n{output}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_) -> None:
        self.stop(signal.SIGTERM)  # SIGKILL would leave the model server alive that it may have started

    def address(self, name: str) -> str:
        """Such as "http://127.0.0.1:41234": what stands behind REST or gateway."""
        return "/".join(self.line(name).split()[1].split("/")[:3])

    def line(self, name: str) -> str:
        """The line that begins with this word."""
        return self._starts_with(name)

    def stop(self, number: int) -> str:
        """Send a signal, wait for the end, and return what the process printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        finally:
            self.process.kill()  # what has ended already is left alone
        self._reader.join()
        self.process.stderr.close()
        return "\n".join(self.lines)

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def _starts_with(self, name: str) -> str:
        return next((line for line in self.lines if line.startswith(name)), "")
