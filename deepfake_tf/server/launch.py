"""`deepfake-tf serve`: choose the best engine at hand, start it, and end it in order."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.engines.finding import engine_class, find_models, is_saved_model
from deepfake_tf.engines.server_requests import API_KEY_HEADER, API_KEY_VARIABLE
from deepfake_tf.engines.tensorflow_import import without_keras
from deepfake_tf.engines.tf_serving import MODEL_NAME, RestEngine, ServerEngine, connect
from deepfake_tf.provenance.content_credentials import check_trust_list
from deepfake_tf.server import SAMPLE, STABLE, tensorflow_serving
from deepfake_tf.server.addresses import reachable
from deepfake_tf.server.background import Child, running, wait_for
from deepfake_tf.server.engines import ENGINES
from deepfake_tf.server.gateway import build_remote_gateway
from deepfake_tf.server.loading import LoadingModel, Served
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.signals import interrupted_by_signals
from deepfake_tf.server.slow_clients import http_settings

Versions = dict[int, Path]  # number -> the folder of a SavedModel; of what runs without TensorFlow 1 -> its file


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """What to serve, where, and by which engine.

    Raises:
        ValueError: the engine, the host, a label or a port is none. Echoes what was received.
    """

    # A SavedModel, a folder of numbered versions or a .tflite; or a folder of such folders, named as the models are.
    # None: DEEPFAKE_TF_MODEL from the environment, else all models that ship.
    model: str | None = None
    engine: str = "auto"  # one of ENGINES; "auto": the first of the others that is at hand
    host: str = "127.0.0.1"  # address to listen on; this one is reached from this machine alone
    rest_port: int = 8501  # of TensorFlow Serving's REST API; 0: a free one, as for the others
    grpc_port: int = 8500  # of its gRPC API, which the local engine does not have
    gateway_port: int = 8080  # of POST /predict
    labels: Sequence[
        str
    ] = ()  # such as ["stable=1", "canary=2"], of each model; served are these versions and the highest
    upstream: str | None = None  # address of a running TensorFlow Serving: only the gateway is started
    upstream_label: str | None = None  # the version to ask it for; None: its highest, a canary included
    cors_origins: Sequence[str] = ()  # origins whose pages may call the gateway

    def __post_init__(self):
        if self.engine not in ENGINES:
            raise ValueError(f"--engine must be one of {', '.join(ENGINES)}. Received: {self.engine!r}")
        for label in self.labels:
            name, _, number = label.partition("=")
            if not name or not number.isdigit():
                raise ValueError(f"a label is NAME=VERSION, such as canary=2. Received: {label!r}")
        if not self.host:
            raise ValueError("--host must be an address of this machine, or 0.0.0.0 for all. Received: ''")
        for port in (self.rest_port, self.grpc_port, self.gateway_port):
            if not 0 <= port < 1 << 16:
                raise ValueError(f"a port is from 0 to 65535. Received: {port}")

    @property
    def label_numbers(self) -> dict[str, int]:
        pairs = (label.split("=") for label in self.labels)
        return {name: int(number) for name, number in pairs}


def serve(options: ServeOptions) -> None:
    """Serve until Ctrl-C or SIGTERM. Call it from the main thread.

    Raises:
        FileNotFoundError, ValueError: no model there, none that can be read, no version for a label, or a trust list
            that cannot be read.
        OSError: a port is in use, or the model server does not start, or it ended by itself.
    """
    # What uvicorn does not catch itself, such as a signal while the model loads, ends this function too.
    with interrupted_by_signals():
        check_trust_list()  # of the gateway, for what files say of themselves
        if options.upstream is not None:
            _serve_gateway(options.upstream, options)
            return
        engine, found = _choose_engine(options)
        models = _choose_versions(found, options.label_numbers)
        if engine == "local":
            _serve_local(models, options)
        else:
            _serve_with_child(engine, models, options)


def _best_engine() -> str:
    if tensorflow_serving.has_binary():
        return "tensorflow_model_server"
    return "docker" if tensorflow_serving.has_docker() else "local"


def _choose_engine(options: ServeOptions) -> tuple[str, dict[str, Path]]:
    """The engine, and model's name -> its SavedModel or, for the local server alone, its light model."""
    engine = _best_engine() if options.engine == "auto" else options.engine
    if engine != "local":
        try:
            return engine, _named(find_models(options.model, "saved_model"), find_models(options.model, "auto"))
        except FileNotFoundError:
            if options.engine != "auto":
                raise
    return "local", _named(find_models(options.model, "auto"), {})


