"""The engines that ask a server: for one model by TensorFlow Serving's REST or gRPC API, or for all of its models.

All have the methods of `SavedModelEngine`, so that a `Detector` cannot tell them apart. This module loads
neither TensorFlow nor gRPC until a gRPC engine is made.
"""

from __future__ import annotations

import abc
import base64
import functools
import importlib.util
import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import requests

from deepfake_tf.contract import Rows
from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.engines.choosing import ChoosingEngine
from deepfake_tf.engines.server_requests import (
    CONNECT_TIMEOUT_SECONDS,
    RETRIES,
    TIMEOUT_SECONDS,
    ServerBusyError,
    array,
    ask,
    check_not_empty,
    in_batches,
    no_server,
    open_session,
    too_slow,
    with_retries,
)
from deepfake_tf.engines.tensorflow_messages import without_node_names

if TYPE_CHECKING:
    from deepfake_tf.engines.gateway import GatewayEngine

MODEL_NAME = "deepfake"
_NAMES = {spec.name: spec.model_name for spec in DETECTORS.values()}  # detector -> its model's name on a server
_STATES_TO_COME = ("START", "LOADING", "AVAILABLE")
_STATUS_METHOD = "/tensorflow.serving.ModelService/GetModelStatus"
MAX_MESSAGE_BYTES = 256 * 2**20  # gRPC; its default of 4 MiB refuses an ordinary photograph's batch


def connect(
    url: str,
    model_name: str | None = None,
    version: int | None = None,
    label: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    retries: int = RETRIES,
) -> ModelEngine | ServerEngine | GatewayEngine:
    """An engine for a server's address.

    Args:
        url: "http://host:8501", "https://host" or "grpc://host:8500"; or that of an upload gateway,
            "http://host:8080/predict".
        model_name: that model alone, whatever its name; None: the models of all detectors that the server has, each
            for the images of its sizes.
        version: int. That version of each model; None: the highest that is loaded.
        label: str. The version with that label, such as "canary", of each model; not together with `version`.
        timeout_seconds: float. For one request.
        retries: int. How often a request is sent again when the server is busy or the connection fails.

    Raises:
        ValueError: the URL is not of these forms, both a version and a label are given, or either to a gateway,
            which has been told which version to ask for.
        ImportError: a grpc:// URL, without the packages of the extra `grpc`.
    """
    if version is not None and label is not None:
        raise ValueError(f"Give a version or a label, not both. Received: version={version}, label={label!r}")
    parts = _split_url(url)
    is_gateway = parts.scheme in ("http", "https") and parts.path.rstrip("/").endswith("/predict")
    has_path = bool(parts.path.strip("/")) and not is_gateway
    if parts.scheme not in ("http", "https", "grpc") or not parts.hostname or has_path or parts.query:
        raise ValueError(_wrong_url(url))
    if is_gateway:
        from deepfake_tf.engines.gateway import GatewayEngine

        if version is not None or label is not None:
            raise ValueError(f"{url} is an upload gateway, which answers by the version that it was started with")
        return GatewayEngine(url.rstrip("/"), timeout_seconds, retries)
    engine = GrpcEngine if parts.scheme == "grpc" else RestEngine
    open_model = lambda name: engine(url.rstrip("/"), name, version, label, timeout_seconds, retries)
    if model_name is not None:
        return open_model(model_name)
    return ServerEngine({detector: open_model(name) for detector, name in _NAMES.items()})


