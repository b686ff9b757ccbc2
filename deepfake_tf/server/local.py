"""The local server: TensorFlow Serving's REST API and the upload gateway, with the models in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.engines.choosing import detector_for, with_detector
from deepfake_tf.engines.server_requests import API_KEY_HEADER
from deepfake_tf.server import STABLE, gateway
from deepfake_tf.server.loading import LoadingModel, Served
from deepfake_tf.server.predict_json import error_body
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.tf_serving_api import TIMEOUT_SECONDS, TfServingApi

ENGINE = "deepfake-tf local server"


def build_local_app(
    *models: Served | LoadingModel,
    api_key: str | None = None,
    cors_origins: Sequence[str] = (),
    bodies: BodyReader | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    cards: Mapping[str, Mapping[str, Any]] | None = None,
) -> ASGIApp:
    """Everything the local server answers, as one ASGI application.

    Args:
        *models: of different names; at least one. An upload goes to the model of the detector that its size calls for.
        api_key: str or None. If given, every POST asks for it in the header X-API-Key: beside a guarded
            /predict, an open `:predict` would be a way around it.
        cors_origins: of `build_gateway`.
        bodies: BodyReader. Limits of request bodies.
        timeout_seconds: float. For one request.
        cards: of `build_gateway`.
    """
    bodies = bodies or BodyReader()

    by_name = {model.name: model for model in models}
    judges = {spec.name: by_name[spec.model_name] for spec in DETECTORS.values() if spec.model_name in by_name}
    judges = judges or {"": models[0]}  # a model of no detector here, under a name of its own

    async def score(encoded: bytes, explain: bool) -> dict[str, np.ndarray]:
        images = np.empty(1, object)
        images[0] = encoded
        detector = next(iter(judges)) if len(judges) == 1 else detector_for(encoded, judges)
        async with asyncio.timeout(timeout_seconds):
            judge = judges[detector]
            model = await judge.wait() if isinstance(judge, LoadingModel) else judge
            version = model.versions[model.labels[STABLE]] if STABLE in model.labels else model.latest
            signature = "explain" if explain else "serving_default"
            return with_detector(await model.call(version, signature, {"image_bytes": images}), detector)

    async def is_ready() -> bool:
        return True  # a model is loaded before the port is open

    uploads = gateway.build_gateway(score, is_ready, ENGINE, bodies, api_key, cors_origins, cards=cards)
    api = TfServingApi(models, bodies, timeout_seconds)

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