def _named(found: Mapping[str, Path], at_hand: Mapping[str, Path]) -> dict[str, Path]:
    """Detector's name -> path, by the model's name; of those at hand that were not found it says which to make."""
    for detector in sorted(at_hand.keys() - found.keys()):
        name, place = DETECTORS[detector].model_name, at_hand[detector]
        source, output = ("RUN_DIR", "DIR") if name == MODEL_NAME else (place, place)
        print(
            f"left out {name}: it has no SavedModel; make it with: deepfake-tf export {source} --output {output}/1",
            file=sys.stderr,
        )
    return {DETECTORS[detector].model_name: path for detector, path in found.items()}


def _choose_versions(models: Mapping[str, Path], labels: Mapping[str, int]) -> dict[str, Versions]:
    """Of each model the labelled versions and the highest one."""
    chosen = {name: _versions(model, labels) for name, model in models.items()}
    for label, number in labels.items():
        if not any(number in folders for folders in chosen.values()):
            raise FileNotFoundError(
                f"a label names a version that is not there: {label}={number} of {', '.join(map(str, models.values()))}"
            )
    return chosen


def _versions(model: Path, labels: Mapping[str, int]) -> Versions:
    highest = model.absolute()  # a link's own name is the number
    if not highest.name.isdigit() or not is_saved_model(highest):
        return {1: highest}
    folders = {number: highest.parent / str(number) for number in sorted({int(highest.name), *labels.values()})}
    return {number: folder for number, folder in folders.items() if is_saved_model(folder)}


def _serve_local(models: Mapping[str, Versions], options: ServeOptions) -> None:
    # Before TensorFlow is loaded, which takes seconds: a busy port is told at once.
    with (
        closing(_listen(options.host, options.rest_port)) as rest_socket,
        closing(_listen(options.host, options.gateway_port)) as gateway_socket,
        ExitStack() as loaded,
    ):
        from deepfake_tf.server.local import ENGINE, build_local_app

        if any(is_saved_model(folder) for folders in models.values() for folder in folders.values()):
            with without_keras():  # here, in the main thread
                import deepfake_tf.server.served_model  # noqa: F401
        load = lambda name: _load_local(name, models[name], options.label_numbers)
        first, *others = models
        served = loaded.enter_context(closing(load(first)))
        # The port is open as early as with one model; the others are ready a little later.
        loading = [
            loaded.enter_context(closing(LoadingModel(name, models[name], functools.partial(load, name))))
            for name in others
        ]
        _announce(f"{ENGINE}: it answers TensorFlow Serving's REST API, in process, without gRPC", models)
        _announce_addresses(options.host, _port(rest_socket), None, _port(gateway_socket))
        cards = _cards(models, options.label_numbers)
        app = build_local_app(served, *loading, api_key=_api_key(), cors_origins=options.cors_origins, cards=cards)
        _run(app, [rest_socket, gateway_socket], loading=loading)


def _load_local(name: str, folders: Versions, labels: Mapping[str, int]) -> Served:
    labels = tensorflow_serving.labels_of(folders, labels)
    model = next(iter(folders.values()))
    if not is_saved_model(model):
        from deepfake_tf.server.served_engine import ServedEngine

        return ServedEngine(name, engine_class("litert")(model), labels)
    from deepfake_tf.server.served_model import ServedModel

    return ServedModel(name, folders, labels)


def _serve_with_child(engine: str, models: Mapping[str, Versions], options: ServeOptions) -> None:
    host, labels = options.host, options.label_numbers
    for name, folders in models.items():
        if not all(folder.name.isdigit() for folder in folders.values()):
            raise ValueError(
                f"TensorFlow Serving takes a folder of numbered versions, such as {name}/1. Received: "
                f"{next(iter(folders.values()))}. Rename it, or use --engine local."
            )
    # TensorFlow Serving reports a busy port in its log alone and goes on, and takes 0 for "none".
    with closing(_listen(host, options.rest_port)) as rest, closing(_listen(host, options.grpc_port)) as grpc:
        rest_port, grpc_port = _port(rest), _port(grpc)
    tensorflow_serving.check_installed(engine)
    with (
        closing(_listen(host, options.gateway_port)) as gateway_socket,
        tempfile.TemporaryDirectory(prefix="deepfake-tf-serve-") as folder,
    ):
        config_dir = Path(folder)
        config_dir.chmod(0o755)  # the container's user reads it
        if engine == "docker":
            seen = {
                name: {number: tensorflow_serving.DOCKER_MODELS / name / str(number) for number in folders}
                for name, folders in models.items()
            }
            tensorflow_serving.write_configuration(config_dir, seen, labels, _cores())
            command = tensorflow_serving.docker_command(config_dir, models, host, rest_port, grpc_port)
        else:
            tensorflow_serving.write_configuration(config_dir, models, labels, _cores())
            command = tensorflow_serving.binary_command(config_dir, rest_port, grpc_port)
        with (
            # The command line silences TensorFlow in this process; the child's log is all that explains its end.
            running(command, {"TF_CPP_MIN_LOG_LEVEL": "0"}) as child,
            closing(_client(f"http://{reachable(host)}:{rest_port}", models, labels)) as remote,
        ):
            wait_for(remote.is_ready, child, tensorflow_serving.BINARY)
            _announce(f"TensorFlow Serving ({engine})", models)
            _announce_addresses(host, rest_port, grpc_port, _port(gateway_socket))
            cards = _cards(models, labels)
            app = build_remote_gateway(remote, BodyReader(), _api_key(), options.cors_origins, cards=cards)
            _run(app, [gateway_socket], child)


