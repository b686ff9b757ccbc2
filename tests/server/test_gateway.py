"""POST /predict, in front of a model in process, of a dead server, and of a slow one."""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading

import numpy as np
import pytest
import requests

from deepfake_tf.contract import ERROR_DAMAGED
from deepfake_tf.decision.verdict import Decision, decide
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.tf_serving import RestEngine, connect
from deepfake_tf.server.batching import Overloaded
from deepfake_tf.server.gateway import build_gateway, build_remote_gateway
from deepfake_tf.server.local import build_local_app
from deepfake_tf.server.request_body import BodyReader
from deepfake_tf.server.served_model import ServedModel
from tests.images import encode, photograph
from tests.provenance.metadata_files import PARAMETERS, png_with
from tests.server.running import application
from tests.server.saved_models import JPEG, expected_probability

KEY = "a key, not in ASCII: schlüssel"


@pytest.fixture(scope="module")
def model(contract_model):
    served = ServedModel("deepfake", {1: contract_model})
    yield served
    served.close()


@pytest.fixture(scope="module")
def local_app(model):
    return build_local_app(model, bodies=BodyReader(max_body_bytes=2**22))


@pytest.fixture(scope="module")
def local_url(local_app):
    with application(local_app) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module", params=["local", "remote"])
def url(request, local_url):
    """The gateway in the local server, and alone in front of one."""
    if request.param == "local":
        yield local_url
    else:
        engine = connect(local_url)
        with application(build_remote_gateway(engine, BodyReader(max_body_bytes=2**22))) as port:
            yield f"http://127.0.0.1:{port}"
        engine.close()


def _form(field: str, file_name: str | None, content: bytes) -> tuple[bytes, dict[str, str]]:
    disposition = f'form-data; name="{field}"' + (f'; filename="{file_name}"' if file_name is not None else "")
    body = f"--xyz\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n--xyz--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=xyz"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        _form("file", "photo.jpg", JPEG),
        _form("file", None, JPEG),
        _form("file", "", JPEG),
        _form("", "photo.jpg", JPEG),
        _form("image", "photo.jpg", JPEG),
        (JPEG, {"Content-Type": "image/jpeg"}),
        (JPEG, {"Content-Type": "application/octet-stream"}),
        (JPEG, {"Content-Type": "application/x-www-form-urlencoded"}),
        (JPEG, {}),
    ],
    ids=["form", "no file name", "empty name", "no field", "other field", "image", "octets", "curl's default", "none"],
)
def test_ways_to_send_an_image(url, body, headers):
    answer = requests.post(f"{url}/predict", data=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    score = answer.json()
    probability = expected_probability(JPEG)
    assert score["probability"] == pytest.approx(probability, abs=1e-6)
    assert score["label"] == ("FAKE" if probability >= 0.5 else "REAL")
    assert score["confidence"] == pytest.approx(max(probability, 1 - probability), abs=1e-6)
    assert set(score) == {
        *("label", "confidence", "probability", "logit", "in_domain", "verdict", "reason", "width", "height"),
        *("detector", "conclusion", "sentence", "witness"),
    }
    assert score["detector"] == "cifake"


def test_the_answer_concludes_from_the_file_too():
    decision = Decision(1.0, 0.0, 0.5, (0.2, 0.8), (16, None), (32, None), 1.0)
    one = np.ones(1)

    async def score(encoded, explain):
        error = "" if b"IEND" in encoded else ERROR_DAMAGED
        return decide(3 * one, 0 * one, 40 * one, 30 * one, [error], decision)

    async def is_ready():
        return True

    with application(build_gateway(score, is_ready, "a test", BodyReader())) as port:
        ask = lambda query, content: requests.post(f"http://127.0.0.1:{port}/predict{query}", data=content, timeout=30)
        plain, told = (ask("", content).json() for content in (png_with(), png_with(parameters=PARAMETERS)))
        alone = ask("?conclude=false", png_with(parameters=PARAMETERS)).json()
        refused = ask("", png_with(parameters=PARAMETERS)[:-12])
    assert (plain["conclusion"], plain["witness"]) == ("likely_generated", "detector")
    assert (told["conclusion"], told["witness"]) == ("declared_generated", "declaration")
    assert told["sentence"] == "The file says that AI generated it"
    assert told["probability"] == plain["probability"]
    assert alone.items() < told.items()
    assert set(told) - set(alone) == {"conclusion", "sentence", "witness"}
    assert refused.status_code == 422
    assert refused.json()["error"] == ERROR_DAMAGED
    assert refused.json()["conclusion"] == "declared_generated"  # a file without a score still has its word


def test_explain_adds_the_heat_map(url):
    answer = requests.post(f"{url}/predict?explain=true", files={"file": JPEG}, timeout=30).json()
    assert answer["heatmap"] == [[0.25] * 7] * 7


def _two_parts(*names: str) -> tuple[bytes, dict[str, str]]:
    parts = (
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="a.jpg"\r\n\r\n'.encode() + JPEG
        for name in names
    )
    return b"\r\n".join(parts) + b"\r\n--xyz--\r\n", {"Content-Type": "multipart/form-data; boundary=xyz"}


@pytest.mark.parametrize("names", [("file", "file"), ("file", "image"), ("a", "b", "c")])
def test_a_second_file_is_not_passed_over(url, names):
    body, headers = _two_parts(*names)
    answer = requests.post(f"{url}/predict", data=body, headers=headers, timeout=30)
    assert answer.status_code == 400
    assert f"Received: {len(names)} (fields {', '.join(names)})" in answer.json()["error"]


def test_other_fields_of_a_form_do_not_matter(url):
    form = {"data": {"comment": "hello"}, "files": [("file", ("a.jpg", JPEG)), ("other", ("", b""))]}
    assert requests.post(f"{url}/predict", timeout=30, **form).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (*_form("file", "empty.jpg", b""), 400),
        (*_form("text", None, b"hello"), 400),
        (b"--xyz\r\nbroken", {"Content-Type": "multipart/form-data; boundary=xyz"}, 400),
        (_form("file", "a.jpg", JPEG)[0][:-20], {"Content-Type": "multipart/form-data; boundary=xyz"}, 400),
        (JPEG, {"Content-Type": "multipart/form-data"}, 400),
        (b"--xyz\r\n\r\n\r\n" * 40, {"Content-Type": "multipart/form-data; boundary=xyz"}, 400),
        (bytes(2**22 + 1), {}, 413),
        (b"hello", {}, 415),
        (b"huge image", {}, 422),
    ],
    ids=["none", "empty", "no file", "broken", "cut", "no boundary", "many parts", "large", "text", "many pixels"],
)
def test_refusals(url, body, headers, status):
    answer = requests.post(f"{url}/predict", data=body, headers=headers, timeout=30)
    assert answer.status_code == status, answer.text
    error, *conclusion = answer.json().items()
    assert error[0] == "error"
    assert error[1]
    if status in (415, 422):  # the model saw it
        assert dict(conclusion)["conclusion"] == "not_scored"
    else:
        assert conclusion == []


