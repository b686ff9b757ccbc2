"""The stand-in against answers recorded from tensorflow_model_server (TensorFlow 2.21)."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from pathlib import Path

import pytest

from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.served_model import ServedModel
from tests.server.running import application, ask
from tests.server.saved_models import JPEG, PNG

RECORDED = json.loads((Path(__file__).parent / "recorded_answers.json").read_text())
B64 = {"@JPEG@": base64.b64encode(JPEG).decode(), "@PNG@": base64.b64encode(PNG).decode()}


@pytest.fixture(scope="module")
def ports(recorded_models):
    """Ports of servers: of `img` with its latest version, with both and labels, and of `naming`."""
    versions, naming = recorded_models
    latest = ServedModel("img", {2: versions[2]}, max_batch_size=8)
    labelled = ServedModel("img", versions, {"stable": 1, "canary": 2})
    named = ServedModel("naming", {1: naming})
    with (
        application(build_local_app(latest, bodies=BodyReader(max_body_bytes=100_000))) as latest_port,
        application(build_local_app(labelled)) as labelled_port,
        application(build_local_app(named)) as named_port,
    ):
        yield {"A": latest_port, "D": labelled_port, "E": named_port}
    for model in (latest, labelled, named):
        model.close()


def _predict(port: int, request: object, path: str = "/v1/models/img:predict"):
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    status, _, answer = ask(port, "POST", path, body)
    return status, json.loads(answer)


def _with_images(text: str) -> str:
    for placeholder, encoded in B64.items():
        text = text.replace(placeholder, encoded)
    return text


def _assert_same(answer, recorded) -> None:
    """As data: the order of keys is no part of JSON, and floats are compared with a tolerance."""
    assert type(answer) is type(recorded)
    if isinstance(recorded, dict):
        assert answer.keys() == recorded.keys()
        for key, value in recorded.items():
            _assert_same(answer[key], value)
    elif isinstance(recorded, list):
        assert len(answer) == len(recorded)
        for one, other in zip(answer, recorded):
            _assert_same(one, other)
    elif isinstance(recorded, float):
        assert answer == pytest.approx(recorded, rel=1e-6, nan_ok=True)
    else:
        assert answer == recorded


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: f"{record['model']}: {record['title']}")
def test_answers_like_tensorflow_model_server(ports, record):
    method, path = record["request"].split(" ", 1)
    status, headers, answer = ask(ports[record["model"]], method, path, _with_images(record["body"]).encode())
    assert status == record["status"]
    if record["answer"] is None:
        assert headers["Content-Type"].startswith("text/html")
        assert b"<H1>Not Found</H1>" in answer
    else:
        assert headers["Content-Type"] == "application/json"
        if status == 400:  # what is wrong with a request is said in words of our own
            assert list(json.loads(answer)) == ["error"]
            assert len(json.loads(answer)["error"]) > 20
            return
        _assert_same(json.loads(answer), json.loads(_with_images(json.dumps(record["answer"]))))


def test_metadata_has_the_signatures(ports):
    status, _, answer = ask(ports["A"], "GET", "/v1/models/img/metadata")
    metadata = json.loads(answer)
    assert status == 200
    assert metadata["model_spec"] == {"name": "img", "version": "2", "signature_name": ""}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {"serving_default", "raw", "__saved_model_init_op"}
    assert signatures["raw"]["inputs"]["x"] == {
        "name": "raw_x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "3", "name": ""}], "unknown_rank": False},
    }
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert signatures["serving_default"]["defaults"] == {}


def test_metadata_by_label(ports):
    answer = json.loads(ask(ports["D"], "GET", "/v1/models/img/labels/stable/metadata")[2])
    assert answer["model_spec"]["version"] == "1"


@pytest.mark.parametrize(
    "encoded",
    [B64["@JPEG@"].rstrip("="), base64.encodebytes(JPEG).decode()],
    ids=["without padding", "with newlines"],
)
def test_base64_that_the_server_accepts(ports, encoded):
    status, answer = _predict(ports["A"], {"instances": [{"b64": encoded}]})
    assert (status, answer["predictions"][0]["label"]) == (200, "mid")


@pytest.mark.parametrize(
    "encoded",
    [base64.urlsafe_b64encode(b"\xff\xef\xbe" * 9).decode(), "data:image/jpeg;base64," + B64["@JPEG@"]],
    ids=["url-safe alphabet", "data: prefix"],
)
def test_base64_that_the_server_refuses(ports, encoded):
    status, answer = _predict(ports["A"], {"instances": [{"image_bytes": {"b64": encoded}}]})
    assert status == 400
    assert answer["error"].endswith("Unable to base64 decode")


def test_bytes_that_are_no_utf8_do_not_break_the_answer(ports):
    request = {"signature_name": "echo", "instances": [{"b64": "/9j/AGFiYw=="}]}
    status, answer = _predict(ports["E"], request, "/v1/models/naming:predict")
    assert status == 200
    assert answer["predictions"][0]["a_bytes"] == {"b64": "/9j/AGFiYw=="}
    assert answer["predictions"][0]["b"].endswith("\0abc")


def test_not_a_number_is_written_as_the_server_does(ports):
    request = {"signature_name": "floats", "inputs": [[0.0, -1.0], [1.0, 2.0]]}
    status, answer = _predict(ports["E"], request, "/v1/models/naming:predict")
    assert status == 200
    assert answer["outputs"][0][0] == -math.inf
    assert math.isnan(answer["outputs"][0][1])


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/plain"}, {"Accept-Encoding": "gzip"}, {"Content-Encoding": "gzip"}]
)
def test_headers_do_not_matter_but_for_gzip(ports, headers):
    body = json.dumps({"instances": [{"b64": B64["@JPEG@"]}]}).encode()
    if "Content-Encoding" in headers:
        body = gzip.compress(body)
    status, answered, answer = ask(ports["A"], "POST", "/v1/models/img:predict", body, headers)
    assert (status, json.loads(answer)["predictions"][0]["label"]) == (200, "mid")
    assert "Content-Encoding" not in answered


def test_request_larger_than_a_batch(ports):
    status, answer = _predict(ports["A"], {"instances": [{"b64": B64["@JPEG@"]}] * 9})
    assert (status, answer) == (400, {"error": "Task size 9 is larger than maximum input batch size 8"})


def test_the_limit_holds_for_what_is_not_joined_into_batches(ports):
    """A row of three numbers may become as large as any inside the graph."""
    status, answer = _predict(ports["A"], {"signature_name": "raw", "instances": [[1, 2, 3]] * 9})
    assert (status, answer) == (400, {"error": "Task size 9 is larger than maximum input batch size 8"})


def test_another_shape_is_refused_in_our_words(ports):
    status, answer = _predict(ports["A"], {"signature_name": "raw", "inputs": [[1, 2]]})
    assert (status, answer) == (400, {"error": "input x: the shape must be [any, 3]. Received: [1, 2]"})


def test_errors_do_not_name_the_graphs_nodes(ports):
    request = {"signature_name": "decode", "instances": [{"b64": base64.b64encode(b"no image").decode()}]}
    status, answer = _predict(ports["E"], request, "/v1/models/naming:predict")
    assert status == 400
    assert "image" in answer["error"]
    assert not re.search(r"node|\[\[|\{\{|\n|Op:", answer["error"])


def test_long_names_are_not_sent_back_whole(ports):
    name = "n" * 50_000
    for request in (
        {"instances": [{name: "a"}]},
        {"signature_name": name, "instances": ["a"]},
        {"instances": [{"b64": 1, name: 1}]},
    ):
        status, answer = _predict(ports["A"], request)
        assert status == 400
        assert 0 < len(answer["error"]) < 5_000


def test_image_without_a_batch_dimension(ports):
    status, answer = _predict(ports["A"], {"inputs": {"image_bytes": {"b64": B64["@JPEG@"]}}})
    assert status == 400
    assert "dimension" in answer["error"]


@pytest.mark.parametrize("body", [b"x" * 200_000, gzip.compress(b"x" * 200_000)], ids=["plain", "zipped"])
def test_body_over_the_limit(ports, body):
    headers = {"Content-Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    status, _, answer = ask(ports["A"], "POST", "/v1/models/img:predict", body, headers)
    assert status == 413
    assert "at most" in json.loads(answer)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [' + b"[" * 50_000,
        b'{"instances": [1' + b"0" * 5000 + b"]}",
        b'{"instances": ["\xff"]}',
        b'{"instances": ["\\ud800"]}',
        b'{"inputs": {"image_bytes": [[["a"], "b"]]}}',
        b'{"signature_name": "raw", "inputs": [[1, 2], 3]}',
        b'{"signature_name": "raw", "inputs": [[1e300, 2, 3]]}',
        b'{"signature_name": "raw", "inputs": [[1' + b"0" * 400 + b", 2, 3]]}",
        b'{"signature_name": "raw", "inputs": [[true, 2, 3]]}',
        b'{"signature_name": "__saved_model_init_op", "inputs": {}}',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_hostile_json_is_answered_and_does_not_fell_the_server(ports, body):
    status, answer = _predict(ports["A"], body)
    assert status in (200, 400)
    assert "error" in answer or "predictions" in answer
    assert ask(ports["A"], "GET", "/v1/models/img")[0] == 200


def test_options_and_head_are_refused(ports):
    assert ask(ports["A"], "OPTIONS", "/v1/models/img:predict")[0] == 400
    assert ask(ports["A"], "HEAD", "/v1/models/img")[0] == 400


def test_prometheus_counts_requests(ports):
    _predict(ports["D"], {"instances": [{"b64": B64["@JPEG@"]}]})
    _predict(ports["D"], {})
    status, headers, text = ask(ports["D"], "GET", "/monitoring/prometheus/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    samples = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    ok = float(samples[':tensorflow:serving:request_count{model_name="img",status="OK"}'])
    refused = float(samples[':tensorflow:serving:request_count{model_name="img",status="INVALID_ARGUMENT"}'])
    latencies = 'model_name="img",API="Predict",entrypoint="REST"'
    assert ok >= 1
    assert refused >= 1
    assert float(samples[f":tensorflow:serving:request_latency_count{{{latencies}}}"]) >= ok + refused
    assert float(samples[":tensorflow:serving:batching_session:processed_batch_size_count{}"]) >= 1


def test_label_of_a_missing_version(recorded_models):
    versions, _ = recorded_models
    with pytest.raises(ValueError, match=r"labels name versions that are not there: \{'canary': 2\}"):
        ServedModel("img", {1: versions[1]}, {"canary": 2})


def test_damaged_model(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="holds no readable SavedModel"):
        ServedModel("img", {1: tmp_path})
