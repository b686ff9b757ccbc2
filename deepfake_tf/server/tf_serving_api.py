"""TensorFlow Serving's REST API: its routes, error bodies and status codes.

https://www.tensorflow.org/tfx/serving/api_rest; the odd corners are as the server itself answers them.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deepfake_tf.engines.tensorflow_messages import without_node_names
from deepfake_tf.server.batching import Overloaded
from deepfake_tf.server.loading import LoadingModel, Served
from deepfake_tf.server.metrics import CONTENT_TYPE, exposition
from deepfake_tf.server.predict_json import error_body, parse_request, read_inputs, received, write_outputs
from deepfake_tf.server.request_body import BodyReader, HttpError

METRICS_PATH = "/monitoring/prometheus/metrics"
TIMEOUT_SECONDS = 30.0  # TensorFlow Serving's --rest_api_timeout_in_ms
DEFAULT_SIGNATURE = "serving_default"

_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/(?P<model>[^/:]+){_WHICH}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_WHICH}(?P<metadata>/metadata)?", re.IGNORECASE)
_NOT_FOUND_PAGE = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_STATUS_NAMES = {
    200: "OK",
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class TfServingApi:
    """An ASGI application: status, metadata, `:predict` and Prometheus metrics of models."""

    def __init__(
        self, models: Sequence[Served | LoadingModel], bodies: BodyReader, timeout_seconds: float = TIMEOUT_SECONDS
    ):
        self._models = {model.name: model for model in models}
        self._bodies = bodies
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = _path_as_sent(request.scope)
        if path == METRICS_PATH and request.method == "GET":
            loaded = [served.metrics for model in self._models.values() if (served := _served(model))]
            return Response(exposition(loaded), media_type=CONTENT_TYPE)
        if not path.lower().startswith("/v1/models"):
            return Response(_NOT_FOUND_PAGE, 404, {"Connection": "close"}, "text/html")
        try:
            body = await self._route(request, path)
        except HttpError as error:
            return Response(error_body(str(error)), error.status, media_type="application/json")
        return Response(body, media_type="application/json")

    async def _route(self, request: Request, path: str) -> bytes:
        match = _PREDICT.fullmatch(path)
        if match and request.method == "POST":
            return await self._timed(match["model"], self._predict(request, match))
        match = _STATUS.fullmatch(path)
        if match and request.method == "GET":
            if match["model"] is None:
                raise HttpError(400, "Missing model name in request.")
            return await self._metadata(match) if match["metadata"] else self._status(match)
        raise HttpError(400, f"Malformed request: {request.method} {path}")

    async def _timed(self, name: str, answer: Any) -> bytes:
        started = time.perf_counter()
        status = 500
        try:
            body = await answer
            status = 200
            return body
        except HttpError as error:
            status = error.status
            raise
        finally:
            # Not under a name that a caller has made up: each would be a series of its own.
            if name in self._models and (model := _served(self._models[name])):
                status_name = _STATUS_NAMES.get(status, "INVALID_ARGUMENT")
                model.metrics.count_request(status_name, time.perf_counter() - started)

    async def _predict(self, request: Request, match: re.Match[str]) -> bytes:
        async with self._bodies.read(request) as body:
            return await self._answer_predict(body, match)

    async def _answer_predict(self, body: bytes, match: re.Match[str]) -> bytes:
        model, version = await self._find(match)
        if match["verb"].lower() != "predict":
            raise HttpError(400, f"The local server answers :predict alone. Received: :{match['verb']}")
        refusals: tuple[type[Exception], ...] = (ValueError, TypeError, RecursionError, *model.input_errors)
        try:
            # In a thread: a large body takes a while to parse, and others are waiting.
            parsed = await asyncio.to_thread(parse_request, body)
            signature_name = parsed.get("signature_name") or DEFAULT_SIGNATURE
            if signature_name not in version.signatures:
                raise ValueError(
                    f"signature_name must be one of {', '.join(version.signatures)}. {received(signature_name)}"
                )
            dtypes = version.signatures[signature_name].dtypes
            inputs, as_rows = await asyncio.to_thread(read_inputs, parsed, dtypes)
            async with asyncio.timeout(self._timeout_seconds):
                outputs = await model.call(version, signature_name, inputs)
            return await asyncio.to_thread(write_outputs, outputs, as_rows)
        except TimeoutError as error:
            raise HttpError(504, "Timed out waiting for notification") from error
        except Overloaded as error:
            raise HttpError(503, str(error)) from error
        except refusals as error:
            raise HttpError(400, without_node_names(getattr(error, "message", None) or str(error))) from error

    async def _find(self, match: re.Match[str]) -> tuple[Served, Any]:
        name, version, label = match["model"], match["version"], match["label"]
        model = await self._loaded(name) if name in self._models else None
        if label is not None:
            if model is None or label not in model.labels:
                raise HttpError(400, f"Unrecognized servable version label: {label}")
            return model, model.versions[model.labels[label]]
        if model is None or (version is not None and _number(version) not in model.versions):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise HttpError(404, f"Servable not found for request: {wanted}")
        return model, model.latest if version is None else model.versions[_number(version)]

    async def _loaded(self, name: str) -> Served:
        model = self._models[name]
        if not isinstance(model, LoadingModel):
            return model
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await model.wait()
        except TimeoutError as error:
            raise HttpError(503, f"{name} is being loaded: try again later") from error
        except ConnectionError as error:
            raise HttpError(503, str(error)) from error

    async def _metadata(self, match: re.Match[str]) -> bytes:
        model, version = await self._find(match)
        metadata = {
            "model_spec": {"name": model.name, "version": str(version.number), "signature_name": ""},
            "metadata": {"signature_def": {"signature_def": version.signature_def}},
        }
        return json.dumps(metadata, indent=1).encode() + b"\n"

    def _status(self, match: re.Match[str]) -> bytes:
        """Of one version, or of all: the real server does not look at a label here."""
        name, version = match["model"], match["version"]
        if name not in self._models:
            raise HttpError(404, f"Could not find any versions of model {name}")
        model = self._models[name]
        served = _served(model)
        present = model.numbers if isinstance(model, LoadingModel) else model.versions
        if version is not None and _number(version) not in present:
            raise HttpError(404, f"Could not find version {version} of model {name}")
        numbers = [_number(version)] if version is not None else sorted(present, reverse=True)
        state = "AVAILABLE" if served else "LOADING"
        states = [
            {"version": str(number), "state": state, "status": {"error_code": "OK", "error_message": ""}}
            for number in numbers
        ]
        return json.dumps({"model_version_status": states}, indent=1).encode() + b"\n"


def _served(model: Served | LoadingModel) -> Served | None:
    """The model, if it is loaded."""
    return model.served if isinstance(model, LoadingModel) else model


def _number(version: str) -> int:
    """-1 for what no folder can be named: Python refuses to parse thousands of digits."""
    return int(version) if len(version) < 20 else -1


def _path_as_sent(scope: Scope) -> str:
    """Undecoded, with the query: `%3A` is no colon to TensorFlow Serving, and a query is part of the name."""
    path = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
