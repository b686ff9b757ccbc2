"""The upload gateway: POST /predict, a file in, one JSON object out.

The original project's API, on whichever engine scores: the local server's model, or TensorFlow Serving
behind an address.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from deepfake_tf import __version__, provenance
from deepfake_tf.conclusion import CODES, WITNESSES
from deepfake_tf.conclusion import conclude as conclude_from_all
from deepfake_tf.contract import ErrorCode, Prediction, error_code
from deepfake_tf.detectors.cifake import SPEC
from deepfake_tf.engines.gateway import GatewayEngine
from deepfake_tf.engines.server_requests import API_KEY_HEADER, ServerBusyError
from deepfake_tf.engines.tf_serving import ModelEngine, ServerEngine
from deepfake_tf.server.batching import Overloaded
from deepfake_tf.server.description import describe
from deepfake_tf.server.request_body import BodyReader, HttpError
from deepfake_tf.server.upload import FIELD, read_upload

PATHS = ("/predict", "/cards", "/healthz", "/docs", "/openapi.json")
MAX_IN_FLIGHT = 64  # requests that wait for an engine behind an address
_HEATMAP_DECIMALS = 4

# One encoded image -> the arrays [1, ...] of `serving_default`, or of `explain`.
Score = Callable[[bytes, bool], Awaitable[dict[str, np.ndarray]]]


Conclusion = Annotated[
    Literal[CODES] | None,  # type: ignore[valid-type]
    Field(description="the answer from all witnesses: the file's own word, a watermark, and the verdict"),
]
Sentence = Annotated[str | None, Field(description="the conclusion in words")]
Witness = Annotated[
    Literal[WITNESSES] | None,  # type: ignore[valid-type]
    Field(description="who decides"),
]


class ScoreAnswer(BaseModel):
    """The score contract, for one image."""

    detector: Annotated[str, Field(description="the name of the detector that judged")]
    label: Literal["FAKE", "REAL"]
    confidence: Annotated[float, Field(ge=0, le=1, description="probability of the label")]
    probability: Annotated[float, Field(ge=0, le=1, description="P(FAKE) after calibration")]
    logit: float
    in_domain: Annotated[bool, Field(description="whether the image is like those the model was measured on")]
    verdict: Literal["likely generated", "likely real", "uncertain"]
    reason: Annotated[str, Field(description="why the image is out of domain, or empty")]
    width: int
    height: int
    conclusion: Conclusion = None
    sentence: Sentence = None
    witness: Witness = None
    heatmap: Annotated[
        list[list[float]] | None, Field(description="Grad-CAM of the label, rows of 0..1; with explain=true")
    ] = None


class ErrorAnswer(BaseModel):
    """Why there is no score. Of a file that the model refused, what the file says of itself still counts."""

    error: str
    conclusion: Conclusion = None
    sentence: Sentence = None
    witness: Witness = None


class HealthAnswer(BaseModel):
    """Whether the engine behind the gateway is ready."""

    status: Literal["ok", "unavailable"]
    engine: str


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "no file, several, an empty one, or a broken request"},
    401: {"model": ErrorAnswer, "description": "the API key is missing or wrong"},
    408: {"model": ErrorAnswer, "description": "the body did not arrive in time, or not whole"},
    413: {"model": ErrorAnswer, "description": "the file is too large"},
    415: {"model": ErrorAnswer, "description": "not an image"},
    422: {"model": ErrorAnswer, "description": "the image is refused: damaged, or too many pixels"},
    502: {"model": ErrorAnswer, "description": "the model server is down"},
    503: {"model": ErrorAnswer, "description": "busy: try again later"},
    504: {"model": ErrorAnswer, "description": "the model server is too slow"},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY["schema"]}}
        },
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
    },
}


def build_gateway(
    score: Score,
    is_ready: Callable[[], Awaitable[bool]],
    engine: str,
    bodies: BodyReader,
    api_key: str | None = None,
    cors_origins: Sequence[str] = (),
    detector: str = SPEC.name,
    cards: Mapping[str, Mapping[str, Any]] | None = None,
) -> ASGIApp:
    """The gateway as an ASGI application.

    Args:
        score: scores one encoded image; raises as the engines do.
        is_ready: for /healthz.
        engine: str. A name for people, shown by /healthz.
        bodies: BodyReader.
        api_key: str or None. If given, /predict asks for it in the header X-API-Key.
        cors_origins: origins whose pages may call the gateway; none unless named.
        detector: str. Who judges, where the rows do not say.
        cards: detector -> the card of its model; None where they are not known here.
    """
    app = FastAPI(
        title="deepfake-tf",
        version=__version__,
        description="Tells photographs from AI-generated images. No image is stored.",
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
    )
    key_header = APIKeyHeader(name=API_KEY_HEADER, auto_error=False)

    @app.post(
        "/predict",
        response_model=ScoreAnswer,
        response_model_exclude_none=True,
        responses=_ERRORS,
        openapi_extra={"requestBody": _REQUEST_BODY},
        summary="Score one image",
    )
    async def predict(
        request: Request,
        explain: Annotated[bool, Query(description="add the heat map")] = False,
        conclude: Annotated[bool, Query(description="read what the file says of itself, and conclude from all")] = True,
        key: str | None = Security(key_header),
    ) -> Response:
        if not is_authorised(key, api_key):
            return _error(401, f"the header {API_KEY_HEADER} must hold this server's API key")
        try:
            async with bodies.read(request) as body:
                encoded = read_upload(body, request.headers.get("content-type", ""))
                outputs = await score(encoded, explain)
                report = await asyncio.to_thread(provenance.inspect, encoded) if conclude else None
        except Exception as error:
            return _error(_status_of(error), str(error))
        row = {"detector": detector, **_first_row(outputs)}
        concluded = _conclusion_of(row, report) if report else {}
        if message := row.pop("error"):
            return _error(_status_of_image(message), message, more=concluded)
        return JSONResponse({**row, **concluded})

    @app.get("/cards", responses={401: _ERRORS[401]}, summary="The model card of each detector, where it is known")
    async def answer_cards(key: str | None = Security(key_header)) -> Response:
        if not is_authorised(key, api_key):
            return _error(401, f"the header {API_KEY_HEADER} must hold this server's API key")
        return JSONResponse(dict(cards or {}))

    @app.get("/healthz", response_model=HealthAnswer, responses={503: {"model": HealthAnswer}}, summary="Readiness")
    async def healthz() -> Response:
        ready = await is_ready()
        status = "ok" if ready else "unavailable"
        return JSONResponse({"status": status, "engine": engine}, 200 if ready else 503)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(describe(app.openapi()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == 404:  # a client of TensorFlow Serving that was given this address
            detail = f"{request.url.path} is not here: this is the upload gateway, whose address ends in /predict"
        return _error(error.status_code, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        return _error(400, problems)

    if cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(cors_origins), allow_methods=["POST"], allow_headers=["*"]
        )
    return app


def build_remote_gateway(
    engine: ModelEngine | ServerEngine | GatewayEngine,
    bodies: BodyReader,
    api_key: str | None = None,
    cors_origins: Sequence[str] = (),
    max_in_flight: int = MAX_IN_FLIGHT,
    cards: Mapping[str, Mapping[str, Any]] | None = None,
) -> ASGIApp:
    """The gateway in front of a server; see `build_gateway`."""
    # Engines block, so each request in flight needs a thread.
    threads = ThreadPoolExecutor(max_in_flight, "engine")
    in_flight = 0

    async def score(encoded: bytes, explain: bool) -> dict[str, np.ndarray]:
        nonlocal in_flight
        if in_flight >= max_in_flight:
            raise Overloaded(f"the gateway is busy with {in_flight} requests: try again later")
        in_flight += 1
        try:
            run = engine.explain if explain else engine.predict
            return await asyncio.get_running_loop().run_in_executor(threads, run, [encoded])
        finally:
            in_flight -= 1

    async def is_ready() -> bool:
        return await asyncio.to_thread(engine.is_ready)

    name = f"TensorFlow Serving at {engine.url}"
    return build_gateway(score, is_ready, name, bodies, api_key, cors_origins, cards=cards)


def is_authorised(key: str | None, api_key: str | None) -> bool:
    """Whether a header holds the key; a header's bytes arrive decoded as Latin-1.

    Compares in constant time: how long it takes tells nothing of the key.
    """
    return not api_key or hmac.compare_digest((key or "").encode("latin-1"), api_key.encode())


def _conclusion_of(row: dict[str, Any], report: provenance.Report) -> dict[str, str]:
    fields = {field.name: row[field.name] for field in dataclasses.fields(Prediction) if field.name in row}
    return conclude_from_all(Prediction(file="", **fields), report).to_row()


def _first_row(outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    row = {}
    for name, output in outputs.items():
        value = output[0]
        if name == "heatmap":
            row[name] = np.round(value.astype(np.float64), _HEATMAP_DECIMALS).tolist()
        elif isinstance(value, bytes):
            row[name] = value.decode("utf-8", "replace")
        else:
            row[name] = value.item()
    return row


def _status_of(error: Exception) -> int:
    if isinstance(error, HttpError):
        return error.status
    if isinstance(error, (Overloaded, ServerBusyError)):
        return 503
    if isinstance(error, TimeoutError):
        return 504
    if isinstance(error, (ConnectionError, ValueError)):  # a refusal is the configuration's fault, not the caller's
        return 502
    raise error


def _status_of_image(message: str) -> int:
    """By the text of the row's `error`, for over TensorFlow Serving there is nothing else to go by."""
    return {ErrorCode.EMPTY: 400, ErrorCode.UNKNOWN: 415}.get(error_code(message), 422)


def _error(status: int, message: str, headers: Any = None, more: Mapping[str, str] | None = None) -> Response:
    body = json.dumps({"error": message, **(more or {})}, ensure_ascii=False)
    return Response(body.encode("utf-8", "replace"), status, headers, "application/json")
