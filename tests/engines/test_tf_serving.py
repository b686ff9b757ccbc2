"""The engines that ask a server, against the local server, a gRPC server of the test, and servers that fail."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import requests

from deepfake_tf.engines import server_requests
from deepfake_tf.engines.saved_model import SavedModelEngine
from deepfake_tf.engines.tf_serving import GrpcEngine, RestEngine, ServerBusyError, connect
from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.served_model import ServedModel
from tests.images import encode, photograph
from tests.server.grpc_server import grpc_server
from tests.server.running import application
from tests.server.saved_models import JPEG, write_contract_model


@pytest.fixture(scope="module")
def contract_model(tmp_path_factory):
    return write_contract_model(tmp_path_factory.mktemp("contract") / "deepfake" / "1")


@pytest.fixture(scope="module")
def in_process(contract_model):
    return SavedModelEngine(contract_model)


@pytest.fixture(scope="module")
def rest_url(contract_model):
    model = ServedModel("deepfake", {1: contract_model, 2: contract_model}, {"canary": 2})
    with application(build_local_app(model)) as port:
        yield f"http://127.0.0.1:{port}"
    model.close()


@pytest.fixture(scope="module")
def grpc_url(in_process):
    with grpc_server(in_process, ("deepfake",)) as url:
        yield url


@pytest.mark.parametrize(
    ("names", "judges"),
    [
        (("deepfake", "photograph"), [b"photograph", b"cifake", b""]),
        (("deepfake",), [b"cifake", b"cifake", b""]),
        (("photograph",), [b"photograph", b"photograph", b""]),
    ],
)
def test_grpc_asks_the_model_for_an_images_size(in_process, names, judges):
    images = [encode(photograph(320, 240, 0), "JPEG"), encode(photograph(32, 32, 0), "JPEG"), b"text"]
    with grpc_server(in_process, names) as url, contextlib.closing(connect(url, label="canary")) as engine:
        assert engine.is_ready()
        rows = engine.predict(images)
        assert rows["detector"].tolist() == judges
        np.testing.assert_array_equal(rows["probability"], in_process.predict(images)["probability"])
        assert [heatmap.shape for heatmap in engine.explain(images)["heatmap"]] == [(7, 7)] * 3


@pytest.fixture(params=["rest_url", "grpc_url"])
def url(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def engine(url):
    engine = connect(url)
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(server_requests, "FIRST_DELAY_SECONDS", 0.005)


def _assert_same(outputs, expected):
    judged = outputs["detector"].tolist()
    assert judged == [b"" if error else b"cifake" for error in expected["error"]]
    assert outputs.keys() == {*expected, "detector"}
    for name, output in expected.items():
        assert outputs[name].dtype == output.dtype, name
        np.testing.assert_array_equal(outputs[name], output, err_msg=name)


def test_same_rows_as_in_process(engine, in_process):
    images = [JPEG, b"", b"text", JPEG + b"more", b"huge"]
    _assert_same(engine.predict(images), in_process.predict(images))


def test_splits_what_is_over_the_limits(engine, in_process, monkeypatch):
    images = [JPEG + bytes([i]) for i in range(70)]
    _assert_same(engine.predict(images), in_process.predict(images))
    monkeypatch.setattr(server_requests, "MAX_REQUEST_BYTES", 1500)
    _assert_same(engine.predict(images), in_process.predict(images))


def test_message_over_grpcs_default_limit(engine):
    assert engine.predict([JPEG + bytes(6 * 2**20)])["label"].shape == (1,)


def test_many_threads_share_an_engine(engine, in_process):
    images = [JPEG + bytes([i]) for i in range(64)]
    expected = in_process.predict(images)["probability"]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        outputs = list(threads.map(lambda image: engine.predict([image])["probability"][0], images))
    np.testing.assert_array_equal(outputs, expected)


def test_label(url):
    assert connect(url, label="canary").predict([JPEG])["label"].shape == (1,)
    with pytest.raises(ValueError, match="Unrecognized servable version label: nope"):
        connect(url, label="nope").predict([JPEG])


def test_version_that_is_not_there(rest_url):
    assert connect(rest_url, version=2).predict([JPEG])["label"].shape == (1,)
    with pytest.raises(ValueError, match=r"Specific\(deepfake, 7\)"):
        connect(rest_url, version=7).predict([JPEG])


def test_unknown_model(url):
    with pytest.raises(ValueError, match=r"Servable not found for request: Latest\(other\)"):
        connect(url, model_name="other").predict([JPEG])


def test_is_ready(url):
    assert connect(url).is_ready()
    assert not connect(url, model_name="other").is_ready()
    assert not connect("http://127.0.0.1:9").is_ready()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_nobody_there(url):
    with pytest.raises(ConnectionError, match="Start one with: deepfake-tf serve"):
        connect(url, retries=1).predict([JPEG])


def test_a_dead_grpc_server_is_told_before_tensorflow_is_loaded():
    pytest.importorskip("grpc", reason="gRPC is not installed: pip install -e '.[grpc]'")
    pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    code = (
        "import sys\nfrom deepfake_tf.engines.tf_serving import connect\nengine = connect('grpc://127.0.0.1:9')\n"
        "try: engine.predict([b'a'])\nexcept ConnectionError as error: assert 'no server answers' in str(error)\n"
        "assert not engine.is_ready()\nsys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_an_address_that_swallows_everything_is_not_tried_again(monkeypatch):
    """A firewall that drops packets costs the time limit once, and not once a retry."""
    calls = []

    def swallow(*arguments, **options):
        calls.append(arguments)
        raise requests.ConnectTimeout("of the test")

    monkeypatch.setattr(requests.Session, "request", swallow)
    with pytest.raises(ConnectionError, match="no server answers"):
        connect("http://127.0.0.1:9").predict([JPEG])
    assert len(calls) == 1


def test_errors_do_not_name_the_servers_nodes(scripted):
    """tensorflow_model_server does in its answers; what we pass on does not."""
    error = "Invalid PNG data\n\t [[{{function_node __inference_serve_290}}{{node map/strided_slice}}]]"
    engine, _ = scripted((400, json.dumps({"error": error}).encode()))
    with pytest.raises(ValueError, match=r"refused the request \(400\): Invalid PNG data$"):
        engine.predict([JPEG])


@pytest.mark.parametrize(
    "url",
    ["localhost:8501", "ftp://host", "http://", "http://host/v1/models/x", "http://host:99999", "http://[::1", ""],
)
def test_wrong_urls(url):
    with pytest.raises(ValueError, match="Received: "):
        connect(url)


def test_version_and_label_together():
    with pytest.raises(ValueError, match="not both"):
        connect("http://host:8501", version=1, label="stable")


class _Scripted(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next (status, body) of the server's script; the last one stays."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(dict(self.headers))
        script = self.server.script
        status, body = script.pop(0) if len(script) > 1 else script[0]
        if status == 0:  # hang up in the middle
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if status == 1:  # too slow
            self.server.released.wait(10)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def scripted():
    """A function: a script in, (engine, list of the requests seen) out."""
    servers = []

    def start(*script, **options):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Scripted)
        server.script, server.requests, server.released = list(script), [], threading.Event()
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever).start()
        engine = RestEngine(f"http://127.0.0.1:{server.server_port}", **options)
        servers.append((server, engine))
        return engine, server.requests

    yield start
    for server, engine in servers:
        server.released.set()
        engine.close()
        server.shutdown()
        server.server_close()


GOOD = (200, json.dumps({"outputs": {"label": ["FAKE"], "confidence": [0.75]}}).encode())
BUSY = (503, b'{"error": "the queue is full"}')


def test_busy_server_is_asked_again(scripted):
    engine, requests_seen = scripted(BUSY, BUSY, GOOD)
    assert engine.predict([JPEG])["label"][0] == b"FAKE"
    assert len(requests_seen) == 3


def test_server_that_stays_busy(scripted):
    engine, requests_seen = scripted(BUSY, retries=2)
    with pytest.raises(ServerBusyError, match="the queue is full"):
        engine.predict([JPEG])
    assert len(requests_seen) == 3


def test_broken_connection_is_tried_again(scripted):
    engine, requests_seen = scripted((0, b""), GOOD)
    assert engine.predict([JPEG])["confidence"][0] == np.float32(0.75)
    assert len(requests_seen) == 2


def test_slow_server_is_not_asked_again(scripted):
    engine, requests_seen = scripted((1, b""), timeout_seconds=0.2)
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
        engine.predict([JPEG])
    assert len(requests_seen) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, ValueError), (401, ValueError), (404, ValueError), (413, ValueError), (504, TimeoutError)],
)
def test_refusal_is_not_repeated(scripted, status, error):
    engine, requests_seen = scripted((status, b'{"error": "because of the test"}'))
    with pytest.raises(error, match="because of the test"):
        engine.predict([JPEG])
    assert len(requests_seen) == 1


@pytest.mark.parametrize(
    "answer",
    [(200, b"<html>hello</html>"), (200, b"[]"), (200, b'{"predictions": []}'), (302, b""), (500, b"oops")],
    ids=str,
)
def test_not_tensorflow_serving(scripted, answer):
    engine, _ = scripted(answer, retries=0)
    with pytest.raises(ConnectionError, match="does not answer like TensorFlow Serving"):
        engine.predict([JPEG])


def test_a_gateway_has_no_versions_to_choose_from():
    with pytest.raises(ValueError, match="the version that it was started with"):
        connect("http://host:8080/predict", label="stable")


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ("The batch scheduling queue to which this task was submitted is full; currently 16 batches", ServerBusyError),
        ("failed to connect to all addresses", ConnectionError),
    ],
)
def test_grpcs_unavailable_means_two_things(details, expected):
    """A gRPC server that answers as tensorflow_model_server does where its queue is full."""
    grpc = pytest.importorskip("grpc", reason="it is not installed: pip install -e '.[grpc]'")
    pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")

    def refuse(request, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, details)

    method = grpc.unary_unary_rpc_method_handler(refuse)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Predict": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    engine = GrpcEngine(f"grpc://127.0.0.1:{port}", retries=1)
    with pytest.raises(expected) as caught:
        engine.predict([JPEG])
    assert type(caught.value) is expected
    engine.close()
    server.stop(None).wait()


def test_wrong_number_of_rows(scripted):
    engine, _ = scripted(GOOD)
    with pytest.raises(ConnectionError, match="rows"):
        engine.predict([JPEG, JPEG])


def test_api_key_travels(scripted, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_TF_API_KEY", "secret")
    engine, requests_seen = scripted(GOOD)
    engine.predict([JPEG])
    assert requests_seen[0]["X-API-Key"] == "secret"


def test_grpc_without_its_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(ImportError, match=r"pip install 'deepfake-tf\[grpc\]'"):
        GrpcEngine("grpc://127.0.0.1:8500")


def test_rest_client_loads_no_tensorflow():
    code = (
        "import sys, deepfake_tf.engines.tf_serving as e; e.connect('http://127.0.0.1:9').close();"
        "sys.exit('tensorflow' in sys.modules or 'grpc' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
