"""Requests, processes and connections at which the server or its clients once failed."""

from __future__ import annotations

import contextlib
import copy
import json
import multiprocessing
import os
import pickle
import selectors
import signal
import socket
import time

import pytest
import requests
import tensorflow as tf

from deepfake_tf import Detector
from deepfake_tf.cli import main
from deepfake_tf.server import SAMPLE, request_body, slow_clients
from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.served_model import ServedModel
from tests.images import encode, photograph
from tests.server import hostile_requests
from tests.server.running import application, ask
from tests.server.saved_models import JPEG, expected_probability, write_contract_model, write_recorded_models

pytestmark = pytest.mark.cases

PICTURE = encode(photograph(32, 32), "JPEG")  # a Detector reads it; for a server bytes that look like JPEG do
CONNECTIONS = 1_030
LOCAL_ENGINES = [("saved_model", "tensorflow"), ("litert", "ai_edge_litert"), ("openvino", "openvino")]
URLS = ["http://127.0.0.1:9", "http://127.0.0.1:9/predict", "grpc://127.0.0.1:9"]


@pytest.fixture(scope="module")
def contract_model(tmp_path_factory):
    return write_contract_model(tmp_path_factory.mktemp("contract") / "deepfake" / "1")


@pytest.fixture(scope="module")
def port(contract_model):
    model = ServedModel("deepfake", {1: contract_model})
    with application(build_local_app(model)) as port:
        yield port
    model.close()


@pytest.fixture(scope="module")
def naming_port(tmp_path_factory):
    """Of a model with inputs of any shape, and of numbers."""
    _, naming = write_recorded_models(tmp_path_factory.mktemp("recorded"))
    model = ServedModel("naming", {1: naming})
    with application(build_local_app(model)) as naming_port:
        yield naming_port
    model.close()


@pytest.fixture
def many_files():
    """As many descriptors as both ends of all connections need."""
    resource = pytest.importorskip("resource", reason="this system has no limit of descriptors")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 3 * CONNECTIONS
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this system allows {hard} descriptors, and {needed} are needed")
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _predict(port: int, body: bytes, model: str = "deepfake") -> tuple[int, dict]:
    status, _, answer = ask(port, "POST", f"/v1/models/{model}:predict", body)
    return status, json.loads(answer)


def _assert_is_alive(port: int) -> None:
    assert requests.post(f"http://127.0.0.1:{port}/predict", data=JPEG, timeout=60).status_code == 200


@pytest.mark.parametrize("depth", [3, 31, 32, 33, 34, 35, 63, 64, 65, 254, 255, 500, 990, 5_000, 200_000])
@pytest.mark.parametrize("leaf", [b'"a"', b"1", b""])
@pytest.mark.parametrize("frame", [b'{"instances": %s}', b'{"inputs": %s}', b'{"instances": [{"image_bytes": %s}]}'])
def test_lists_nested_to_any_depth(port, frame, leaf, depth):
    status, answer = _predict(port, frame % (b"[" * depth + leaf + b"]" * depth))
    assert status == 400
    assert answer["error"]
    _assert_is_alive(port)


@pytest.mark.parametrize("depth", [31, 32, 33, 34, 64, 65, 300])
@pytest.mark.parametrize("signature", ["scalar", "floats"])
def test_lists_nested_in_inputs_of_any_rank_and_of_numbers(naming_port, signature, depth):
    leaf = b'"a"' if signature == "scalar" else b"1"
    body = b'{"signature_name": "%s", "%s": %s}'
    for frame in (b"instances", b"inputs"):
        nested = b"[" * depth + leaf + b"]" * depth
        status, _ = _predict(naming_port, body % (signature.encode(), frame, nested), "naming")
        assert status == (200 if signature == "scalar" and depth <= 32 else 400)


@pytest.mark.parametrize("depth", [40, 2_000, 100_000])
def test_objects_nested_to_any_depth(port, depth):
    assert _predict(port, b'{"instances": [' + b'{"b64":' * depth + b"1" + b"}" * depth + b"]}")[0] == 400
    _assert_is_alive(port)


