"""The local server: TensorFlow Serving's REST API and the upload gateway, with the model in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deepfake_tf.engines.server_requests import API_KEY_HEADER
from deepfake_tf.server import gateway
from deepfake_tf.server.predict_json import error_body
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.served import AnyVersion, Served
from deepfake_tf.server.tf_serving_api import TIMEOUT_SECONDS, TfServingApi

ENGINE = "deepfake-tf local server"


def build_local_app(
    model: Served[AnyVersion],
    api_key: str | None = None,
    cors_origins: Sequence[str] = (),
    bodies: BodyReader | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> ASGIApp:
    """Everything the local server answers, as one ASGI application.

    Args:
        model: ServedModel or ServedEngine.
        api_key: str or None. If given, every POST asks for it in the header X-API-Key: beside a guarded
            /predict, an open `:predict` would be a way around it.
        cors_origins: of `build_gateway`.
        bodies: BodyReader. Limits of request bodies.
        timeout_seconds: float. For one request.
    """
    bodies = bodies or BodyReader()

    async def score(encoded: bytes, explain: bool) -> dict[str, np.ndarray]:
        images = np.empty(1, object)
        images[0] = encoded
        version = model.versions[model.labels["stable"]] if "stable" in model.labels else model.latest
        async with asyncio.timeout(timeout_seconds):
            return await model.call(version, "explain" if explain else "serving_default", {"image_bytes": images})

    async def is_ready() -> bool:
        return True  # the versions are loaded before the port is open

    uploads = gateway.build_gateway(score, is_ready, ENGINE, bodies, api_key, cors_origins)
    api = TfServingApi(model, bodies, timeout_seconds)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in gateway.PATHS:
            await uploads(scope, receive, send)
        elif scope["method"] == "POST" and not gateway.is_authorised(_key(scope), api_key):
            message = f"the header {API_KEY_HEADER} must hold this server's API key"
            await Response(error_body(message), 401, media_type="application/json")(scope, receive, send)
        else:
            await api(scope, receive, send)

    return app


def _key(scope: Scope) -> str | None:
    return Request(scope).headers.get(API_KEY_HEADER)