def _split_url(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # which is read, and checked, only when asked for
    except ValueError as error:
        raise ValueError(_wrong_url(url)) from error
    return parts


def _wrong_url(url: str) -> str:
    return (
        "A server's URL is http://host:8501, https://host or grpc://host:8500; a gateway's is "
        f"http://host:8080/predict. Received: {url!r}"
    )


class ModelEngine(abc.ABC):
    """One model of TensorFlow Serving. May be used from several threads."""

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
        self._model_name, self._version, self._label = model_name, version, label
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._open()

    def predict(self, encoded: list[bytes]) -> Rows:
        """N encoded images -> the outputs of `serving_default`, an array [N] each; strings are bytes.

        Raises:
            ConnectionError: no server there, or it went away. Says what to start.
            ServerBusyError: it refused the request as often as it was sent.
            TimeoutError: it did not answer in time.
            ValueError: it refused the request: no such model, version, label or signature.
        """
        return in_batches("serving_default", encoded, self._request)

    def explain(self, encoded: list[bytes]) -> Rows:
        """The same, and `heatmap` float32 [N, h, w], 0..1."""
        return in_batches("explain", encoded, self._request)

    def has_model(self) -> bool | None:
        """Whether the server has the model, in whatever version; None where it does not let that be asked.

        Raises:
            ConnectionError, ServerBusyError, TimeoutError: see `predict`.
        """
        return with_retries(self._ask_status, self._retries)

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Whether the server has a version of the model available."""

    @abc.abstractmethod
    def close(self) -> None: ...

    @abc.abstractmethod
    def _open(self) -> None:
        """Prepare the connection."""

    @abc.abstractmethod
    def _ask_status(self) -> bool | None:
        """`has_model`, once."""

    @abc.abstractmethod
    def _request(self, signature: str, encoded: list[bytes]) -> Rows:
        """What a signature answers to one request's images."""


class RestEngine(ModelEngine):
    """By REST."""

    def _open(self) -> None:
        self._status = self._model = f"{self.url}/v1/models/{urllib.parse.quote(self._model_name, safe='')}"
        if self._version is not None:
            self._model += f"/versions/{self._version}"
        if self._label is not None:
            self._model += f"/labels/{urllib.parse.quote(self._label, safe='')}"
        self._session = open_session()

    def is_ready(self) -> bool:
        try:
            answer = self._session.get(self._model, timeout=CONNECT_TIMEOUT_SECONDS)
            states = answer.json()["model_version_status"]
            return answer.ok and any(state["state"] == "AVAILABLE" for state in states)
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return False

    def close(self) -> None:
        self._session.close()

    def _ask_status(self) -> bool | None:
        answer, answered, message = ask(self._session, "GET", self._status, self.url, self._timeout_seconds)
        if 400 <= answer.status_code < 500:
            return False if answer.status_code == 404 else None
        try:
            return any(version["state"] in _STATES_TO_COME for version in answered["model_version_status"])
        except (KeyError, TypeError) as error:
            raise ConnectionError(self._not_serving(answer.status_code, message)) from error

    def _not_serving(self, status: int, message: str) -> str:
        return f"{self.url} does not answer like TensorFlow Serving with this model ({status}): {message}"

    def _request(self, signature: str, encoded: list[bytes]) -> Rows:
        images = [{"b64": base64.b64encode(image).decode("ascii")} for image in encoded]
        body = json.dumps({"signature_name": signature, "inputs": {"image_bytes": images}})
        outputs = with_retries(lambda: self._post(body), self._retries)
        return {name: array(name, values) for name, values in outputs.items()}

    def _post(self, body: str) -> dict[str, Any]:
        answer, answered, message = ask(
            self._session,
            "POST",
            f"{self._model}:predict",
            self.url,
            self._timeout_seconds,
            data=body,
            headers={"Content-Type": "application/json"},
        )
        if 400 <= answer.status_code < 500:
            raise ValueError(f"{self.url} refused the request ({answer.status_code}): {message}")
        if not answer.ok or not isinstance(answered.get("outputs"), dict):
            raise ConnectionError(self._not_serving(answer.status_code, message))
        return answered["outputs"]


class GrpcEngine(ModelEngine):
    """By gRPC."""

    def _open(self) -> None:
        try:
            import grpc

            has_messages = importlib.util.find_spec("tensorflow_serving.apis") is not None
        except ImportError:
            has_messages = False
        if not has_messages:
            raise ImportError(
                f"{self.url}: gRPC needs more packages. Install them with: pip install 'deepfake-tf[grpc]'; "
                f"or use the server's REST address, http://host:8501"
            )
        self._grpc = grpc
        self._is_found = False
        self._channel = grpc.insecure_channel(
            urllib.parse.urlsplit(self.url).netloc,
            options=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.min_reconnect_backoff_ms", round(1000 * CONNECT_TIMEOUT_SECONDS)),  # limits one attempt, too
            ],
        )

    def is_ready(self) -> bool:
        try:
            return "AVAILABLE" in self._states(self._fill_model_spec, CONNECT_TIMEOUT_SECONDS)
        except (ConnectionError, TimeoutError, self._grpc.RpcError):
            return False

    def close(self) -> None:
        self._channel.close()

    def _ask_status(self) -> bool | None:
        try:
            return not self._states(self._fill_name, self._timeout_seconds).isdisjoint(_STATES_TO_COME)
        except self._grpc.RpcError as error:
            if error.code() == self._grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(no_server(self.url)) from error
            if error.code() == self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(too_slow(self.url, self._timeout_seconds)) from error
            return False if error.code() == self._grpc.StatusCode.NOT_FOUND else None

    def _states(self, fill: Callable[[Any], None], timeout_seconds: float) -> set[str]:
        """The states of the versions that `fill` asks for."""
        self._find_server()
        from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

        request = get_model_status_pb2.GetModelStatusRequest()
        fill(request.model_spec)
        models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        versions = models.GetModelStatus(request, timeout=timeout_seconds).model_version_status
        return {version.State.Name(version.state) for version in versions}

    def _fill_name(self, model_spec: Any) -> None:
        model_spec.name = self._model_name

    def _fill_model_spec(self, model_spec: Any) -> None:
        self._fill_name(model_spec)
        if self._version is not None:
            model_spec.version.value = self._version
        if self._label is not None:
            model_spec.version_label = self._label

    def _request(self, signature: str, encoded: list[bytes]) -> Rows:
        with_retries(self._find_server, self._retries)
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        request = predict_pb2.PredictRequest()
        self._fill_model_spec(request.model_spec)
        request.model_spec.signature_name = signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(encoded, tf.string))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        answer = with_retries(lambda: self._call(stub, request), self._retries)
        return {name: tf.make_ndarray(output) for name, output in answer.outputs.items()}

    def _find_server(self) -> None:
        """Ask for anything, in bytes: the messages' own package loads TensorFlow, which takes seconds.

        Raises:
            ConnectionError, TimeoutError: nobody is there, or does not say so.
        """
        if self._is_found:
            return
        try:
            self._channel.unary_unary(_STATUS_METHOD)(b"", timeout=2 * CONNECT_TIMEOUT_SECONDS)
        except self._grpc.RpcError as error:
            if error.code() == self._grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(no_server(self.url)) from error
            if error.code() == self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(too_slow(self.url, 2 * CONNECT_TIMEOUT_SECONDS)) from error
        self._is_found = True  # a refusal is an answer

    def _call(self, stub: Any, request: Any) -> Any:
        try:
            return stub.Predict(request, timeout=self._timeout_seconds)
        except self._grpc.RpcError as error:
            code, details = error.code(), without_node_names(error.details())
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