def _client(url: str, models: Mapping[str, Versions], labels: Mapping[str, int]) -> ServerEngine:
    """For uploads: by the label `stable`, where a model has it, for without one its highest version answers."""
    engines = {}
    for spec in DETECTORS.values():
        if folders := models.get(spec.model_name):
            label = STABLE if STABLE in tensorflow_serving.labels_of(folders, labels) else None
            engines[spec.name] = RestEngine(url, spec.model_name, label=label, retries=0)
    return ServerEngine(engines)


def _cards(models: Mapping[str, Versions], labels: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Detector -> the card of the version that answers uploads: `stable`, else the highest."""
    cards = {}
    for spec in DETECTORS.values():
        if folders := models.get(spec.model_name):
            number = tensorflow_serving.labels_of(folders, labels).get(STABLE, max(folders))
            cards[spec.name] = read_card(folders[number])
    return {name: card for name, card in cards.items() if card}


def _serve_gateway(upstream: str, options: ServeOptions) -> None:
    with (
        closing(connect(upstream, label=options.upstream_label, retries=0)) as remote,
        closing(_listen(options.host, options.gateway_port)) as listening,
    ):
        print(f"engine   TensorFlow Serving at {remote.url} (this is the upload gateway alone)", file=sys.stderr)
        _announce_gateway(options.host, _port(listening))
        _run(build_remote_gateway(remote, BodyReader(), _api_key(), options.cors_origins), [listening])


def _api_key() -> str | None:
    return os.environ.get(API_KEY_VARIABLE) or None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    app: ASGIApp,
    sockets: list[socket.socket],
    child: Child | None = None,
    loading: Sequence[LoadingModel] = (),
) -> None:
    """Until a signal comes, the child ends, or a model cannot be loaded."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=10,
        **http_settings(),
    )
    server = uvicorn.Server(config)

    def stop() -> None:
        server.should_exit = True

    for model in loading:
        model.call_if_it_fails(stop)
    if child is not None:

        def stop_with_child() -> None:
            child.process.wait()
            stop()

        threading.Thread(target=stop_with_child, daemon=True).start()
    server.run(sockets=sockets)
    if child is not None:
        child.check_running(tensorflow_serving.BINARY)
    for model in loading:
        model.check()


def _listen(host: str, port: int) -> socket.socket:
    """
    Raises:
        OSError: the port is in use, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY: else an answer's body waits 40 ms for a delayed ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}. Choose another port.") from error
    return listening


def _port(listening: socket.socket) -> int:
    return listening.getsockname()[1]


def _announce(engine: str, models: Mapping[str, Versions]) -> None:
    print(f"engine   {engine}", file=sys.stderr)
    for name, folders in models.items():
        versions = ", ".join(f"{number} ({folder})" for number, folder in folders.items())
        print(f"model    {name}, versions {versions}", file=sys.stderr)


def _announce_addresses(host: str, rest_port: int, grpc_port: int | None, gateway_port: int) -> None:
    """Every URL as `--url` takes it."""
    print(f"REST     http://{reachable(host)}:{rest_port}", file=sys.stderr)
    if grpc_port is not None:
        print(f"gRPC     grpc://{reachable(host)}:{grpc_port}", file=sys.stderr)
    _announce_gateway(host, gateway_port)


def _announce_gateway(host: str, gateway_port: int) -> None:
    address = f"http://{reachable(host)}:{gateway_port}/predict"
    key = f' -H "{API_KEY_HEADER}: ${API_KEY_VARIABLE}"' if _api_key() else ""
    # A photograph that is there, so that the line works as it stands; relative where that is shorter.
    photograph = min(str(SAMPLE), os.path.relpath(SAMPLE), key=len)
    print(f"gateway  {address} (described at /docs there)", file=sys.stderr)
    print(f"try      curl -F {shlex.quote(f'file=@{photograph}')}{key} {address}", file=sys.stderr, flush=True)
