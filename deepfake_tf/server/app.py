"""`deepfake-tf app`: the model server and the web page together, one address, one Ctrl-C."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from deepfake_tf.inference.detector import find_model
from deepfake_tf.inference.tf_serving_engine import connect
from deepfake_tf.server.signals import interrupted_by_signals

PAGE = Path(__file__).parents[2] / "streamlit_app" / "app.py"
START_TIMEOUT_SECONDS = 180
_STOP_TIMEOUT_SECONDS = 20


@dataclasses.dataclass(frozen=True)
class AppOptions:
    """What the page shows, and where."""

    model: str | None = None  # as for `serve`
    engine: str = "auto"  # as for `serve`
    url: str | None = None  # a model server that runs already; None: DEEPFAKE_TF_URL, else one is started
    host: str = "127.0.0.1"  # address of the page; the model server is reached from this machine alone
    port: int = 0  # of the page; 0: a free one


def run_app(options: AppOptions) -> None:
    """Start both, print the page's address on stdout, and end both on Ctrl-C or SIGTERM. Call it from the main thread.

    Raises:
        FileNotFoundError: no model, or no page because the package was installed without its repository.
        OSError: one of the two did not start, or ended by itself; with what it printed.
    """
    if not PAGE.is_file():
        raise FileNotFoundError(f"{PAGE} does not exist: the page is part of the repository, not of the package")
    with interrupted_by_signals(), contextlib.ExitStack() as stack:
        url = options.url or os.environ.get("DEEPFAKE_TF_URL")
        children = []
        if not url:
            server, url = _start_server(options, stack)
            children.append(server)
        port = options.port or _free_port(options.host)
        children.append(stack.enter_context(_child(_page_command(options.host, port), {"DEEPFAKE_TF_URL": url})))
        address = f"http://{'127.0.0.1' if options.host == '0.0.0.0' else options.host}:{port}"
        _wait_for(lambda: _answers(f"{address}/_stcore/health"), children[-1], "the page")
        print(address, flush=True)
        while all(child.process.poll() is None for child in children):
            time.sleep(0.2)
        ended = next(child for child in children if child.process.poll() is not None)
        raise OSError(f"{ended.output()}\nit ended by itself, so that the page was closed")


@dataclasses.dataclass(frozen=True)
class _Child:
    process: subprocess.Popen
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")[-4000:].strip()


@contextlib.contextmanager
def _child(command: list[str], environment: dict[str, str]) -> Iterator[_Child]:
    with tempfile.TemporaryDirectory(prefix="deepfake-tf-app-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
            )
        try:
            yield _Child(process, log)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start_server(options: AppOptions, stack: contextlib.ExitStack) -> tuple[_Child, str]:
    find_model(options.model)  # told here, not in a log
    rest, grpc, gateway = (_free_port("127.0.0.1") for _ in range(3))
    fields = {
        "model": options.model,
        "engine": options.engine,
        "rest_port": rest,
        "grpc_port": grpc,
        "gateway_port": gateway,
    }
    code = f"from deepfake_tf.server.launch import ServeOptions, serve; serve(ServeOptions(**{fields!r}))"
    server = stack.enter_context(_child([sys.executable, "-c", code], {}))
    url = f"http://127.0.0.1:{rest}"
    with contextlib.closing(connect(url)) as engine:
        _wait_for(engine.is_ready, server, "the model server")
    return server, url


def _page_command(host: str, port: int) -> list[str]:
    options = [f"--server.address={host}", f"--server.port={port}", "--server.headless=true"]
    return [sys.executable, "-m", "streamlit", "run", str(PAGE), *options]


def _wait_for(is_there: Callable[[], bool], child: _Child, name: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_there():
        if child.process.poll() is not None:
            raise OSError(f"{name} did not start:\n{child.output()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} did not start within {START_TIMEOUT_SECONDS} s:\n{child.output()}")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listening:
        return listening.getsockname()[1]