class ServerEngine:
    """The models of all detectors that a server has: each image goes to the one that its size calls for.

    Which they are the server is asked once, before the first images go to it. Where it has none of them, or does not
    let that be asked, the first of them is asked for, and its answer says what is wrong.

    May be used from several threads.
    """

    def __init__(self, engines: Mapping[str, ModelEngine]):
        """
        Args:
            engines: detector's name -> the engine for its model, all of one server. Not empty.
        """
        self._engines = dict(engines)
        self._found: dict[str, ModelEngine] | None = None
        self.url = next(iter(self._engines.values())).url

    def predict(self, encoded: list[bytes]) -> Rows:
        """See `ModelEngine.predict`; `detector` says whose model judged."""
        return self._run(encoded, "predict")

    def explain(self, encoded: list[bytes]) -> Rows:
        """The same, and `heatmap`: float32 [N, h, w], 0..1; of several models object [N] of float32 [h, w]."""
        return self._run(encoded, "explain")

    def is_ready(self) -> bool:
        """Whether the server has a version of one of the models available."""
        return any(engine.is_ready() for engine in self._engines.values())

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()

    def _run(self, encoded: list[bytes], method: str) -> Rows:
        check_not_empty(encoded)
        engines = self._found or self._find()
        choosing = ChoosingEngine({name: functools.partial(engines.__getitem__, name) for name in engines})
        return getattr(choosing, method)(encoded)

    def _find(self) -> dict[str, ModelEngine]:
        answers = {name: engine.has_model() for name, engine in self._engines.items()}
        found = {name: engine for name, engine in self._engines.items() if answers[name]}
        if found and None not in answers.values():
            self._found = found
        return found or dict([next(iter(self._engines.items()))])