def test_statuses_of_the_exported_models_errors(exported_model):
    """The gateway tells errors apart by their text: these are the texts of the model that is exported."""
    from tests.images import broken_images

    served = ServedModel("deepfake", {1: exported_model.path})
    expected = {"empty file": 400, "not an image": 415, "damaged": 422, "too many pixels": 422}
    with application(build_local_app(served)) as port:
        for name, (encoded, error) in broken_images().items():
            answer = requests.post(f"http://127.0.0.1:{port}/predict", files={"file": encoded}, timeout=60)
            assert answer.status_code == expected[error], (name, answer.text)
    served.close()


def test_a_detector_takes_the_gateways_address(url):
    """What `serve` prints is what `--url` and the web page take, wherever the gateway stands."""
    engine = connect(f"{url}/predict")
    assert engine.is_ready()
    images = [JPEG, b"", b"text", JPEG + b"more", b"huge image", bytes(2**22 + 1)]
    outputs = engine.explain(images)
    expected = [expected_probability(image) if image.startswith(JPEG) else -1.0 for image in images]
    np.testing.assert_allclose(outputs["probability"], expected, atol=1e-6)
    assert [bool(error) for error in outputs["error"]] == [probability < 0 for probability in expected]
    assert outputs["label"].tolist()[1:3] == [b"INVALID", b"INVALID"]
    assert [(heatmap.shape, heatmap.dtype) for heatmap in outputs["heatmap"]] == [((7, 7), np.float32)] * 6
    assert "heatmap" not in engine.predict([JPEG])
    engine.close()
    whole = encode(photograph(32, 32, 0), "JPEG")  # a detector sends no image that is damaged
    prediction = Detector(url=f"{url}/predict").predict(whole)
    assert (prediction.probability, prediction.error) == (pytest.approx(expected_probability(whole), abs=1e-6), "")