@pytest.mark.parametrize("lone", [r"\ud800", r"\uDFFF", r"\ud83d\ud83d", r"\ude00\ud83d", r"a\\\ud800", "\ud800"])
@pytest.mark.parametrize(
    "frame",
    [
        '{"signature_name": "%s", "instances": ["a"]}',
        '{"%s": 1, "instances": ["a"]}',
        '{"instances": ["%s"]}',
        '{"instances": [{"%s": "a"}]}',
        '{"instances": [{"image_bytes": "%s"}]}',
        '{"instances": [{"b64": "%s"}]}',
        '{"inputs": {"image_bytes": [["%s"]]}}',
        '["%s"]',
    ],
)
def test_half_a_character_anywhere(port, frame, lone):
    status, answer = _predict(port, (frame % lone).encode("utf-8", "surrogatepass"))
    assert status == 400
    assert answer["error"].startswith("JSON Parse error: ")


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud800", r"\\\\ud800", "\N{GRINNING FACE}"])
def test_whole_characters_are_taken(port, text):
    status, answer = _predict(port, f'{{"instances": ["{text}"]}}'.encode())
    assert (status, answer["predictions"][0]["label"]) == (200, "INVALID")


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow:",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
    ],
    ids=["silent", "headers", "body", "second headers", "body that nobody reads"],
)
def test_a_thousand_slow_clients_lock_nobody_out(port, monkeypatch, many_files, beginning):
    monkeypatch.setattr(slow_clients, "HEADERS_TIMEOUT_SECONDS", 5.0)
    monkeypatch.setattr(request_body, "STALL_TIMEOUT_SECONDS", 5.0)
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(CONNECTIONS):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)))
            slow[-1].sendall(beginning)
        _assert_is_alive(port)
        _assert_all_are_ended(slow, 60)
        _assert_is_alive(port)


