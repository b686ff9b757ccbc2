"""Requests that nobody means well by, made up from a seed, and what a server makes of them.

Against a server of your own: python -m tests.server.hostile_requests http://127.0.0.1:8501 10000 [PID]; with its PID
the memory is looked at, too.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import gzip
import json
import random
import socket
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tests.images import encode, photograph

ANSWER_TIMEOUT_SECONDS = 60
PATIENCE_SECONDS = 1  # for the answer to a message that is not whole
MODEL = "/v1/models/deepfake"
MODELS = (MODEL, MODEL, "/v1/models/photograph")  # which a server need not have
_SIGNATURES = (
    "serving_default",
    "explain",
    "from_pixels",
    "",
    "nope",
    "__saved_model_init_op",
    "\ud800",
    None,
    5,
    [],
    {},
)
_STRINGS = (
    "",
    "a",
    "\0",
    "\ud800",
    "\udfff\ud800",
    "\N{GRINNING FACE}",
    "%s" * 9,
    "../" * 9,
    "{{node x}}",
    "é" * 300,
    "9" * 999,
)
_NUMBERS = (
    "0",
    "-1",
    "255",
    "256",
    "1e308",
    "1e999",
    "-0.0",
    "NaN",
    "Infinity",
    "1.5",
    "9" * 30,
    "1" * 5000,
    "true",
    "null",
)
_PATHS = (
    *("/", "/predict", "/predict?explain=true", "/predict?explain=%ff", "/healthz", "/docs", "/openapi.json", "/docs/"),
    *(
        MODEL,
        f"{MODEL}/metadata",
        f"{MODEL}/versions/{'9' * 99}",
        f"{MODEL}/labels/%00",
        f"{MODEL}:classify",
        f"{MODEL}:",
    ),
    *(
        "/v1/models",
        "/v1/models/%ed%a0%80:predict",
        "/monitoring/prometheus/metrics",
        "//predict",
        "/..%2f..%2fetc/passwd",
        "*",
    ),
)


@dataclasses.dataclass
class Outcome:
    """What came of a run.

    Attributes:
        statuses: how often each HTTP status came; 0 stands for a connection that was closed without one.
        failures: descriptions of what should not be: a status of 500 and more, or no answer in time.
        memory_mib: resident memory of the server at each tenth of the run; empty where its process is not known.
    """

    statuses: collections.Counter[int]
    failures: list[str]
    memory_mib: list[float]


def hostile_requests(seed: int, count: int) -> Iterator[tuple[bytes, bool]]:
    """HTTP messages, and whether they are whole: of others the server may wait for the rest."""
    rng = random.Random(seed)
    images = [
        encode(photograph(32, 32, number), kind) for number, kind in enumerate(("PNG", "JPEG", "GIF", "BMP", "WEBP"))
    ]
    images += [encode(photograph(240, 210, number), "JPEG") for number in range(2)]
    makers = (_predict, _predict, _predict, _pixels, _upload, _upload, _http)
    for _ in range(count):
        make = rng.choice(makers)
        yield make(rng, images), make is not _http


def run(host: str, port: int, seed: int, count: int, pid: int | None = None) -> Outcome:
    """Send them one after another, each on a connection of its own."""
    outcome = Outcome(collections.Counter(), [], [])
    for index, (message, is_whole) in enumerate(hostile_requests(seed, count)):
        started = time.monotonic()
        try:
            status = _ask(host, port, message, ANSWER_TIMEOUT_SECONDS if is_whole else PATIENCE_SECONDS)
        except TimeoutError:
            status = -1 if is_whole else 0
        if status >= 500 or status < 0:
            seconds = time.monotonic() - started
            outcome.failures.append(f"seed {seed}, request {index}: {status} after {seconds:.1f} s: {message[:300]!r}")
        outcome.statuses[status] += 1
        if pid and (index + 1) % max(1, count // 10) == 0:
            outcome.memory_mib.append(_resident_mib(pid))
    return outcome


def _ask(host: str, port: int, message: bytes, timeout_seconds: float) -> int:
    """The status of the first answer, or 0 where the connection was closed without one."""
    answer = b""
    with socket.create_connection((host, port), timeout_seconds) as connection:
        try:
            connection.sendall(message)
            while b"\r\n" not in answer and (chunk := connection.recv(65536)):
                answer += chunk
        except (ConnectionResetError, BrokenPipeError):  # refused in the middle of a body
            pass
    words = answer.split(b"\r\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[0].startswith(b"HTTP/") else 0


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _message(path: str, body: bytes, method: str = "POST", headers: tuple[str, ...] = ()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _damaged(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 3, 30))):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    cut = rng.choice((None, None, rng.randrange(len(changed) + 1)))
    return bytes(changed[:cut])


def _value(rng: random.Random, images: list[bytes], depth: int = 0) -> str:
    """A JSON text, more or less."""
    kind = rng.randrange(10) if depth < 4 else rng.randrange(4)
    if kind == 0:
        return rng.choice(_NUMBERS)
    if kind == 1:
        return json.dumps(rng.choice(_STRINGS), ensure_ascii=rng.random() < 0.9)
    if kind in (2, 3, 4):
        encoded = base64.b64encode(_damaged(rng, rng.choice(images))).decode()
        return json.dumps({"b64": encoded[: rng.choice((None, None, None, rng.randrange(99)))]})
    if kind == 5:
        levels = rng.choice((2, 5, 31, 32, 33, 34, 63, 64, 65, 255, 500, 2000, 100_000))
        return "[" * levels + rng.choice(('"a"', "1", "")) + "]" * levels
    if kind == 6:
        levels = rng.choice((2, 50, 500, 50_000))
        return '{"b64":' * levels + "1" + "}" * levels
    if kind == 7:
        names = [rng.choice(("image_bytes", "pixels", "b64", *_STRINGS)) for _ in range(rng.randrange(3))]
        return "{" + ",".join(f"{json.dumps(name)}:{_value(rng, images, depth + 1)}" for name in names) + "}"
    return (
        "["
        + ",".join(_value(rng, images, depth + 1) for _ in range(rng.choice((0, 1, 2, 3) if depth else (0, 1, 2, 33))))
        + "]"
    )


def _predict(rng: random.Random, images: list[bytes]) -> bytes:
    fields = [
        (rng.choice(("instances", "instances", "inputs", "Instances")), _value(rng, images))
        for _ in range(rng.choice((1, 1, 1, 2)))
    ]
    if rng.random() < 0.6:
        fields = [(name, f"[{value}]") for name, value in fields]
    if rng.random() < 0.5:
        fields.append(("signature_name", json.dumps(rng.choice(_SIGNATURES))))
    body = "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in fields) + "}"
    encoded = body.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        encoded = rng.choice(
            (body.encode("utf-16", "surrogatepass"), b"\xef\xbb\xbf" + encoded, _damaged(rng, encoded))
        )
    headers: tuple[str, ...] = ()
    if rng.random() < 0.1:
        encoded, headers = _damaged(rng, gzip.compress(encoded)), ("Content-Encoding: gzip",)
    version = rng.choice(("", "", "", "/versions/1", "/versions/-1", "/labels/stable", "/labels/é"))
    return _message(f"{rng.choice(MODELS)}{version}:predict", encoded, headers=headers)


def _pixels(rng: random.Random, _: list[bytes]) -> bytes:
    """Arrays of many shapes for the signature that takes pixels."""
    rank = rng.choice((0, 1, 3, 3, 4, 4, 5, 40))
    shape = [rng.choice((0, 1, 1, 2, 3, 3)) if index < 5 else 1 for index in range(rank)]
    if rank and rng.random() < 0.2:
        shape[0] = 200
    value = rng.choice(_NUMBERS) if rng.random() < 0.2 else str(rng.randrange(256))
    for length in reversed(shape):
        value = "[" + ",".join([value] * length) + "]"
    name = rng.choice(("instances", "inputs"))
    count = rng.choice((1, 1, 2)) if name == "instances" else 1
    values = "[" + ",".join([value] * count) + "]" if name == "instances" else value
    return _message(
        f"{rng.choice(MODELS)}:predict", f'{{"signature_name": "from_pixels", "{name}": {values}}}'.encode()
    )


def _upload(rng: random.Random, images: list[bytes]) -> bytes:
    path = rng.choice(("/predict", "/predict", "/predict?explain=true", "/predict?explain=maybe"))
    if rng.random() < 0.4:
        return _message(
            path,
            _damaged(rng, rng.choice(images)),
            headers=(f"Content-Type: {rng.choice(('image/png', 'a', ';;', ''))}",),
        )
    boundary = rng.choice(("x", "-" * 70, "", "é", '"', "a b"))
    body = b""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 20))):
        name = rng.choice(
            (
                'name="file"',
                'name="file"; filename="a.png"',
                "",
                "filename*=utf-8''%ff; name=\"\"",
                'name="' + "n" * 9000,
            )
        )
        body += f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n".encode()
        body += rng.choice((b"", b"", b"X: " + bytes(9), b"Content-Transfer-Encoding: base64\r\n")) + b"\r\n"
        body += _damaged(rng, rng.choice(images)) + rng.choice((b"\r\n", b"\r\n", b""))
    body += f"--{boundary}--\r\n".encode()
    return _message(
        path,
        _damaged(rng, body) if rng.random() < 0.3 else body,
        headers=(f"Content-Type: multipart/form-data; boundary={boundary}",),
    )


def _http(rng: random.Random, images: list[bytes]) -> bytes:
    """Odd methods, paths and headers, and messages that are broken or end too soon."""
    method = rng.choice(("GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "get", "X" * 99))
    headers = rng.choice(
        (
            *(
                (),
                ("Transfer-Encoding: chunked",),
                ("Content-Length: 99",),
                ("Content-Length: -1",),
                ("Expect: 100-continue",),
            ),
            *(("Content-Encoding: br",), ("Content-Encoding: gzip",), ("Upgrade: websocket", "Connection: upgrade")),
            *(
                ("Host: y",),
                ("X: " + "x" * 70_000,),
                ("no colon",),
                ("Content-Type: \xff",),
                ("X-API-Key: é",),
                ("Origin: null",),
            ),
        )
    )
    body = rng.choice((b"", b"{}", rng.choice(images), b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n"))
    message = _message(rng.choice(_PATHS), body, method, headers)
    return message if rng.random() < 0.7 else _damaged(rng, message)


if __name__ == "__main__":
    address = urllib.parse.urlsplit(sys.argv[1])
    result = run(
        address.hostname or "", address.port or 80, 0, int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else None
    )
    print(dict(sorted(result.statuses.items())), [round(value) for value in result.memory_mib], sep="\n")
    print(*result.failures, sep="\n")
    sys.exit(bool(result.failures))
