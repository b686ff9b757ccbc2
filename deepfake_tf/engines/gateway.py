"""The engine that asks an upload gateway: POST /predict, one image a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import requests

from deepfake_tf.contract import ERROR_EMPTY, LABEL_INVALID, VERDICT_UNCERTAIN
from deepfake_tf.engines.server_requests import (
    CONNECT_TIMEOUT_SECONDS,
    RETRIES,
    TIMEOUT_SECONDS,
    array,
    ask,
    check_not_empty,
    open_session,
    with_retries,
)

PATH = "/predict"
_AT_ONCE = 8  # requests under way: the model server joins them into one batch
_IMAGE_ERRORS = (400, 413, 415, 422)  # what the gateway says of an image, as opposed to the request
_NO_SCORE = {
    "label": LABEL_INVALID,
    "verdict": VERDICT_UNCERTAIN,
    "reason": "",
    "confidence": 0.0,
    "probability": -1.0,
    "logit": 0.0,
    "in_domain": False,
    "width": 0,
    "height": 0,
}
_LATER_FIELDS = {"detector": ""}  # which gateways of earlier versions do not answer


class GatewayEngine:
    """An upload gateway, such as http://host:8080/predict. May be used from several threads.

    It has the methods of `SavedModelEngine`. The gateway says of a refused image why, and not its size: width and
    height are 0 there.
    """

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS, retries: int = RETRIES):
        """
        Args:
            url: str. With the path /predict.
            timeout_seconds: float. For one request.
            retries: int. As for `connect`.
        """
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._session = open_session()
        self._threads = ThreadPoolExecutor(_AT_ONCE, "gateway")

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """See `ModelEngine.predict`."""
        return self._score(encoded, explain=False)

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """The same, and `heatmap`: object [N] of float32 [h, w], 0..1, whose size is the detector's."""
        return self._score(encoded, explain=True)

    def is_ready(self) -> bool:
        """Whether the gateway and the engine behind it answer."""
        address = self.url.removesuffix(PATH) + "/healthz"
        try:
            return self._session.get(address, timeout=CONNECT_TIMEOUT_SECONDS).ok
        except requests.RequestException:
            return False

    def cards(self) -> dict[str, dict[str, Any]]:
        """Detector -> the card of the model that answers; empty where the gateway does not tell.

        Raises:
            ConnectionError, TimeoutError: as `predict`.
        """
        address = self.url.removesuffix(PATH) + "/cards"
        answer, answered, _ = ask(self._session, "GET", address, self.url, self._timeout_seconds)
        return answered if answer.ok else {}

    def close(self) -> None:
        self._threads.shutdown()
        self._session.close()

    def _score(self, encoded: list[bytes], explain: bool) -> dict[str, np.ndarray]:
        check_not_empty(encoded)
        score = lambda image: with_retries(lambda: self._post(image, explain), self._retries)
        rows = [{**_LATER_FIELDS, **row} for row in self._threads.map(score, encoded)]
        outputs = {name: array(name, [row[name] for row in rows]) for name in (*_NO_SCORE, *_LATER_FIELDS, "error")}
        if explain:
            outputs["heatmap"] = _heatmaps([row.get("heatmap") for row in rows])
        return outputs

    def _post(self, image: bytes, explain: bool) -> dict[str, Any]:
        answer, answered, message = ask(
            self._session,
            "POST",
            self.url,
            self.url,
            self._timeout_seconds,
            data=image,
            # Who has the file concludes from it: what is sent may be without its metadata.
            params={"conclude": "false", **({"explain": "true"} if explain else {})},
            headers={"Content-Type": "application/octet-stream"},
        )
        if answer.status_code in _IMAGE_ERRORS and message:
            # Of an upload without a body the gateway says how to send one.
            return {**_NO_SCORE, "error": message if image else ERROR_EMPTY}
        if 400 <= answer.status_code < 500:
            raise ValueError(f"{self.url} refused the request ({answer.status_code}): {message}")
        if not answer.ok or not _NO_SCORE.keys() <= answered.keys():
            raise ConnectionError(
                f"{self.url} does not answer like the upload gateway ({answer.status_code}): {message}"
            )
        return {**answered, "error": ""}


def _heatmaps(maps: list[Any]) -> np.ndarray:
    """object [N] of float32 [h, w], for each detector has a size of its own; black where there is no map."""
    shape = next((np.shape(values) for values in maps if values is not None), (1, 1))
    heatmaps = np.empty(len(maps), object)
    for index, values in enumerate(maps):
        heatmaps[index] = np.zeros(shape, np.float32) if values is None else np.asarray(values, np.float32)
    return heatmaps
