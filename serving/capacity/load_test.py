"""How much one model server answers, and how late: the figures that CAPACITY.md and `simulate.py` rest on.

    python load_test.py http://127.0.0.1:8501 --rate 10 20 40 80 --output measured.json photo.jpg ...

First requests of 1 to 32 images, one after the other: what one call of the model takes. Then requests of one image at
random moments (Poisson), at each rate, sent when they are due and not when the server has answered the one before.
A latency counts from the moment a request was due, so a server that falls behind cannot hide it.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import http.client
import itertools
import json
import os
import random
import re
import statistics
import threading
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

BATCH_SIZES = (1, 2, 4, 8, 16, 32)  # images; the last is the server's limit
MODEL = "deepfake"
TIMEOUT_SECONDS = 60
_MOST_IN_FLIGHT = 1500  # requests; the server's queue holds 512, then it refuses


class Client:
    """Connections that are kept, one a thread, as a gateway in front of the server has them."""

    def __init__(self, url: str):
        self._address = urllib.parse.urlsplit(url).netloc
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def predict(self, images: Sequence[bytes]) -> int:
        """The HTTP status of the answer."""
        encoded = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = json.dumps({"inputs": {"image_bytes": encoded}})
        return self._ask("POST", f"/v1/models/{MODEL}:predict", body)[0]

    def batches(self) -> tuple[int, int]:
        """Calls of the model since the server began, and the images in them."""
        text = self._ask("GET", "/monitoring/prometheus/metrics")[1].decode()
        value = lambda name: int(float(re.search(rf"processed_batch_size_{name}\S* (\S+)", text)[1]))
        return value("count"), value("sum")

    def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
            self._connections.append(self._local.connection)
        try:
            return self._send(method, path, body)
        except (ConnectionError, http.client.HTTPException):  # it was idle for long, and the server closed it
            self._local.connection.close()
            return self._send(method, path, body)

    def _send(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        self._local.connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = self._local.connection.getresponse()
        return answer.status, answer.read()


def measure_batches(client: Client, images: Sequence[bytes], repeats: int) -> dict[str, list[float]]:
    """Number of images in a request -> seconds to the answer, one request at a time."""
    source = itertools.cycle(images)
    seconds: dict[str, list[float]] = {}
    for size in BATCH_SIZES if repeats else ():
        times = []
        for _ in range(repeats + 2):
            batch = list(itertools.islice(source, size))
            started = time.perf_counter()
            if (status := client.predict(batch)) != 200:
                raise OSError(f"the server answered {status}: is the model there under the name {MODEL}?")
            times.append(time.perf_counter() - started)
        seconds[str(size)] = times[2:]  # the first calls of a size prepare it
        median = statistics.median(seconds[str(size)])
        print(f"{size:3} images a request: {median * 1e3:8.1f} ms, median of {repeats}", flush=True)
    return seconds


def measure_rate(client: Client, images: Sequence[bytes], rate: float, seconds: float, process: int | None) -> dict:
    """Offer `rate` requests a second for `seconds`; returns what came of it, latencies in seconds."""
    generator = random.Random(0)
    due, moments = 0.0, []
    while (due := due + generator.expovariate(rate)) < seconds:
        moments.append(due)
    calls, scored = client.batches()
    cpu_before = _cpu_seconds(process)
    started = time.perf_counter()

    def ask(moment: float, image: bytes) -> tuple[int, float]:
        status = client.predict([image])
        return status, time.perf_counter() - started - moment

    with concurrent.futures.ThreadPoolExecutor(_MOST_IN_FLIGHT) as pool:
        futures = []
        for moment, image in zip(moments, itertools.cycle(images)):
            time.sleep(max(0.0, started + moment - time.perf_counter()))
            futures.append(pool.submit(ask, moment, image))
        results = [future.result() for future in futures]
        elapsed = time.perf_counter() - started
        cores_used = (_cpu_seconds(process) - cpu_before) / elapsed
    latencies = sorted(latency for status, latency in results if status == 200)
    calls_after, scored_after = client.batches()
    percentile = lambda share: latencies[min(len(latencies) - 1, int(share * len(latencies)))]
    row = {
        "offered_per_second": rate,
        "answered_per_second": len(latencies) / elapsed,
        "refused": len(results) - len(latencies),
        "p50_seconds": percentile(0.50),
        "p99_seconds": percentile(0.99),
        "images_per_call": (scored_after - scored) / max(1, calls_after - calls),
        "cores_used": cores_used,
    }
    print(
        f"{rate:6g} offered a second: {row['answered_per_second']:6.1f} answered, {row['refused']:4} refused, "
        f"p50 {row['p50_seconds'] * 1e3:7.1f} ms, p99 {row['p99_seconds'] * 1e3:7.1f} ms, "
        f"{row['images_per_call']:4.1f} images a call, {cores_used:4.2f} cores",
        flush=True,
    )
    return row


def _cpu_seconds(process: int | None) -> float:
    """That a process and its threads have used so far; 0 without one."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="of TensorFlow Serving's REST API, or of deepfake-tf serve's")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--rate", type=float, nargs="*", default=[], help="requests a second, each a run of its own")
    parser.add_argument("--seconds", type=float, default=15, help="of each run")
    parser.add_argument("--repeats", type=int, default=20, help="requests of each number of images; 0: none")
    parser.add_argument("--pid", type=int, metavar="PID", help="of the server, on this machine: note the cores it uses")
    parser.add_argument("--output", metavar="FILE", help="the figures as JSON")
    options = parser.parse_args(arguments)
    images = [Path(image).read_bytes() for image in options.images]
    with contextlib.closing(Client(options.url)) as client:
        figures = {
            "image_bytes": round(statistics.mean(map(len, images))),
            "batches": measure_batches(client, images, options.repeats),
            "rates": [measure_rate(client, images, rate, options.seconds, options.pid) for rate in options.rate],
        }
    if options.output:
        Path(options.output).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
