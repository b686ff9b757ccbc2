"""`serve` as users run it: a process that is started, loaded, and ended."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.parse

import numpy as np
import pytest
import requests

from deepfake_tf.detectors.bundle import write_bundle
from deepfake_tf.engines.saved_model import SavedModelEngine
from deepfake_tf.engines.tf_serving import RestEngine, connect
from deepfake_tf.server import SAMPLE, tensorflow_serving
from deepfake_tf.server.addresses import reachable
from deepfake_tf.server.launch import ServeOptions, serve
from tests import light_models
from tests.images import encode, photograph
from tests.server.running import PROJECT, ServeProcess
from tests.server.saved_models import JPEG, expected_probability

THREADS = 16
REQUESTS = 2_000

needs_model_server = pytest.mark.skipif(
    not tensorflow_serving.has_binary(), reason="tensorflow_model_server is not on the PATH"
)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="module", params=["local", pytest.param("tensorflow_model_server", marks=needs_model_server)])
def running(request, contract_model):
    options = {"rest_port": _free_port(), "grpc_port": _free_port(), "gateway_port": 0}
    with ServeProcess(model=str(contract_model), engine=request.param, labels=["stable=1"], **options) as process:
        yield process


def test_the_printed_line_works_as_it_stands(running):
    """Run by a shell in the folder where `serve` was started, as a reader would who copies it."""
    command = running.line("try").removeprefix("try").strip() + " --silent --show-error"
    answer = subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert json.loads(answer)["probability"] == pytest.approx(expected_probability(SAMPLE.read_bytes()), abs=1e-6)


def test_says_which_engine_answers_and_where(running):
    assert any(line.startswith("engine ") for line in running.lines)
    assert requests.get(running.address("REST") + "/v1/models/deepfake", timeout=30).status_code == 200
    assert requests.get(running.address("gateway") + "/healthz", timeout=30).json()["status"] == "ok"


def test_two_thousand_requests_from_sixteen_threads(running):
    """A tenth are no images; none is lost, and each gets the answer that belongs to its bytes."""
    images = [JPEG + str(i).encode() if i % 10 else b"no image %d" % i for i in range(REQUESTS)]
    expected = [expected_probability(image) if image.startswith(JPEG) else -1.0 for image in images]
    engine = connect(running.address("REST"), label="stable")
    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        answers = list(threads.map(lambda image: engine.predict([image]), images))
    engine.close()
    np.testing.assert_allclose([answer["probability"][0] for answer in answers], expected, atol=1e-6)
    assert all((answer["label"][0] == b"INVALID") == (answer["error"][0] != b"") for answer in answers)
    assert sum(answer["label"][0] == b"INVALID" for answer in answers) == REQUESTS // 10


def test_uploads_from_many_threads(running):
    url = running.address("gateway") + "/predict"
    images = [JPEG + str(i).encode() for i in range(200)]
    with requests.Session() as session, concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda image: session.post(url, files={"file": image}, timeout=60).json(), images))
    np.testing.assert_allclose(
        [answer["probability"] for answer in answers], [expected_probability(image) for image in images], atol=1e-6
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(contract_model, number):
    with ServeProcess(model=str(contract_model), engine="local", rest_port=0, gateway_port=0) as process:
        output = process.stop(number)
        assert process.process.returncode == 0, output
    assert output.endswith("stopped")
    assert "Traceback" not in output


def test_killed_in_the_middle(contract_model):
    """Clients see a connection error or an answer, and nothing else."""
    with ServeProcess(model=str(contract_model), engine="local", rest_port=0, gateway_port=0) as process:
        engine = RestEngine(process.address("REST"), retries=1)
        started = threading.Semaphore(0)

        def ask(index: int):
            started.release()
            try:
                return engine.predict([JPEG + str(index).encode()] * 8)["probability"][0]
            except (ConnectionError, TimeoutError) as error:
                return str(error)

        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            answers = [threads.submit(ask, index) for index in range(400)]
            for _ in range(100):
                started.acquire()
            process.stop(signal.SIGKILL)
            answers = [answer.result() for answer in answers]
        engine.close()
    failures = [answer for answer in answers if isinstance(answer, str)]
    assert 0 < len(failures) < len(answers)
    assert all("deepfake-tf serve" in failure for failure in failures)


@pytest.mark.parametrize("engine", ["local", "tensorflow_model_server"])
def test_busy_port(contract_model, engine):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1 port \d+: Address already in use"),
    ):
        serve(ServeOptions(str(contract_model), engine, rest_port=taken.getsockname()[1], gateway_port=0))


def test_missing_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="No SavedModel in"):
        serve(ServeOptions(str(tmp_path), "local", rest_port=0, gateway_port=0))


def test_trust_list_that_cannot_be_read(contract_model, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_TF_TRUST_LIST", str(tmp_path / "missing.pem"))
    with pytest.raises(ValueError, match="missing.pem"):
        serve(ServeOptions(model=str(contract_model), engine="local"))


def test_a_bundle_may_bear_a_number(tmp_path):
    folder = tmp_path / "20261127"
    write_bundle(folder / "detector.json", light_models.describe("cifake", (16, 64)), light_models.chain(2))
    with ServeProcess(model=str(folder), engine="local", rest_port=0, gateway_port=0) as process:
        status = requests.get(process.address("REST") + "/v1/models/deepfake", timeout=30).json()
    assert [row["version"] for row in status["model_version_status"]] == ["1"]


def test_damaged_model(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="holds no readable SavedModel"):
        serve(ServeOptions(str(tmp_path), "local", rest_port=0, gateway_port=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "best"}, "--engine must be one of auto, "),
        ({"labels": ["stable"]}, "a label is NAME=VERSION"),
        ({"host": ""}, "--host must be an address"),
        ({"rest_port": 99999}, "a port is from 0 to 65535"),
        ({"upstream": "localhost"}, "A server's URL is"),
    ],
)
def test_wrong_options(contract_model, options, message):
    with pytest.raises(ValueError, match=message):
        serve(ServeOptions(str(contract_model), **options))


@pytest.mark.parametrize("engine", ["tensorflow_model_server", "docker"])
def test_program_that_is_not_installed(contract_model, tmp_path, monkeypatch, engine):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{engine} is not on the PATH.*--engine local"):
        serve(ServeOptions(str(contract_model), engine, "127.0.0.1", _free_port(), _free_port(), 0))


def test_label_of_a_missing_version(contract_model):
    with pytest.raises(FileNotFoundError, match="a label names a version that is not there"):
        serve(ServeOptions(str(contract_model), "local", labels=["canary=2"]))


def test_gateway_alone_loads_no_tensorflow():
    """So that its image can do without it."""
    code = "import sys, deepfake_tf.server.launch; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def write_fake_model_server(folder, code: str) -> dict[str, str]:
    """Puts a program named tensorflow_model_server first on the PATH; returns the environment."""
    program = folder / "tensorflow_model_server"
    program.write_text(f"#!{sys.executable}\n" + textwrap.dedent(code))
    program.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


STATUS_SERVER = """
    import http.server, json, os, sys
    flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
    assert os.path.isfile(flags["batching_parameters_file"]), flags
    print(open(flags["model_config_file"]).read(), flush=True)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"model_version_status": [{"version": "1", "state": "AVAILABLE"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def do_POST(self):
            self.connection.close()
            os._exit(3)
        def log_message(self, *arguments):
            pass
    folder = os.path.dirname(__file__)
    open(os.path.join(folder, "log_level"), "w").write(os.environ["TF_CPP_MIN_LOG_LEVEL"])
    open(os.path.join(folder, "pid"), "w").write(str(os.getpid()))
    http.server.HTTPServer(("127.0.0.1", int(flags["rest_api_port"])), Handler).serve_forever()
"""


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_child_is_ended_too(contract_model, tmp_path, number):
    environment = write_fake_model_server(tmp_path, STATUS_SERVER)
    options = {"rest_port": _free_port(), "grpc_port": _free_port(), "gateway_port": 0}
    with ServeProcess(environment, model=str(contract_model), engine="auto", **options) as process:
        assert "TensorFlow Serving (tensorflow_model_server)" in "\n".join(process.lines)
        child = int((tmp_path / "pid").read_text())
        assert _is_running(child)
        output = process.stop(number)
    assert process.process.returncode == 0, output
    assert not _is_running(child)


def test_a_signal_amid_the_evaluation_of_a_text_ends_well_too():
    """FastAPI evaluates annotations, and dataclasses execute texts: there, Python remembers a KeyboardInterrupt."""
    code = (
        "import os, signal; from deepfake_tf.server.signals import interrupted_by_signals\n"
        "with interrupted_by_signals(): eval('[os.kill(os.getpid(), signal.SIGTERM), *range(10**8)]')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "stopped\n")


def test_port_0_is_a_free_one_for_a_child_too(contract_model, tmp_path):
    """To tensorflow_model_server a REST port of 0 means none, and it would be waited for in vain."""
    environment = write_fake_model_server(tmp_path, STATUS_SERVER)
    options = {"rest_port": 0, "grpc_port": 0, "gateway_port": 0}
    with ServeProcess(environment, model=str(contract_model), engine="tensorflow_model_server", **options) as process:
        addresses = [process.address(name) for name in ("REST", "gRPC", "gateway")]
        ports = {urllib.parse.urlsplit(address).port for address in addresses}
        assert len(ports) == 3
        assert 0 not in ports
        assert requests.get(f"{addresses[0]}/v1/models/deepfake", timeout=30).status_code == 200
        _assert_urls_work(process)
    # The end of its log is shown where it fails, so it is not silenced, though `serve` itself was.
    assert (tmp_path / "log_level").read_text() == "0"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1", "::"])
def test_printed_urls_are_what_url_takes(host):
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with ServeProcess(upstream="http://127.0.0.1:9", host=host, gateway_port=0) as process:
        _assert_urls_work(process)
        assert requests.get(process.address("gateway") + "/healthz", timeout=30).status_code == 503


def _assert_urls_work(process: ServeProcess) -> None:
    urls = re.findall(r"\w+://\S+", "\n".join(process.lines))
    assert urls
    for url in urls:
        connect(url).close()


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("0:0:0:0:0:0:0:0", "[::1]"),
        ("fd00::1", "[fd00::1]"),
        ("example.org", "example.org"),
    ],
)
def test_how_a_url_names_a_host(host, name):
    assert reachable(host) == name


def test_child_that_dies_ends_serve_with_its_last_words(contract_model, tmp_path):
    environment = write_fake_model_server(tmp_path, STATUS_SERVER)
    options = {"rest_port": _free_port(), "grpc_port": _free_port(), "gateway_port": 0}
    with ServeProcess(environment, model=str(contract_model), engine="tensorflow_model_server", **options) as process:
        assert requests.post(process.address("gateway") + "/predict", data=JPEG, timeout=30).status_code == 502
        assert process.process.wait(30) != 0
        output = process.stop(signal.SIGTERM)
    assert "tensorflow_model_server ended with status 3" in output
    assert "version_labels" not in output
    assert "model_version_policy { specific { versions: 1 } }" in output


def test_child_that_does_not_start(contract_model, tmp_path, monkeypatch):
    code = "import sys; print('Failed to start server. Error: of the test'); sys.exit(255)"
    monkeypatch.setenv("PATH", write_fake_model_server(tmp_path, code)["PATH"])
    with pytest.raises(OSError, match=r"(?s)ended with status 255:.*Error: of the test"):
        serve(ServeOptions(str(contract_model), "tensorflow_model_server", "127.0.0.1", _free_port(), _free_port(), 0))


def test_gateway_alone(contract_model):
    with (
        ServeProcess(
            model=str(contract_model), engine="local", rest_port=0, gateway_port=0, labels=["stable=1"]
        ) as server,
        ServeProcess(upstream=server.address("REST"), upstream_label="stable", gateway_port=0) as gateway,
    ):
        url = gateway.address("gateway")
        answer = requests.post(f"{url}/predict", files={"file": JPEG}, timeout=30)
        assert answer.json()["probability"] == pytest.approx(expected_probability(JPEG), abs=1e-6)
        server.stop(signal.SIGTERM)
        assert requests.post(f"{url}/predict", files={"file": JPEG}, timeout=30).status_code == 502
        assert requests.get(f"{url}/healthz", timeout=30).status_code == 503


def test_real_network_from_many_threads(exported_model):
    """The exported graph through server and client, batched with others: the scores of one process alone."""
    images = [encode(photograph(32, 32, seed), "PNG") for seed in range(24)] + [b"no image"]
    expected = SavedModelEngine(exported_model.path).predict(images)
    with ServeProcess(model=str(exported_model.path), engine="local", rest_port=0, gateway_port=0) as process:
        engine = connect(process.address("REST"), timeout_seconds=120)
        with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(lambda image: engine.predict([image]), images))
        heatmap = engine.explain(images[:1])["heatmap"]
        engine.close()
    np.testing.assert_allclose([answer["probability"][0] for answer in answers], expected["probability"], atol=1e-5)
    assert [answer["error"][0] for answer in answers] == expected["error"].tolist()
    assert heatmap.shape == (1, 7, 7)
    assert heatmap.max() <= 1.0
