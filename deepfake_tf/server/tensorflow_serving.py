"""tensorflow_model_server as a child process: from the PATH, or in Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath, PurePosixPath

from deepfake_tf.contract import MAX_BATCH_SIZE
from deepfake_tf.server.batching import MAX_WAITING_BATCHES

BINARY = "tensorflow_model_server"
DOCKER_MODELS = PurePosixPath("/models")  # in the container, by name
IMAGE = "tensorflow/serving:2.20.0"  # never `latest`, which has lagged behind and changed under its users


def has_binary() -> bool:
    return shutil.which(BINARY) is not None


def has_docker() -> bool:
    """Whether a Docker daemon answers and has the image: `serve` does not start with a download of its own."""
    if shutil.which("docker") is None:
        return False
    try:
        command = ["docker", "image", "inspect", IMAGE]
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def check_installed(engine: str) -> None:
    """
    Raises:
        FileNotFoundError: the program that the engine needs is not on the PATH.
    """
    program = "docker" if engine == "docker" else BINARY
    if shutil.which(program) is None:
        raise FileNotFoundError(f"{program} is not on the PATH: install it, or use --engine local, which needs neither")


def write_configuration(
    folder: Path, models: Mapping[str, Mapping[int, PurePath]], labels: Mapping[str, int], batch_threads: int
) -> None:
    """Write models.config, batching.config and monitoring.config; `serving/` has the same with the reasons.

    Args:
        folder: Path. Where to.
        models: name -> version -> its folder, as the server sees it; those of one model stand side by side.
        labels: names of versions, of each model that has the version.
        batch_threads: int. Batches that are computed at once.
    """
    configs = [_model_config(name, folders, labels) for name, folders in models.items()]
    (folder / "models.config").write_text(f"model_config_list {{\n{''.join(configs)}}}\n")
    (folder / "batching.config").write_text(
        f"max_batch_size {{ value: {MAX_BATCH_SIZE} }}\n"
        "batch_timeout_micros { value: 0 }\n"
        f"max_enqueued_batches {{ value: {MAX_WAITING_BATCHES} }}\n"
        f"num_batch_threads {{ value: {batch_threads} }}\n"
    )
    (folder / "monitoring.config").write_text(
        'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'
    )


def _model_config(name: str, folders: Mapping[int, PurePath], labels: Mapping[str, int]) -> str:
    numbers = " ".join(f"versions: {version}" for version in sorted(folders))
    label_lines = [
        f'    version_labels {{ key: "{label}" value: {number} }}\n'
        for label, number in labels_of(folders, labels).items()
    ]
    return (
        "  config {\n"
        f'    name: "{name}"\n'
        f'    base_path: "{base_path(folders)}"\n'
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ specific {{ {numbers} }} }}\n"
        f"{''.join(label_lines)}"
        "  }\n"
    )


def base_path(folders: Mapping[int, PurePath]) -> PurePath:
    """The folder that holds a model's version folders."""
    return next(iter(folders.values())).parent


def labels_of(folders: Collection[int], labels: Mapping[str, int]) -> dict[str, int]:
    """The labels whose version a model has."""
    return {label: number for label, number in labels.items() if number in folders}


def server_flags(config_dir: str, rest_port: int, grpc_port: int) -> list[str]:
    """The flags of tensorflow_model_server; `serving/start-model-server.sh` gives the reason of each."""
    return [
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={config_dir}/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--max_num_load_retries=0",
        "--enable_batching=true",
        f"--batching_parameters_file={config_dir}/batching.config",
        f"--monitoring_config_file={config_dir}/monitoring.config",
        "--rest_api_num_threads=64",
        "--grpc_max_threads=64",
    ]


def binary_command(config_dir: Path, rest_port: int, grpc_port: int) -> list[str]:
    return [BINARY, *server_flags(str(config_dir), rest_port, grpc_port)]


def docker_command(
    config_dir: Path, models: Mapping[str, Mapping[int, Path]], host: str, rest_port: int, grpc_port: int
) -> list[str]:
    """The models and the configuration are mounted read-only, and the user is the caller, not root."""
    mounts = [f"{base_path(folders)}:{DOCKER_MODELS / name}:ro" for name, folders in models.items()]
    return [
        *("docker", "run", "--rm", "--init", "--read-only", "--cap-drop=ALL"),
        *("--user", f"{os.getuid()}:{os.getgid()}"),
        *("--publish", f"{host}:{rest_port}:8501"),
        *("--publish", f"{host}:{grpc_port}:8500"),
        *(part for mount in mounts for part in ("--volume", mount)),
        *("--volume", f"{config_dir}:/config:ro"),
        *("--entrypoint", BINARY),
        IMAGE,
        *server_flags("/config", 8501, 8500),
    ]