def _assert_all_are_ended(connections: list[socket.socket], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < deadline, f"{len(selector.get_map())} connections are still open"
            for key, _ in selector.select(1):
                try:
                    has_ended = not key.fileobj.recv(65536)
                except ConnectionError:
                    has_ended = True
                if has_ended:
                    selector.unregister(key.fileobj)


def test_a_client_whose_headers_are_late_is_told_so(port, monkeypatch):
    monkeypatch.setattr(slow_clients, "HEADERS_TIMEOUT_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_never_reads_is_cut_off(port, monkeypatch):
    monkeypatch.setattr(slow_clients, "READING_TIMEOUT_SECONDS", 1.0)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        connection.connect(("127.0.0.1", port))
        with pytest.raises(ConnectionError):
            _send_without_reading(connection, 60)
    _assert_is_alive(port)


def _send_without_reading(connection: socket.socket, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


@pytest.mark.parametrize("path", ["/predict", "/v1/models/deepfake:predict", "/v1/models/deepfake", "/nowhere"])
@pytest.mark.parametrize("method", ["POST", "HEAD"])
def test_a_body_in_broken_pieces(port, method, path):
    message = f"{method} {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(message)
        assert connection.recv(65536).split()[1] in (b"400", b"404", b"405")
    _assert_is_alive(port)


def test_every_signature_is_warm_before_the_port_is_open(tmp_path):
    """Each run of a signature writes a line; `from_pixels` was left cold."""
    lines = tmp_path / "lines"
    module = tf.Module()

    def signature(name: str, spec: tf.TensorSpec):
        def run(value):
            tf.print(name, tf.shape(value), output_stream=f"file://{lines}")
            return {"size": tf.shape(value)[:1]}

        return tf.function(run, input_signature=[spec])

    module.images = signature("serving_default", tf.TensorSpec([None], tf.string, name="image_bytes"))
    module.pixels = signature("from_pixels", tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels"))
    signatures = {"serving_default": module.images, "from_pixels": module.pixels}
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=signatures)
    ServedModel("deepfake", {1: tmp_path / "1"}).close()
    assert sorted(lines.read_text().splitlines()) == ["from_pixels [1 32 32 3]", "serving_default [1]"]


def test_a_second_file_in_a_form_is_not_passed_over(port):
    files = [("file", ("a.jpg", JPEG)), ("file", ("b.jpg", JPEG))]
    answer = requests.post(f"http://127.0.0.1:{port}/predict", files=files, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (
        400,
        "one file is accepted a request. Received: 2 (fields file, file)",
    )


def test_ten_thousand_hostile_requests_in_short(port):
    """`python -m tests.server.hostile_requests URL 10000 PID` is the long form."""
    outcome = hostile_requests.run("127.0.0.1", port, seed=1, count=300)
    assert outcome.failures == []
    assert min(outcome.statuses[status] for status in (200, 400, 415)) > 5
    _assert_is_alive(port)


def test_explain_says_which_image_has_no_score(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert", reason="it is not installed: pip install -e '.[lite]'")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    assert main(["explain", str(SAMPLE), "broken.jpg", "--output", "sheet.png", "--engine", "litert", "--verbose"]) == 3
    assert "broken.jpg: not an image" in capsys.readouterr().err


def _load(engine: str, package: str, contract_model) -> Detector:
    if package != "tensorflow":
        pytest.importorskip(package, reason=f"{package} is not installed")
    detector = Detector(contract_model if engine == "saved_model" else None, engine=engine)
    detector.predict(PICTURE)
    return detector


def _in_forked_child(call) -> str:
    """What the call raises there, or "nothing"."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            call()
            message = "nothing"
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(sender, message.encode())
        os._exit(0)
    os.close(sender)
    with selectors.DefaultSelector() as selector, os.fdopen(receiver, "rb") as file:
        selector.register(file, selectors.EVENT_READ)
        answered = selector.select(60)
        if not answered:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert answered, "the child waits for ever"
        return file.read().decode()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(("engine", "package"), LOCAL_ENGINES)
def test_a_detector_in_a_forked_process(contract_model, engine, package):
    detector = _load(engine, package, contract_model)
    for call in (
        lambda: detector.predict(PICTURE),
        lambda: detector.explain([PICTURE]),
        lambda: list(detector.predict_iter([PICTURE] * 100)),
    ):
        message = _in_forked_child(call)
        assert message.startswith("RuntimeError")
        assert "spawn" in message
    assert detector.predict(PICTURE).error == detector.predict([PICTURE])[0].error


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_new_detector_in_a_process_forked_after_tensorflow(contract_model):
    _load("saved_model", "tensorflow", contract_model)
    assert "spawn" in _in_forked_child(lambda: Detector(contract_model).predict(PICTURE))


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("url", URLS)
def test_a_client_in_a_forked_process(url):
    if url.startswith("grpc"):
        pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    detector = Detector(url=url)
    assert "spawn" in _in_forked_child(lambda: detector.predict(PICTURE))


@pytest.mark.parametrize(("engine", "package"), LOCAL_ENGINES)
def test_a_pickled_detector_is_loaded_anew(contract_model, engine, package):
    detector = _load(engine, package, contract_model)
    expected = detector.predict(SAMPLE)
    for copied in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        assert copied is not detector
        assert copied.model_dir.samefile(detector.model_dir)
        found = copied.predict(SAMPLE)
        assert found.label == expected.label
        assert found.logit == pytest.approx(expected.logit, abs=1e-4)


@pytest.mark.parametrize("path", ["", "/predict"])
def test_a_pickled_client_asks_the_same_server(port, path):
    detector = pickle.loads(pickle.dumps(Detector(url=f"http://127.0.0.1:{port}{path}")))
    assert detector.predict(PICTURE).probability == pytest.approx(expected_probability(PICTURE), abs=1e-6)


def test_a_pickled_grpc_client_keeps_its_address():
    pytest.importorskip("tensorflow_serving", reason="it is not installed: pip install -e '.[grpc]'")
    pickled = pickle.dumps(Detector(url="grpc://127.0.0.1:9", label="stable"))
    assert b"grpc://127.0.0.1:9" in pickled
    assert b"stable" in pickled
    assert isinstance(pickle.loads(pickled), Detector)


def test_the_models_place_is_pickled_not_the_callers_folder(contract_model, tmp_path, monkeypatch):
    monkeypatch.chdir(contract_model.parent)
    pickled = pickle.dumps(Detector("1"))
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickled).predict(PICTURE).probability == pytest.approx(expected_probability(PICTURE), abs=1e-6)


def test_a_detector_travels_to_spawned_processes():
    pytest.importorskip("ai_edge_litert", reason="it is not installed: pip install -e '.[lite]'")
    detector = Detector(engine="litert")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        [there] = pool.map(detector.predict, [str(SAMPLE)])
    assert there == detector.predict(str(SAMPLE))
