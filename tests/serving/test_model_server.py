"""The exported model in the real tensorflow_model_server, with our configuration; skipped where it is not installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.engines.saved_model import SavedModelEngine
from deepfake_tf.engines.tf_serving import connect
from deepfake_tf.server import tensorflow_serving
from tests.images import broken_images, encode, photograph
from tests.server.running import START_TIMEOUT_SECONDS, ServeProcess

pytestmark = pytest.mark.skipif(
    not tensorflow_serving.has_binary(), reason="tensorflow_model_server is not on the PATH"
)


SERVING = Path(__file__).parents[2] / "serving"
MODELS = [spec.model_name for spec in DETECTORS.values()]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def running(exported_model):
    with ServeProcess(
        model=str(exported_model.path),
        engine="tensorflow_model_server",
        rest_port=_free_port(),
        grpc_port=_free_port(),
        gateway_port=0,
        labels=["stable=1"],
    ) as process:
        yield process


def _images() -> list[bytes]:
    return [encode(photograph(32, 32, seed), "PNG") for seed in range(8)] + [
        encoded for encoded, _ in broken_images().values()
    ]


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_same_scores_as_in_process(running, exported_model, protocol):
    if protocol == "gRPC":
        pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    here = SavedModelEngine(exported_model.path)
    engine = connect(running.address(protocol), label="stable", timeout_seconds=120)
    for there, expected in (
        (engine.predict(_images()), here.predict(_images())),
        (engine.explain(_images()), here.explain(_images())),
    ):
        assert there.keys() == {*expected, "detector"}
        for name, output in expected.items():
            if output.dtype == np.float32:
                np.testing.assert_allclose(there[name], output, atol=1e-5, err_msg=name)
            else:
                assert there[name].tolist() == output.tolist(), name
    engine.close()


def test_metrics_and_batch_limit(running):
    url = running.address("REST")
    assert ":tensorflow:serving:request_count" in requests.get(f"{url}/monitoring/prometheus/metrics", timeout=30).text
    instances = [{"b64": "AAAA"}] * 33
    answer = requests.post(f"{url}/v1/models/deepfake:predict", json={"instances": instances}, timeout=30)
    assert answer.status_code == 400
    assert "larger than maximum input batch size 32" in answer.json()["error"]


class Deployment:
    """`serving/start-model-server.sh` with the files beside it, on ports and paths of the test.

    Attributes:
        folder: the copies of the configuration files.
        url: of the REST API.
        log: what the server prints.
    """

    def __init__(self, folder: Path, models: Path):
        """
        Args:
            folder: Path. For the configuration.
            models: Path. What stands for the container's /models.
        """
        self.folder = folder
        self.log = folder / "server.log"
        rest_port = _free_port()
        self.url = f"http://127.0.0.1:{rest_port}"
        for file in [*SERVING.glob("*.config"), SERVING / "start-model-server.sh"]:
            text = file.read_text().replace('"/models/', f'"{models}/')
            text = text.replace("--port=8500", f"--port={_free_port()}").replace("port=8501", f"port={rest_port}")
            (folder / file.name).write_text(text.replace("poll_wait_seconds=10", "poll_wait_seconds=1"))
        shutil.copymode(SERVING / "start-model-server.sh", folder / "start-model-server.sh")

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [self.folder / "start-model-server.sh"],
                stdout=log,
                stderr=log,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},  # the tests' own is higher: warm-up is told at 0
            )
        try:
            for name in MODELS:
                self.wait_for(lambda name=name: self.versions(name) == {"1": "AVAILABLE"})
            yield
        finally:
            process.terminate()
            process.wait(30)

    def configure(self, text: str) -> None:
        """Replace models.config in one step, as serving/README.md says."""
        (self.folder / "next").write_text(text)
        (self.folder / "next").replace(self.folder / "models.config")

    def versions(self, model: str = "deepfake") -> dict[str, str]:
        """Number -> state; empty while nobody answers."""
        try:
            status = requests.get(f"{self.url}/v1/models/{model}", timeout=5).json()["model_version_status"]
        except requests.ConnectionError:
            return {}
        return {version["version"]: version["state"] for version in status}

    def labelled(self, label: str) -> str:
        """The version that a label stands for, or the server's error."""
        answer = requests.get(f"{self.url}/v1/models/deepfake/labels/{label}/metadata", timeout=30).json()
        return answer["model_spec"]["version"] if "model_spec" in answer else answer["error"]

    def wait_for(self, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not is_there():
            assert time.monotonic() < deadline, self.log.read_text(errors="replace")[-4000:]
            time.sleep(0.2)


def test_the_shipped_files_roll_a_version_out_and_back(exported_model, tmp_path):
    """The commands of serving/README.md, step by step, with the start script and the files as they ship."""
    models, folder = tmp_path / "models", tmp_path / "config"
    folder.mkdir()
    for name in MODELS:
        for version in ("1", "2"):
            shutil.copytree(exported_model.path, models / name / version)
    server = Deployment(folder, models)
    before, canary = ((folder / name).read_text() for name in ("models.config", "models.canary.config"))
    with server.started():
        assert "Finished reading warmup data" in server.log.read_text(errors="replace")
        assert server.labelled("stable") == "1"
        assert "Unrecognized servable version label" in server.labelled("canary")

        server.configure(canary)
        server.wait_for(lambda: server.versions() == {"1": "AVAILABLE", "2": "AVAILABLE"})
        server.wait_for(lambda: server.labelled("canary") == "2")
        assert server.labelled("stable") == "1"
        for label in ("stable", "canary"):
            engine = connect(server.url, label=label, timeout_seconds=120)
            rows = engine.explain([_images()[0], encode(photograph(320, 240, 0), "PNG")])
            assert rows["detector"].tolist() == [b"cifake", b"photograph"]
            engine.close()

        promoted = canary.replace('"stable" value: 1', '"stable" value: 2')  # of both
        assert promoted != canary
        server.configure(promoted)
        server.wait_for(lambda: server.labelled("stable") == "2")

        server.configure(before)
        server.wait_for(lambda: server.labelled("stable") == "1")
        server.wait_for(lambda: server.versions().get("2", "END") == "END")
        metrics = requests.get(f"{server.url}/monitoring/prometheus/metrics", timeout=30).text
        assert ":tensorflow:serving:batching_session:processed_batch_size_count" in metrics


def test_a_damaged_model_ends_the_start_script(tmp_path):
    folder, models = tmp_path / "config", tmp_path / "models"
    folder.mkdir()
    for name in MODELS:
        (models / name / "1").mkdir(parents=True)
        (models / name / "1" / "saved_model.pb").write_bytes(b"garbage")
    server = Deployment(folder, models)
    command = [server.folder / "start-model-server.sh"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_SECONDS, check=False)
    assert result.returncode != 0
    assert "did not become available" in result.stdout + result.stderr