def test_cards_are_those_of_the_models_that_answer(model, url):
    cards = {"cifake": {"decision": {"uncertain_band": [0.25, 0.75]}}}
    with application(build_local_app(model, cards=cards)) as port:
        assert Detector(url=f"http://127.0.0.1:{port}/predict").cards == cards
    assert Detector(url=f"{url}/predict").cards == {}  # not known there
    with application(build_local_app(model, api_key=KEY, cards=cards)) as port:
        assert requests.get(f"http://127.0.0.1:{port}/cards", timeout=30).status_code == 401


def test_a_detector_without_the_gateways_key(model):
    with application(build_local_app(model, api_key=KEY)) as port:
        engine = connect(f"http://127.0.0.1:{port}/predict")
        with pytest.raises(ValueError, match=r"refused the request \(401\): the header X-API-Key"):
            engine.predict([JPEG])
        engine.close()


def test_bad_query(url):
    answer = requests.post(f"{url}/predict?explain=perhaps", data=JPEG, timeout=30)
    assert answer.status_code == 400
    assert "explain" in answer.json()["error"]


def test_other_methods(url):
    answer = requests.get(f"{url}/predict", timeout=30)
    assert answer.status_code == 405
    assert set(answer.json()) == {"error"}


def test_no_image_reaches_the_disk(local_url, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("an upload was written to a temporary file")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    answer = requests.post(f"{local_url}/predict", files={"file": JPEG + bytes(3 * 2**20)}, timeout=30)
    assert answer.status_code == 200


def test_health_and_description(url):
    assert requests.get(f"{url}/healthz", timeout=30).json()["status"] == "ok"
    description = requests.get(f"{url}/openapi.json", timeout=30).json()
    assert {"multipart/form-data", "image/*"} <= set(description["paths"]["/predict"]["post"]["requestBody"]["content"])


def test_the_page_that_describes_it_loads_nothing_from_elsewhere(url):
    page = requests.get(f"{url}/docs", timeout=30)
    assert page.headers["Content-Type"].startswith("text/html")
    for shown in ("POST /predict", "GET /healthz", "multipart/form-data", "probability of the label", "not an image"):
        assert shown in page.text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?\s*(?:https?:)?//|@import|url\(", page.text, re.IGNORECASE)


def test_api_key(model):
    with application(build_local_app(model, api_key=KEY)) as port:
        url = f"http://127.0.0.1:{port}"
        right = {"X-API-Key": KEY.encode()}
        for path, body in (("/predict", JPEG), ("/v1/models/deepfake:predict", b'{"instances": ["a"]}')):
            for headers in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}):
                answer = requests.post(url + path, data=body, headers=headers, timeout=30)
                assert answer.status_code == 401, path
                assert set(answer.json()) == {"error"}
        # A header travels as bytes; the key's are UTF-8.
        assert requests.post(f"{url}/predict", data=JPEG, headers=right, timeout=30).status_code == 200
        assert requests.get(f"{url}/healthz", timeout=30).status_code == 200


def test_no_other_origin_unless_named(model):
    preflight = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    for origins, allowed in (((), None), (("https://example.org",), "https://example.org")):
        with application(build_local_app(model, cors_origins=origins)) as port:
            answer = requests.options(f"http://127.0.0.1:{port}/predict", headers=preflight, timeout=30)
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_overload_is_503():
    async def score(encoded, explain):
        raise Overloaded("the queue is full")

    async def is_ready():
        return False

    with application(build_gateway(score, is_ready, "a test", BodyReader())) as port:
        url = f"http://127.0.0.1:{port}"
        answer = requests.post(f"{url}/predict", data=JPEG, timeout=30)
        assert (answer.status_code, answer.json()) == (503, {"error": "the queue is full"})
        assert requests.get(f"{url}/healthz", timeout=30).status_code == 503


def test_server_down_is_502():
    with application(build_remote_gateway(RestEngine("http://127.0.0.1:9", retries=0), BodyReader())) as port:
        answer = requests.post(f"http://127.0.0.1:{port}/predict", data=JPEG, timeout=30)
        assert answer.status_code == 502
        assert "deepfake-tf serve" in answer.json()["error"]
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 503


def test_slow_server_is_504_and_a_full_gateway_503():
    released = threading.Event()

    async def slow(scope, receive, send):
        await asyncio.to_thread(released.wait, 10)

    with application(slow) as slow_port:
        engine = RestEngine(f"http://127.0.0.1:{slow_port}", timeout_seconds=1.0, retries=0)
        with application(build_remote_gateway(engine, BodyReader(), max_in_flight=2)) as port:
            statuses = []

            def ask():
                statuses.append(requests.post(f"http://127.0.0.1:{port}/predict", data=JPEG, timeout=30).status_code)

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        released.set()
    assert sorted(statuses) == [503, 503, 504, 504]
