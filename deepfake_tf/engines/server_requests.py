"""What all clients of a model server share: limits, retries, batches, and errors that say what to do."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import requests

from deepfake_tf.contract import MAX_BATCH_SIZE
from deepfake_tf.engines.parts import in_parts
from deepfake_tf.engines.tensorflow_messages import without_node_names

MAX_REQUEST_BYTES = 32 * 2**20  # of encoded images in one request; one larger image travels alone
CONNECT_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS = 30.0
RETRIES = 5
FIRST_DELAY_SECONDS = 0.1  # before the first retry; doubled each time, and varied by half
API_KEY_HEADER = "X-API-Key"
API_KEY_VARIABLE = "DEEPFAKE_TF_API_KEY"
_CONNECTIONS = 64

_FLOAT32 = ("confidence", "probability", "logit", "heatmap")
_INT32 = ("width", "height")
_BOOL = ("in_domain",)


class UnreachableError(ConnectionError):
    """Nobody took the connection in time: to try again would only wait as long again."""


class ServerBusyError(ConnectionError):
    """The server is there and has no room for the request."""


def open_session() -> requests.Session:
    """Connections that are used again, and the API key of the environment with every request."""
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    if key := os.environ.get(API_KEY_VARIABLE):
        session.headers[API_KEY_HEADER] = key.encode().decode("latin-1")  # so it travels as UTF-8
    return session


def ask(
    session: requests.Session, method: str, url: str, server: str, timeout_seconds: float, **options: Any
) -> tuple[requests.Response, Any, str]:
    """Send one request.

    Args:
        session: of `open_session`.
        method: str. "GET" or "POST".
        url: where to.
        server: str. The server's address, as errors name it.
        timeout_seconds: float. How long the answer may take.
        **options: of `requests.Session.request`.

    Returns:
        The answer, its JSON (an empty dictionary where it is none), and its error message.

    Raises:
        ConnectionError: nobody there, or cut off in the middle.
        UnreachableError: not even a refusal within CONNECT_TIMEOUT_SECONDS.
        ServerBusyError: 503.
        TimeoutError: no answer in time, or 504.
    """
    try:
        limits = (CONNECT_TIMEOUT_SECONDS, timeout_seconds)
        answer = session.request(method, url, timeout=limits, allow_redirects=False, **options)
    except requests.ConnectTimeout as error:
        raise UnreachableError(no_server(server)) from error
    except requests.ConnectionError as error:
        raise ConnectionError(no_server(server)) from error
    except requests.Timeout as error:
        raise TimeoutError(too_slow(server, timeout_seconds)) from error
    except requests.RequestException as error:  # cut off in the middle of an answer, and the like
        raise ConnectionError(f"{server}: {error}") from error
    try:
        answered = answer.json()
        message = answered.get("error", "")
    except (ValueError, AttributeError):
        answered, message = {}, answer.text[:200]
    message = without_node_names(str(message))
    if answer.status_code == 503:
        raise ServerBusyError(f"{server} is busy: {message}")
    if answer.status_code == 504:
        raise TimeoutError(f"{server} gave up: {message}")
    return answer, answered, message


def in_batches(
    signature: str, encoded: list[bytes], request: Callable[[str, list[bytes]], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Ask for any number of images, no more at a time than the server takes."""
    check_not_empty(encoded)
    batches = list(in_parts(encoded, MAX_REQUEST_BYTES, MAX_BATCH_SIZE))
    parts = [request(signature, batch) for batch in batches]
    if wrong := [len(part["label"]) for part, batch in zip(parts, batches) if len(part["label"]) != len(batch)]:
        raise ConnectionError(f"the server answered {wrong} rows for other numbers of images")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_not_empty(encoded: list[bytes]) -> None:
    """
    Raises:
        ValueError: there is no image.
    """
    if not encoded:
        raise ValueError("At least one encoded image is needed. Received: none")


def with_retries(send: Callable[[], Any], retries: int) -> Any:
    """A prediction changes nothing on the server: it may be asked for again. A time-out is not repeated."""
    for attempt in range(retries + 1):
        try:
            return send()
        except ConnectionError as error:
            if attempt == retries or isinstance(error, UnreachableError):
                raise
            time.sleep(FIRST_DELAY_SECONDS * 2**attempt * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable")


def array(name: str, values: list[Any]) -> np.ndarray:
    """An output of the model out of JSON, with the dtype that the model gives it; strings are bytes."""
    if name in _FLOAT32:
        return np.asarray(values, np.float32)
    if name in _INT32:
        return np.asarray(values, np.int32)
    if name in _BOOL:
        return np.asarray(values, np.bool_)
    strings = np.empty(len(values), object)
    strings[:] = [value.encode() for value in values]
    return strings


def no_server(server: str) -> str:
    return f"no server answers at {server}. Start one with: deepfake-tf serve; or name another with --url"


def too_slow(server: str, seconds: float) -> str:
    return f"{server} did not answer within {seconds:g} s"
