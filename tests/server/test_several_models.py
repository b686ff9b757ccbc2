"""Two models beside each other: the local server, its gateway, its clients, and `serve`."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading

import numpy as np
import pytest
import requests

from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.tf_serving import RestEngine, connect
from deepfake_tf.server.gateway import build_remote_gateway
from deepfake_tf.server.launch import ServeOptions, serve
from deepfake_tf.server.loading import LoadingModel
from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.served_engine import ServedEngine
from deepfake_tf.server.served_model import ServedModel
from deepfake_tf.shipped import shipped_folder
from tests.images import encode, photograph
from tests.server.running import ServeProcess, application, ask
from tests.server.saved_models import expected_probability
from tests.server.test_launch import STATUS_SERVER, write_fake_model_server

SMALL = encode(photograph(32, 32, 0), "JPEG")
BETWEEN = encode(photograph(100, 100, 0), "JPEG")
LARGE = encode(photograph(320, 240, 0), "JPEG")
IMAGES = [LARGE, SMALL, b"no image", LARGE + b"more", BETWEEN]
JUDGES = [b"photograph", b"cifake", b"", b"photograph", b"photograph"]


class FlatEngine:
    """An engine that needs no TensorFlow: the same score for every image, and a map of its own size."""

    def predict(self, encoded):
        count = len(encoded)
        texts = {"label": b"FAKE", "verdict": b"uncertain", "reason": b"", "error": b""}
        floats = {"confidence": 0.75, "probability": 0.75, "logit": 1.0}
        rows = {name: np.full(count, text, object) for name, text in texts.items()}
        rows |= {name: np.full(count, value, np.float32) for name, value in floats.items()}
        return {**rows, "in_domain": np.full(count, True), "width": np.full(count, 320, np.int32)} | {
            "height": np.full(count, 240, np.int32)
        }

    def explain(self, encoded):
        return {**self.predict(encoded), "heatmap": np.full((len(encoded), 14, 14), 0.5, np.float32)}


@pytest.fixture(scope="module")
def port(contract_model):
    """Both are the same tiny model; `photograph` has a second version, and a label of its own."""
    with (
        contextlib.closing(ServedModel("deepfake", {1: contract_model}, {"stable": 1})) as first,
        contextlib.closing(
            ServedModel("photograph", {1: contract_model, 2: contract_model}, {"stable": 1, "canary": 2})
        ) as second,
        application(build_local_app(first, second)) as port,
    ):
        yield port


@pytest.fixture(scope="module")
def mixed_port(contract_model):
    """`deepfake` as a SavedModel, and `photograph` by an engine without TensorFlow, whose maps are larger."""
    with (
        contextlib.closing(ServedModel("deepfake", {1: contract_model})) as first,
        contextlib.closing(ServedEngine("photograph", FlatEngine())) as second,
        application(build_local_app(first, second)) as port,
    ):
        yield port


def test_detector_behind_a_url_says_who_judged(port):
    predictions = Detector(url=f"http://127.0.0.1:{port}").predict(IMAGES)
    assert [prediction.detector.encode() for prediction in predictions] == JUDGES


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v1/models/deepfake", "1"),
        ("/v1/models/photograph", "2"),
        ("/v1/models/photograph/versions/1", "1"),
        ("/v1/models/photograph/labels/stable", "1"),
        ("/v1/models/photograph/labels/canary", "2"),
    ],
)
def test_each_model_has_its_versions_and_labels(port, path, version):
    metadata = json.loads(ask(port, "GET", f"{path}/metadata")[2])
    assert metadata["model_spec"]["version"] == version
    assert metadata["model_spec"]["name"] == path.split("/")[3]
    status, _, answer = ask(port, "POST", f"{path}:predict", b'{"instances": ["text"]}')
    assert status == 200
    assert json.loads(answer)["predictions"][0]["label"] == "INVALID"


def test_what_one_model_lacks_the_other_does_not_lend(port):
    assert ask(port, "GET", "/v1/models/deepfake/versions/2")[0] == 404
    status, _, answer = ask(port, "POST", "/v1/models/deepfake/labels/canary:predict", b"{}")
    assert (status, json.loads(answer)) == (400, {"error": "Unrecognized servable version label: canary"})
    status, _, answer = ask(port, "POST", "/v1/models/nope:predict", b"{}")
    assert (status, json.loads(answer)) == (404, {"error": "Servable not found for request: Latest(nope)"})


def test_metrics_tell_the_models_apart(port):
    def counts() -> dict[str, float]:
        text = ask(port, "GET", "/monitoring/prometheus/metrics")[2].decode()
        types = [line for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(types) == len(set(types)) == 3
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    body = b'{"instances": ["text"]}'
    for name in ("deepfake", "photograph"):
        ask(port, "POST", f"/v1/models/{name}:predict", body)
    before = counts()
    for _ in range(2):
        ask(port, "POST", "/v1/models/photograph:predict", body)
    ask(port, "POST", "/v1/models/nobody:predict", body)
    after = counts()
    requests_of = lambda name: f':tensorflow:serving:request_count{{model_name="{name}",status="OK"}}'
    assert after[requests_of("photograph")] == before[requests_of("photograph")] + 2
    assert after[requests_of("deepfake")] == before[requests_of("deepfake")]
    batches = ":tensorflow:serving:batching_session:processed_batch_size_count{}"
    assert after[batches] == before[batches] + 2
    assert not any("nobody" in name for name in after)


@pytest.mark.parametrize("path", ["", "/predict"])
def test_each_image_goes_to_the_model_for_its_size(port, path):
    with contextlib.closing(connect(f"http://127.0.0.1:{port}{path}")) as engine:
        assert engine.is_ready()
        rows = engine.predict(IMAGES)
    assert rows["detector"].tolist() == JUDGES
    expected = [expected_probability(image) if image.startswith(b"\xff\xd8") else -1.0 for image in IMAGES]
    np.testing.assert_allclose(rows["probability"], expected, atol=1e-6)


@pytest.mark.parametrize("path", ["", "/predict"])
def test_maps_keep_their_detectors_sizes(mixed_port, path):
    with contextlib.closing(connect(f"http://127.0.0.1:{mixed_port}{path}")) as engine:
        rows = engine.explain([LARGE, SMALL])
    assert rows["detector"].tolist() == [b"photograph", b"cifake"]
    assert [heatmap.shape for heatmap in rows["heatmap"]] == [(14, 14), (7, 7)]
    assert rows["probability"][0] == np.float32(0.75)


@pytest.mark.parametrize("image", [SMALL, LARGE])
@pytest.mark.parametrize("where", ["local", "remote"])
def test_the_gateway_says_who_judged(port, where, image):
    with contextlib.ExitStack() as stack:
        if where == "remote":
            engine = stack.enter_context(contextlib.closing(connect(f"http://127.0.0.1:{port}")))
            port = stack.enter_context(application(build_remote_gateway(engine, BodyReader())))
        answer = requests.post(f"http://127.0.0.1:{port}/predict", data=image, timeout=30).json()
        schema = requests.get(f"http://127.0.0.1:{port}/openapi.json", timeout=30).json()["components"]["schemas"]
    assert answer["detector"] == ("cifake" if image is SMALL else "photograph")
    assert answer["probability"] == pytest.approx(expected_probability(image), abs=1e-6)
    assert "detector" in schema["ScoreAnswer"]["properties"]


@pytest.mark.parametrize("options", [{"version": 1}, {"label": "stable"}])
def test_a_version_or_label_is_asked_of_each(port, options):
    with contextlib.closing(connect(f"http://127.0.0.1:{port}", **options)) as engine:
        assert engine.predict([SMALL, LARGE])["detector"].tolist() == [b"cifake", b"photograph"]


def test_a_version_that_one_of_them_lacks_is_an_error_for_its_images_alone(port):
    with contextlib.closing(connect(f"http://127.0.0.1:{port}", version=2)) as engine:
        assert engine.predict([LARGE])["detector"].tolist() == [b"photograph"]
        with pytest.raises(ValueError, match=r"Servable not found for request: Specific\(deepfake, 2\)"):
            engine.predict([SMALL])


def test_one_model_alone_is_asked_for_all(contract_model):
    """And what the server has is asked once."""
    for name, judge in (("deepfake", b"cifake"), ("photograph", b"photograph")):
        asked = []
        with contextlib.closing(ServedModel(name, {1: contract_model})) as model:
            app = build_local_app(model)

            async def counted(scope, receive, send, app=app, asked=asked):
                asked.append(f"{scope['method']} {scope['path']}")
                await app(scope, receive, send)

            with (
                application(counted) as port,
                contextlib.closing(connect(f"http://127.0.0.1:{port}")) as engine,
            ):
                for _ in range(3):
                    assert engine.predict([SMALL, LARGE])["detector"].tolist() == [judge] * 2
        assert sorted(asked[:2]) == ["GET /v1/models/deepfake", "GET /v1/models/photograph"]
        assert asked[2:] == [f"POST /v1/models/{name}:predict"] * 3


def test_a_model_given_by_name_is_asked_for_everything(port):
    with contextlib.closing(connect(f"http://127.0.0.1:{port}", "photograph")) as engine:
        assert isinstance(engine, RestEngine)
        assert "detector" not in engine.predict([SMALL])


def test_a_server_that_refuses_its_status_is_asked_as_ever(contract_model):
    """A proxy may let `:predict` through alone."""
    with contextlib.closing(ServedModel("deepfake", {1: contract_model})) as model:
        app = build_local_app(model)

        async def closed(scope, receive, send):
            if scope["method"] == "GET":
                await send({"type": "http.response.start", "status": 403, "headers": []})
                await send({"type": "http.response.body", "body": b"no"})
            else:
                await app(scope, receive, send)

        with application(closed) as port, contextlib.closing(connect(f"http://127.0.0.1:{port}")) as engine:
            assert engine.predict([LARGE, SMALL])["detector"].tolist() == [b"cifake"] * 2


def test_requests_wait_for_a_model_that_is_being_loaded(contract_model):
    go_on = threading.Event()

    def load():
        assert go_on.wait(60)
        return ServedModel("photograph", {1: contract_model})

    with (
        contextlib.closing(ServedModel("deepfake", {1: contract_model})) as first,
        contextlib.closing(LoadingModel("photograph", [1], load)) as second,
        application(build_local_app(first, second)) as port,
        contextlib.closing(connect(f"http://127.0.0.1:{port}")) as engine,
    ):
        state = lambda: json.loads(ask(port, "GET", "/v1/models/photograph")[2])["model_version_status"][0]["state"]
        assert state() == "LOADING"
        assert engine.is_ready()
        assert engine.predict([SMALL])["detector"].tolist() == [b"cifake"]
        assert ask(port, "GET", "/monitoring/prometheus/metrics")[0] == 200
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(engine.predict([LARGE])["detector"][0].decode())),
            threading.Thread(
                target=lambda: answers.append(
                    requests.post(f"http://127.0.0.1:{port}/predict", data=LARGE, timeout=60).json()["detector"]
                )
            ),
        ]
        for thread in threads:
            thread.start()
        go_on.set()
        for thread in threads:
            thread.join()
        assert answers == ["photograph"] * 2
        assert state() == "AVAILABLE"


def test_a_model_that_cannot_be_loaded_is_told(contract_model):
    def load():
        raise ValueError("of the test")

    failed = threading.Event()
    with (
        contextlib.closing(ServedModel("deepfake", {1: contract_model})) as first,
        contextlib.closing(LoadingModel("photograph", [1], load)) as second,
        application(build_local_app(first, second)) as port,
    ):
        second.call_if_it_fails(failed.set)
        assert failed.wait(10)
        status, _, answer = ask(port, "POST", "/v1/models/photograph:predict", b'{"instances": ["a"]}')
        assert (status, json.loads(answer)) == (503, {"error": "photograph could not be loaded: of the test"})
        answer = requests.post(f"http://127.0.0.1:{port}/predict", data=LARGE, timeout=30)
        assert (answer.status_code, answer.json()) == (502, {"error": "photograph could not be loaded: of the test"})
        assert requests.post(f"http://127.0.0.1:{port}/predict", data=SMALL, timeout=30).status_code == 200
        with pytest.raises(ValueError, match="of the test"):
            second.check()


@pytest.fixture
def models(contract_model, tmp_path):
    """A folder of two models, of which `photograph` has two versions."""
    for place in ("deepfake/1", "photograph/1", "photograph/2"):
        shutil.copytree(contract_model, tmp_path / place)
    return tmp_path


def test_serve_takes_a_folder_of_models(models):
    options = {"engine": "local", "rest_port": 0, "gateway_port": 0, "labels": ["stable=1"]}
    with ServeProcess(model=str(models), **options) as process:
        shown = "\n".join(process.lines)
        assert f"model    deepfake, versions 1 ({models}/deepfake/1)" in shown
        assert f"model    photograph, versions 1 ({models}/photograph/1), 2 ({models}/photograph/2)" in shown
        url = process.address("gateway") + "/predict"
        for image, judge in ((LARGE, "photograph"), (SMALL, "cifake")):
            assert requests.post(url, data=image, timeout=60).json()["detector"] == judge
        metadata = requests.get(f"{process.address('REST')}/v1/models/photograph/labels/stable/metadata", timeout=60)
        assert metadata.json()["model_spec"]["version"] == "1"


def test_serve_runs_a_light_model_beside_a_saved_model(models):
    shutil.rmtree(models / "photograph")
    (models / "photograph").symlink_to(shipped_folder() / "photograph")  # light files alone
    with ServeProcess(model=str(models), engine="local", rest_port=0, gateway_port=0) as process:
        answer = requests.post(process.address("gateway") + "/predict?explain=true", data=LARGE, timeout=60).json()
    assert answer["detector"] == "photograph"
    assert (answer["width"], answer["height"]) == (320, 240)


def test_tensorflow_serving_leaves_out_what_has_no_saved_model(models, tmp_path):
    shutil.rmtree(models / "photograph")
    (models / "photograph").symlink_to(shipped_folder() / "photograph")  # light files alone
    (tmp_path / "bin").mkdir()
    environment = write_fake_model_server(tmp_path / "bin", STATUS_SERVER)
    ports = dict.fromkeys(("rest_port", "grpc_port", "gateway_port"), 0)
    with ServeProcess(environment, model=str(models), engine="tensorflow_model_server", **ports) as process:
        shown = "\n".join(process.lines)
    assert f"model    deepfake, versions 1 ({models}/deepfake/1)" in shown
    assert "left out photograph: it has no SavedModel; make it with: deepfake-tf export " in shown
    assert "model    photograph" not in shown


def test_serve_ends_where_the_second_model_is_damaged(models):
    (models / "photograph" / "2" / "saved_model.pb").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="photograph/2 holds no readable SavedModel"):
        serve(ServeOptions(str(models), "local", rest_port=0, gateway_port=0))


def test_a_label_that_no_model_has(models):
    with pytest.raises(FileNotFoundError, match="a label names a version that is not there: canary=3"):
        serve(ServeOptions(str(models), "local", labels=["canary=3"]))
