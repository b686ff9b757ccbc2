"""The local server with the light engine in place of a SavedModel, over a socket."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest

from deepfake_tf.contract import MAX_BATCH_SIZE
from deepfake_tf.engines.litert import LiteRTEngine
from deepfake_tf.engines.tf_serving import MODEL_NAME, connect
from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.served_engine import ServedEngine
from deepfake_tf.shipped import shipped_folder
from tests.images import encode, photograph
from tests.server.running import application, ask

IMAGES = [encode(photograph(32, 32, seed), "PNG") for seed in range(3)]
PREDICT = f"/v1/models/{MODEL_NAME}:predict"


@pytest.fixture(scope="module")
def engine():
    return LiteRTEngine(shipped_folder() / "deepfake")


@pytest.fixture(scope="module")
def port(engine):
    with (
        contextlib.closing(ServedEngine(MODEL_NAME, engine, {"stable": 1})) as served,
        application(build_local_app(served)) as port,
    ):
        yield port


@pytest.mark.parametrize("path", ["", "/predict"])
@pytest.mark.parametrize("method", ["predict", "explain"])
def test_rows_are_those_of_the_engine(port, engine, path, method):
    images = [*IMAGES, b"no image"]
    with contextlib.closing(connect(f"http://127.0.0.1:{port}{path}")) as client:
        answered = getattr(client, method)(images)
    expected = getattr(engine, method)(images)
    assert answered.keys() == {*expected, "detector"}
    assert answered["detector"].tolist() == [*[b"cifake"] * len(IMAGES), b""]
    for name, values in expected.items():
        if values.dtype == object:
            assert list(answered[name]) == list(values)
        elif name not in ("width", "height"):  # a gateway does not say the size of what is no image
            np.testing.assert_allclose(np.stack(list(answered[name])), values, atol=1e-4)


def test_status_and_labels(port):
    for which in ("", "/versions/1", "/labels/stable"):
        with contextlib.closing(connect(f"http://127.0.0.1:{port}")) as client:
            assert client.is_ready()
        status, _, _ = ask(port, "GET", f"/v1/models/{MODEL_NAME}{which}")
        assert status == 200
    assert ask(port, "GET", f"/v1/models/{MODEL_NAME}/versions/2")[0] == 404


def test_metadata_describes_what_is_answered(port, engine):
    answer = json.loads(ask(port, "GET", f"/v1/models/{MODEL_NAME}/metadata")[2])
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures.keys() == {"serving_default", "explain"}
    assert signatures["explain"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    heatmap = signatures["explain"]["outputs"]["heatmap"]
    assert heatmap["dtype"] == "DT_FLOAT"
    sizes = [int(dimension["size"]) for dimension in heatmap["tensor_shape"]["dim"]]
    assert sizes == [-1, *engine.explain(IMAGES[:1])["heatmap"].shape[1:]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": {"image_bytes": {"b64": "AAAA"}}}, "must be a list of at least one image. Received: shape []"),
        ({"inputs": {"image_bytes": []}}, "must be a list of at least one image. Received: shape [0]"),
        ({"inputs": {"image_bytes": [["a"]]}}, "Received: shape [1, 1]"),
        ({"signature_name": "from_pixels", "inputs": {"pixels": [0]}}, "from_pixels"),
        ({"inputs": {"image_bytes": ["a"] * (MAX_BATCH_SIZE + 1)}}, "larger than maximum input batch size"),
    ],
)
def test_what_it_cannot_take_is_refused_in_words(port, body, words):
    status, _, answer = ask(port, "POST", PREDICT, json.dumps(body).encode())
    assert status == 400
    assert words in json.loads(answer)["error"]


def test_a_label_of_another_version(engine):
    with pytest.raises(ValueError, match="labels name versions that are not there: {'canary': 2}"):
        ServedEngine(MODEL_NAME, engine, {"stable": 1, "canary": 2})
