"""The plain clients below serving/, run as a reader would run them, against servers of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engines.test_tf_serving import contract_model, grpc_url, in_process  # noqa: F401
from tests.server.running import ServeProcess
from tests.server.saved_models import expected_probability

SERVING = Path(__file__).parents[2] / "serving"


@pytest.fixture(scope="module")
def rest_address(contract_model):  # noqa: F811
    with ServeProcess(model=str(contract_model), engine="local", rest_port=0, gateway_port=0) as process:
        yield process.address("REST")


@pytest.fixture
def photographs(tmp_path) -> list[Path]:
    """Two JPEG files, one of them over the length of a command line in base64."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "small.jpg", tmp_path / "large.jpg"]
    for path, side in zip(paths, (16, 600)):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return paths


def _run(*command) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _confidence(path: Path) -> float:
    probability = expected_probability(path.read_bytes())
    return max(probability, 1 - probability)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_python_clients(request, protocol, photographs):
    if protocol == "rest":
        address = request.getfixturevalue("rest_address")
    else:
        address = request.getfixturevalue("grpc_url").removeprefix("grpc://")
    lines = _run(sys.executable, SERVING / f"client_{protocol}.py", address, *photographs).splitlines()
    assert len(lines) == len(photographs)
    for line, path in zip(lines, photographs):
        name, label, confidence, _ = line.split(" ", 3)
        assert name == str(path)
        assert label in ("FAKE", "REAL")
        assert float(confidence) == pytest.approx(_confidence(path), abs=1e-6)


def test_curl_client(rest_address, photographs):
    for path in photographs:
        answer = json.loads(_run(SERVING / "client_curl.sh", rest_address, path))
        assert answer["predictions"][0]["confidence"] == pytest.approx(_confidence(path), abs=1e-6)
