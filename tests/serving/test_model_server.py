"""The exported model in the real tensorflow_model_server, with our configuration; skipped where it is not installed."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import requests

from deepfake_tf.inference.savedmodel_engine import SavedModelEngine
from deepfake_tf.inference.tf_serving_engine import connect
from deepfake_tf.server import tensorflow_serving
from tests.images import broken_images, encode, photograph
from tests.server.running import ServeProcess

pytestmark = pytest.mark.skipif(
    not tensorflow_serving.has_binary(), reason="tensorflow_model_server is not on the PATH"
)


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
        assert there.keys() == expected.keys()
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
