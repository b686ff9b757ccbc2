"""The engines that ask a server: TensorFlow Serving's REST API, and its gRPC API.

Both have the methods of `SavedModelEngine`, so that a `Detector` cannot tell them apart. This module loads
neither TensorFlow nor gRPC until a gRPC engine is made.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
from typing import TYPE_CHECKING, Any

import numpy as np
import requests

from deepfake_tf.engines.server_requests import (
    CONNECT_TIMEOUT_SECONDS,
    RETRIES,
    TIMEOUT_SECONDS,
    ServerBusyError,
    array,
    in_batches,
    no_server,
    open_session,
    post,
    too_slow,
    with_retries,
)

if TYPE_CHECKING:
    from deepfake_tf.engines.gateway import GatewayEngine

MODEL_NAME = "deepfake"
MAX_MESSAGE_BYTES = 256 * 2**20  # gRPC; its default of 4 MiB refuses an ordinary photograph's batch


def connect(
    url: str,
    model_name: str = MODEL_NAME,
    version: int | None = None,
    label: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    retries: int = RETRIES,
) -> RestEngine | GrpcEngine | GatewayEngine:
    """An engine for a server's address.

    Args:
        url: "http://host:8501", "https://host" or "grpc://host:8500"; or that of an upload gateway,
            "http://host:8080/predict".
        model_name: the model's name on the server.
        version: int. That version; None: the highest that is loaded.
        label: str. The version with that label, such as "canary"; not together with `version`.
        timeout_seconds: float. For one request.
        retries: int. How often a request is sent again when the server is busy or the connection fails.

    Raises:
        ValueError: the URL is not of these forms, both a version and a label are given, or either to a gateway,
            which has been told which version to ask for.
        ImportError: a grpc:// URL, without the packages of the extra `grpc`.
    """
    if version is not None and label is not None:
        raise ValueError(f"Give a version or a label, not both. Received: version={version}, label={label!r}")
    parts = urllib.parse.urlsplit(url)
    is_gateway = parts.scheme in ("http", "https") and parts.path.rstrip("/").endswith("/predict")
    has_path = bool(parts.path.strip("/")) and not is_gateway
    if parts.scheme not in ("http", "https", "grpc") or not parts.hostname or has_path or parts.query:
        raise ValueError(
            "A server's URL is http://host:8501, https://host or grpc://host:8500; a gateway's is "
            f"http://host:8080/predict. Received: {url!r}"
        )
    if is_gateway:
        from deepfake_tf.engines.gateway import GatewayEngine

        if version is not None or label is not None:
            raise ValueError(f"{url} is an upload gateway, which answers by the version that it was started with")
        return GatewayEngine(url.rstrip("/"), timeout_seconds, retries)
    engine = GrpcEngine if parts.scheme == "grpc" else RestEngine
    return engine(url.rstrip("/"), model_name, version, label, timeout_seconds, retries)


class RestEngine:
    """TensorFlow Serving over REST. May be used from several threads."""

    def __init__(
        self,
        url: str,
        model_name: str = MODEL_NAME,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
    ):
        """See `connect`."""
        self.url = url
        self._model = f"{url}/v1/models/{urllib.parse.quote(model_name, safe='')}"
        if version is not None:
            self._model += f"/versions/{version}"
        if label is not None:
            self._model += f"/labels/{urllib.parse.quote(label, safe='')}"
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._session = open_session()

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """N encoded images -> the outputs of `serving_default`, an array [N] each; strings are bytes.

        Raises:
            ConnectionError: no server there, or it went away. Says what to start.
            ServerBusyError: it refused the request as often as it was sent.
            TimeoutError: it did not answer in time.
            ValueError: it refused the request: no such model, version, label or signature.
        """
        return in_batches("serving_default", encoded, self._request)

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        return in_batches("explain", encoded, self._request)

    def is_ready(self) -> bool:
        """Whether the server has a version of the model available."""
        try:
            answer = self._session.get(self._model, timeout=CONNECT_TIMEOUT_SECONDS)
            states = answer.json()["model_version_status"]
            return answer.ok and any(state["state"] == "AVAILABLE" for state in states)
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return False

    def close(self) -> None:
        self._session.close()

    def _request(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        images = [{"b64": base64.b64encode(image).decode("ascii")} for image in encoded]
        body = json.dumps({"signature_name": signature, "inputs": {"image_bytes": images}})
        outputs = with_retries(lambda: self._post(body), self._retries)
        return {name: array(name, values) for name, values in outputs.items()}

    def _post(self, body: str) -> dict[str, Any]:
        answer, answered, message = post(
            self._session,
            f"{self._model}:predict",
            self.url,
            self._timeout_seconds,
            data=body,
            headers={"Content-Type": "application/json"},
        )
        if 400 <= answer.status_code < 500:
            raise ValueError(f"{self.url} refused the request ({answer.status_code}): {message}")
        if not answer.ok or not isinstance(answered.get("outputs"), dict):
            raise ConnectionError(
                f"{self.url} does not answer like TensorFlow Serving with this model ({answer.status_code}): {message}"
            )
        return answered["outputs"]


class GrpcEngine:
    """TensorFlow Serving over gRPC. May be used from several threads."""

    def __init__(
        self,
        url: str,
        model_name: str = MODEL_NAME,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
    ):
        """See `connect`."""
        try:
            import grpc
            from tensorflow_serving.apis import (
                get_model_status_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            raise ImportError(
                f"{url}: gRPC needs more packages. Install them with: pip install 'deepfake-tf[grpc]'; "
                f"or use the server's REST address, http://host:8501"
            ) from error
        self.url = url
        self._model_name, self._version, self._label = model_name, version, label
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._grpc = grpc
        self._predict_request = predict_pb2.PredictRequest
        self._status_request = get_model_status_pb2.GetModelStatusRequest
        self._channel = grpc.insecure_channel(
            urllib.parse.urlsplit(url).netloc,
            options=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ],
        )
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """See `RestEngine.predict`."""
        return in_batches("serving_default", encoded, self._request)

    def explain(self, encoded: list[bytes]) -> dict[str, np.ndarray]:
        """See `RestEngine.explain`."""
        return in_batches("explain", encoded, self._request)

    def is_ready(self) -> bool:
        """See `RestEngine.is_ready`."""
        request = self._status_request()
        self._fill_model_spec(request.model_spec)
        try:
            states = self._models.GetModelStatus(request, timeout=CONNECT_TIMEOUT_SECONDS).model_version_status
        except self._grpc.RpcError:
            return False
        return any(state.state == state.AVAILABLE for state in states)

    def close(self) -> None:
        self._channel.close()

    def _fill_model_spec(self, model_spec: Any) -> None:
        model_spec.name = self._model_name
        if self._version is not None:
            model_spec.version.value = self._version
        if self._label is not None:
            model_spec.version_label = self._label

    def _request(self, signature: str, encoded: list[bytes]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        request = self._predict_request()
        self._fill_model_spec(request.model_spec)
        request.model_spec.signature_name = signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(encoded, tf.string))
        answer = with_retries(lambda: self._call(request), self._retries)
        return {name: tf.make_ndarray(output) for name, output in answer.outputs.items()}

    def _call(self, request: Any) -> Any:
        try:
            return self._predictions.Predict(request, timeout=self._timeout_seconds)
        except self._grpc.RpcError as error:
            code, details = error.code(), error.details()
            # So the server says that its batching queue is full, and gRPC that nobody answers: the same code.
            if code == self._grpc.StatusCode.UNAVAILABLE and "batch scheduling queue" in details:
                raise ServerBusyError(f"{self.url} is busy: {details}") from error
            if code == self._grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(no_server(self.url)) from error
            if code == self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(too_slow(self.url, self._timeout_seconds)) from error
            # Not the same code for a message that is too large, which no retry makes smaller.
            if code == self._grpc.StatusCode.RESOURCE_EXHAUSTED and "Threadpool" in details:
                raise ServerBusyError(f"{self.url} is busy: {details}") from error
            raise ValueError(f"{self.url} refused the request ({code.name}): {details}") from error
