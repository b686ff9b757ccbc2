"""`deepfake-tf serve`: choose the best engine at hand, start it, and end it in order."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from deepfake_tf.engines.detector import LITERT_SUFFIX, engine_class, find_model
from deepfake_tf.engines.server_requests import API_KEY_HEADER, API_KEY_VARIABLE
from deepfake_tf.engines.tensorflow_import import without_keras
from deepfake_tf.engines.tf_serving import MODEL_NAME, RestEngine, connect
from deepfake_tf.server import SAMPLE, tensorflow_serving
from deepfake_tf.server.addresses import reachable
from deepfake_tf.server.gateway import build_remote_gateway
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.signals import interrupted_by_signals
from deepfake_tf.server.slow_clients import http_settings

if TYPE_CHECKING:
    from deepfake_tf.server.served import Served

STABLE = "stable"  # the label whose version answers uploads
ENGINES = ("auto", "tensorflow_model_server", "docker", "local")


@dataclasses.dataclass(frozen=True)
class ServeOptions:
    """What to serve, where, and by which engine.

    Raises:
        ValueError: the engine, the host, a label or a port is none. Echoes what was received.
    """

    model: str | None = None  # a SavedModel, a folder of numbered versions or a .tflite; None: see `find_model`
    engine: str = "auto"  # one of ENGINES; "auto": the first of the others that is at hand
    host: str = "127.0.0.1"  # address to listen on; this one is reached from this machine alone
    rest_port: int = 8501  # of TensorFlow Serving's REST API; 0: a free one, as for the others
    grpc_port: int = 8500  # of its gRPC API, which the local engine does not have
    gateway_port: int = 8080  # of POST /predict
    labels: Sequence[str] = ()  # such as ["stable=1", "canary=2"]; served are these versions and the highest
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
        FileNotFoundError, ValueError: no model there, none that can be read, or no version for a label.
        OSError: a port is in use, or the model server does not start, or it ended by itself.
    """
    # What uvicorn does not catch itself, such as a signal while the model loads, ends this function too.
    with interrupted_by_signals():
        if options.upstream is not None:
            _serve_gateway(options.upstream, options)
            return
        engine, model = _choose_engine(options)
        folders = _choose_versions(model, options)
        if engine == "local":
            _serve_local(folders, options)
        else:
            _serve_with_child(engine, folders, options)


def _best_engine() -> str:
    if tensorflow_serving.has_binary():
        return "tensorflow_model_server"
    return "docker" if tensorflow_serving.has_docker() else "local"


def _choose_engine(options: ServeOptions) -> tuple[str, Path]:
    """The engine, and the SavedModel or `.tflite` for it; a `.tflite` is for the local server alone."""
    engine = _best_engine() if options.engine == "auto" else options.engine
    if engine != "local":
        try:
            return engine, find_model(options.model)
        except FileNotFoundError:
            if options.engine != "auto":
                raise
    return "local", find_model(options.model, "auto")


def _choose_versions(model: Path, options: ServeOptions) -> dict[int, Path]:
    """The folders of the labelled versions and of the highest one."""
    highest = model.resolve()
    if not highest.name.isdigit():
        return {1: highest}
    wanted = {int(highest.name), *options.label_numbers.values()}
    folders = {number: highest.parent / str(number) for number in sorted(wanted)}
    if missing := [str(folder) for folder in folders.values() if not (folder / "saved_model.pb").is_file()]:
        raise FileNotFoundError(f"a label names a version that is not there: no SavedModel in {', '.join(missing)}")
    return folders


def _serve_local(folders: dict[int, Path], options: ServeOptions) -> None:
    # Before TensorFlow is loaded, which takes seconds: a busy port is told at once.
    with (
        closing(_listen(options.host, options.rest_port)) as rest_socket,
        closing(_listen(options.host, options.gateway_port)) as gateway_socket,
    ):
        from deepfake_tf.server.local import ENGINE, build_local_app

        with closing(_load_local(folders, options)) as served:
            _announce(f"{ENGINE}: it answers TensorFlow Serving's REST API, in process, without gRPC", folders)
            _announce_addresses(options.host, _port(rest_socket), None, _port(gateway_socket))
            _run(build_local_app(served, _api_key(), options.cors_origins), [rest_socket, gateway_socket])


def _load_local(folders: dict[int, Path], options: ServeOptions) -> Served[Any]:
    model = next(iter(folders.values()))
    if model.suffix == LITERT_SUFFIX:
        from deepfake_tf.server.served_engine import ServedEngine

        return ServedEngine(MODEL_NAME, engine_class("litert")(model), options.label_numbers)
    with without_keras():
        from deepfake_tf.server.served_model import ServedModel
    return ServedModel(MODEL_NAME, folders, options.label_numbers)


def _serve_with_child(engine: str, folders: dict[int, Path], options: ServeOptions) -> None:
    host = options.host
    if not all(folder.name.isdigit() for folder in folders.values()):
        raise ValueError(
            f"TensorFlow Serving takes a folder of numbered versions, such as deepfake/1. Received: "
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
        base_path = next(iter(folders.values())).parent
        shown_base = f"/models/{MODEL_NAME}" if engine == "docker" else str(base_path)
        tensorflow_serving.write_configuration(config_dir, shown_base, sorted(folders), options.label_numbers, _cores())
        if engine == "docker":
            command = tensorflow_serving.docker_command(config_dir, base_path, host, rest_port, grpc_port)
        else:
            command = tensorflow_serving.binary_command(config_dir, rest_port, grpc_port)
        # Without a label TensorFlow Serving answers by the highest version, a canary included.
        label = STABLE if STABLE in options.label_numbers else None
        with (
            tensorflow_serving.ServerProcess(command, config_dir / "server.log") as child,
            closing(RestEngine(f"http://{reachable(host)}:{rest_port}", label=label, retries=0)) as remote,
        ):
            child.wait_until_available(remote)
            _announce(f"TensorFlow Serving ({engine})", folders)
            _announce_addresses(host, rest_port, grpc_port, _port(gateway_socket))
            _run(build_remote_gateway(remote, BodyReader(), _api_key(), options.cors_origins), [gateway_socket], child)


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


def _run(app: ASGIApp, sockets: list[socket.socket], child: tensorflow_serving.ServerProcess | None = None) -> None:
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
    if child is not None:

        def stop_with_child() -> None:
            child.process.wait()
            server.should_exit = True

        threading.Thread(target=stop_with_child, daemon=True).start()
    server.run(sockets=sockets)
    if child is not None:
        child.check_running()


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


def _announce(engine: str, folders: dict[int, Path]) -> None:
    versions = ", ".join(f"{number} ({folder})" for number, folder in folders.items())
    print(f"engine   {engine}\nmodel    {MODEL_NAME}, versions {versions}", file=sys.stderr)


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
