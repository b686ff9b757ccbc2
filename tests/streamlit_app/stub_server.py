"""A model server that answers what a test tells it to, over a socket and without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

ROW = {
    "label": "FAKE",
    "verdict": "likely generated",
    "reason": "",
    "error": "",
    "confidence": 0.93,
    "probability": 0.93,
    "logit": 2.6,
    "in_domain": True,
    "width": 48,
    "height": 40,
    "heatmap": [[0.0, 0.5], [0.5, 1.0]],
}
BAD_FILE = {"label": "INVALID", "verdict": "uncertain", "error": "not an image in a supported format", "width": 0}
BAD_FILE |= {"height": 0, "probability": -1.0, "confidence": 0.0, "in_domain": False, "heatmap": [[0.0, 0.0]] * 2}
UNCERTAIN = {"verdict": "uncertain", "probability": 0.51, "confidence": 0.51}
OUT_OF_DOMAIN = {"verdict": "uncertain", "in_domain": False, "reason": "640 x 427 pixels: the model knows 32"}


@dataclasses.dataclass
class StubServer:
    """An ASGI application.

    Attributes:
        rows: the fields to change in the next answers, one a request; then `ROW` as it is.
        status: of every answer; other than 200 it comes with an error.
        models: the names of those that it has; the page asks for its models before it sends images.
        requests: for how many images a score was asked for.
    """

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    status: int = 200
    models: tuple[str, ...] = ("deepfake",)
    requests: int = 0

    async def __call__(self, scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        status = self.status
        if scope["method"] == "GET" and status == 200:
            is_there = scope["path"].rpartition("/")[2] in self.models
            status = 200 if is_there else 404
            answer = {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]} if is_there else {"error": "no"}
        else:
            self.requests += scope["method"] == "POST"
            row = {**ROW, **(self.rows.pop(0) if self.rows else {})}
            answer = {"outputs": {name: [value] for name, value in row.items()}} if status == 200 else {"error": "no"}
        body = json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
