"""The states of the page, as Streamlit's AppTest sees them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib

import pytest
from PIL import Image

from deepfake_tf.contract import MAX_FILE_BYTES
from tests.images import encode, photograph
from tests.server.running import application
from tests.streamlit_app.conftest import PAGE
from tests.streamlit_app.stub_server import BAD_FILE, OUT_OF_DOMAIN, ROW, UNCERTAIN

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:streamlit",
    "ignore::ResourceWarning",  # event loops of Streamlit's own script threads
)
HOSTILE = "<script>alert(1)</script>![x](http://evil.example/x.png).jpg"


def images(*names: str) -> list[tuple[str, bytes, str]]:
    return [(name, encode(photograph(seed=seed), "JPEG"), "image/jpeg") for seed, name in enumerate(names)]


def drop(page, *names: str):
    page.run()
    page.file_uploader[0].set_value(images(*names))
    return page.run()


def write_card(folder, card) -> None:
    """As a SavedModel has it; nothing of the model itself is read."""
    (folder / "assets").mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    (folder / "assets" / "model_card.json").write_text(json.dumps(card))


def texts(page) -> str:
    groups = (page.subheader, page.text, page.markdown, page.error, page.warning, page.caption)
    return "\n".join(str(element.value) for group in groups for element in group)


def button(page, label: str):
    return next(button for button in page.button if button.label == label)


def test_empty(page, server):
    page.run()
    assert not page.exception
    assert "not stored" in texts(page)
    assert "Can be judged: photographs whose short side has 200 pixels or more; images of 16 to 64" in texts(page)
    assert not page.subheader
    assert server.requests == 0


def test_one_image(page):
    drop(page, "cat.jpg")
    assert not page.exception
    assert "Likely generated" in page.subheader[0].value
    assert "cat.jpg" in texts(page)
    assert "JPEG, 48 x 40 pixels" in texts(page)
    assert not page.dataframe


def test_slider_does_not_score_again(page, server):
    drop(page, "cat.jpg")
    page.slider[0].set_value(80).run()
    assert not page.exception
    assert server.requests == 1


def test_many_images_and_a_bad_file(page, server):
    server.rows = [{}, BAD_FILE, {"label": "REAL", "verdict": "likely real", "probability": 0.2, "confidence": 0.8}]
    drop(page, "a.jpg", "b.jpg", "c.jpg")
    assert not page.exception
    table = page.dataframe[0].value
    assert table["file"].tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert table["verdict"].tolist() == ["likely generated", "no score", "likely real"]
    assert table["why"][1] == "not an image in a supported format"
    assert len(page.subheader) == 3


def test_a_file_without_a_score_still_has_its_own_word(page, server):
    server.rows = [BAD_FILE]
    page.run()
    exif = Image.Exif()
    exif[305] = "AI generated;txt2img;flux"
    page.file_uploader[0].set_value([("flux.jpg", encode(photograph(), "JPEG", exif=exif), "image/jpeg")])
    page.run()
    assert not page.exception
    assert "No score" in page.subheader[0].value
    assert "The file says that it was generated (EXIF Software). Pixels: not scored." in texts(page)


def test_a_gateway_behind_the_page(page, monkeypatch):
    """`DEEPFAKE_TF_URL` may be the address that `serve` prints for uploads."""

    async def gateway(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        is_predict = scope["path"] == "/predict" and b"explain=true" in scope["query_string"].split(b"&")
        answer = {name: value for name, value in ROW.items() if name != "error"}
        body = json.dumps(answer if is_predict else {"error": "not here"}).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if is_predict else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with application(gateway) as port:
        monkeypatch.setenv("DEEPFAKE_TF_URL", f"http://127.0.0.1:{port}/predict")
        drop(page, "cat.jpg")
        assert not page.exception
        assert "Likely generated" in page.subheader[0].value


def test_more_images_than_are_shown_at_once(page):
    drop(page, *[f"{number}.jpg" for number in range(9)])
    assert not page.exception
    assert len(page.dataframe[0].value) == 9
    assert len(page.subheader) == 1
    page.selectbox[0].set_value(4).run()
    assert "4.jpg" in [text.value for text in page.text]


def test_uncertain(page, server):
    server.rows = [UNCERTAIN]
    drop(page, "cat.jpg")
    assert "Uncertain" in page.subheader[0].value
    assert "Probability that the image is generated: **51.0%**. That lies in the uncertain band" in texts(page)


def test_out_of_domain_comes_before_any_percentage(page, server):
    server.rows = [OUT_OF_DOMAIN]
    drop(page, "cat.jpg")
    assert "cannot judge" in page.subheader[0].value
    assert "the model knows 32" in texts(page)
    assert "Can be judged: photographs whose short side has 200 pixels or more; images of 16 to 64" in texts(page)
    assert "%" not in texts(page).replace("95 %", "")
    assert not page.slider


def test_a_server_without_the_detector_for_this_size(page, server):
    server.rows = [{**OUT_OF_DOMAIN, "width": 320, "height": 240}]
    drop(page, "cat.jpg")
    assert "the server that answered does not have it" in texts(page)


def test_numbers_are_those_of_the_detector_that_judged(page, server, tmp_path):
    write_card(tmp_path / "deepfake", {"decision": {"threshold": 0.5, "uncertain_band": [0.04, 0.96]}})
    write_card(tmp_path / "photograph", {"threshold": 0.5, "band": [0.217, 0.92], "training": {"images": {"REAL": 7}}})
    server.models = ("deepfake", "photograph")
    server.rows = [{}, {"verdict": "uncertain"}]
    page.run()
    sizes = {"large.jpg": photograph(320, 240), "small.jpg": photograph(32, 32)}
    page.file_uploader[0].set_value([(name, encode(image, "JPEG"), "image/jpeg") for name, image in sizes.items()])
    page.run()
    assert not page.exception
    assert page.dataframe[0].value["detector"].tolist() == ["photograph", "cifake"]
    assert "**93.0%**. The model says “likely generated” above 92.0%." in texts(page)
    assert "**93.0%**. That lies in the uncertain band, from 4.0% to 96.0%," in texts(page)
    assert "Trained on: 7 REAL" in texts(page)


@pytest.mark.parametrize(
    ("temperature", "band", "is_its_card"),
    [
        (2.6 / math.log(0.93 / 0.07), [0.4, 0.6], True),
        (2.0, [0.4, 0.6], False),  # which makes 79 % of the row's logit
        (2.6 / math.log(0.93 / 0.07), [0.05, 0.95], False),  # in which the row would be uncertain
    ],
)
def test_a_card_of_another_model_tells_nothing(page, tmp_path, temperature, band, is_its_card):
    decision = {"threshold": 0.5, "uncertain_band": band, "temperature": temperature}
    write_card(tmp_path / "deepfake", {"decision": decision})
    drop(page, "cat.jpg")
    assert not page.exception
    assert ("above 60.0%" in texts(page)) is is_its_card
    assert ("its card is not at hand" in texts(page)) is not is_its_card


def test_a_refused_file_is_a_row_with_its_reason(page, server):
    server.rows = [{}, BAD_FILE]
    page.run()
    page.file_uploader[0].set_value([*images("cat.jpg"), ("notes.txt", b"Dear Ann", "text/plain")])
    page.run()
    assert not page.exception
    assert page.dataframe[0].value["verdict"].tolist() == ["likely generated", "no score"]
    assert page.dataframe[0].proto.placeholder == "-"
    assert "Without a score:\nnotes.txt: not an image in a supported format" in texts(page)


def test_server_down_then_retry(page, monkeypatch):
    there = os.environ["DEEPFAKE_TF_URL"]
    monkeypatch.setenv("DEEPFAKE_TF_URL", "http://127.0.0.1:9")
    drop(page, "cat.jpg")
    assert not page.exception
    assert "deepfake-tf serve" in page.error[0].value
    monkeypatch.setenv("DEEPFAKE_TF_URL", there)
    button(page, "Retry").click().run()
    assert not page.error
    assert "Likely generated" in page.subheader[0].value


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "asks for a key"),
        (404, "does not have this model"),
        (500, "not a server of"),
        (503, "busy"),
        (504, "slow"),
    ],
)
def test_errors_say_what_to_do(page, server, status, words):
    server.status = status
    drop(page, "cat.jpg")
    assert not page.exception
    assert words in page.error[0].value


def test_clear(page):
    drop(page, "cat.jpg")
    button(page, "Clear all").click().run()
    assert not page.exception
    assert not page.subheader


def test_sample(page):
    page.run()
    page.pills[0].set_value(["flower_crop.png"]).run()
    assert not page.exception
    assert "flower_crop.png" in texts(page)


def test_file_name_is_no_markup(page):
    drop(page, HOSTILE)
    assert not page.exception
    assert HOSTILE in [text.value for text in page.text]
    for group in (page.markdown, page.caption, page.subheader, page.error, page.warning):
        assert not any("evil.example" in element.value or "alert" in element.value for element in group)


def test_card_is_shown(page, tmp_path):
    interval = {"value": 0.98, "low": 0.97, "high": 0.99}
    card = {
        "model": "resnet18",
        "decision": {"threshold": 0.5, "uncertain_band": [0.4, 0.6]},
        "data": {"training": {"REAL": 1000, "FAKE": 2000}},
        "validation_metrics": {"accuracy": interval},
    }
    write_card(tmp_path, card)
    drop(page, "cat.jpg")
    assert not page.exception
    assert "Accuracy on held-out images: 0.9800 (0.9700 to 0.9900)" in texts(page)
    assert "1,000 REAL, 2,000 FAKE" in texts(page)


def test_upload_limit_is_the_servers():
    settings = tomllib.loads((PAGE.parent / ".streamlit" / "config.toml").read_text())
    assert settings["server"]["maxUploadSize"] * 2**20 == MAX_FILE_BYTES


def test_page_loads_no_tensorflow():
    code = "import sys, scoring, drawing; import deepfake_tf.provenance; sys.exit('tensorflow' in sys.modules)"
    environment_path = [str(PAGE.parent), str(PAGE.parents[1])]
    code = f"import sys; sys.path[:0] = {environment_path!r}; {code}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
