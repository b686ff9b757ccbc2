"""From encoded images to scores: in this process, and through a server of its own process with its clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf.benchmark.measuring import Row, peak_memory_mib, row, time_in_turns
from deepfake_tf.benchmark.pictures import encoded_pictures
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.tf_serving import MODEL_NAME, connect
from deepfake_tf.server.background import running_server

IN_PROCESS = "in process, from encoded images"
REST, GRPC = "REST, JPEG 256 x 256", "gRPC, JPEG 256 x 256"
CLIENTS = (1, 4, 16)


def measure_in_process(model_dir: Path, rounds: int) -> list[Row]:
    """`Detector`: images a second by format and batch size."""
    detector = Detector(model_dir, engine="saved_model")
    calls, counts = {}, {}
    for what, width, image_format in (("JPEG 256 x 256", 256, "JPEG"), ("PNG 32 x 32", 32, "PNG")):
        images = encoded_pictures(64, width, width, image_format)
        for size in (1, 32):
            name = f"{what}, batch {size}"
            part = images[: 16 if size == 1 else 64]
            calls[name] = lambda part=part, size=size: list(detector.predict_iter(part, size))
            counts[name] = len(part)
    seconds = time_in_turns(calls, 3 * rounds, warm_up=1)
    rows = [row(IN_PROCESS, name, "images/s", counts[name] / values) for name, values in seconds.items()]
    large = encoded_pictures(1, 2448, 1632, "JPEG")
    values = time_in_turns({"large": lambda: detector.predict(large)}, 3 * rounds)["large"]
    return [*rows, row(IN_PROCESS, "one JPEG of 4 megapixels", "ms", 1000 * values)]


def measure_servers(model_dir: Path, seconds: float) -> tuple[list[Row], list[str]]:
    """Throughput and latency at several numbers of clients, each on a connection of its own, one image a request.

    Args:
        model_dir: a SavedModel.
        seconds: float. Of load, for each number of clients.

    Returns:
        The rows, and notes on what was left out.
    """
    rows, notes = [], []
    images = encoded_pictures(32, 256, 256, "JPEG")
    started = time.perf_counter()
    with running_server(model_dir) as server:
        with contextlib.closing(connect(server.rest)) as engine:
            engine.predict(encoded_pictures(1, 32, 32, "PNG"))
        start_seconds = time.perf_counter() - started
        lines = server.child.log.read_text(errors="replace").splitlines()
        said = {name: words.strip() for name, _, words in (line.partition(" ") for line in lines)}
        post = lambda: _rest_client(server.rest, images)
        rows += _measure_load(REST, post, seconds)
        large = encoded_pictures(1, 2448, 1632, "JPEG")
        with _rest_client(server.rest, large) as ask:
            values = time_in_turns({"large": lambda: ask(0)}, max(3, round(2 * seconds)))["large"]
        if "gRPC" in said and importlib.util.find_spec("tensorflow_serving") is None:
            notes.append("gRPC: left out, its packages are missing: pip install 'deepfake-tf[grpc]'")
        elif "gRPC" in said:
            rows += _measure_load(GRPC, lambda: _grpc_client(said["gRPC"], images), seconds)
        else:
            notes.append("gRPC: left out, the local engine has none; put tensorflow_model_server on the PATH")
        notes.append(f"server: engine {said['engine']}")
        if memory := peak_memory_mib(server.child.process.pid):
            rows.append(row("server", "peak memory", "MiB", [memory]))
        rows.append(row("server", "start to first answer", "s", [start_seconds]))
        rows.append(row("server", "one JPEG of 4 megapixels over REST, warm", "ms", 1000 * values))
    return rows, notes


def _measure_load(section: str, client: Callable, seconds: float) -> list[Row]:
    rows = []
    for count in CLIENTS:
        latencies: list[list[float]] = [[] for _ in range(count)]
        barrier = threading.Barrier(count + 1)

        def work(own: list[float], barrier=barrier) -> None:
            with client() as ask:
                ask(0)  # the connection, and a warm cache
                barrier.wait()
                turn, end = 0, time.perf_counter() + seconds
                while (started := time.perf_counter()) < end:
                    ask(turn := turn + 1)
                    own.append(time.perf_counter() - started)

        threads = [threading.Thread(target=work, args=(own,), daemon=True) for own in latencies]
        for thread in threads:
            thread.start()
        barrier.wait(timeout=60)
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        total = time.perf_counter() - started
        milliseconds = 1000 * np.concatenate([np.array(own) for own in latencies])
        rows.append(
            row(section, f"{count} clients" if count > 1 else "1 client", "images/s", [len(milliseconds) / total])
        )
        for percentile in (50, 95, 99):
            value = float(np.percentile(milliseconds, percentile))
            what = f"{count} clients, p{percentile}" if count > 1 else f"1 client, p{percentile}"
            rows.append(Row(section, what, value, "ms", value, value, len(milliseconds)))
    return rows


@contextlib.contextmanager
def _rest_client(url: str, images: list[bytes]) -> Iterator[Callable[[int], None]]:
    """A connection that is kept; the bodies are made beforehand, so that the server is what is measured."""
    bodies = [
        json.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(image).decode()}}]}).encode()
        for image in images
    ]
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)

    def ask(turn: int) -> None:
        connection.request("POST", f"/v1/models/{MODEL_NAME}:predict", bodies[turn % len(bodies)])
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"the server answered {answer.status}: {answer.read(300)!r}")
        answer.read()

    with contextlib.closing(connection):
        yield ask


@contextlib.contextmanager
def _grpc_client(url: str, images: list[bytes]) -> Iterator[Callable[[int], Any]]:
    with contextlib.closing(connect(url)) as engine:
        yield lambda turn: engine.predict([images[turn % len(images)]])
