"""The page and the local server as a person meets them: in Chromium."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.detectors.bundle import has_light, read_bundle
from deepfake_tf.detectors.registry import DETECTORS
from deepfake_tf.shipped import shipped_folder
from tests.images import encode, photograph
from tests.server.running import PROJECT, ServeProcess

pytestmark = pytest.mark.browser
TIMEOUT_MILLISECONDS = 30_000


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def contract_model(tmp_path_factory):
    from tests.server.saved_models import write_contract_model

    return write_contract_model(tmp_path_factory.mktemp("contract") / "deepfake" / "1")


class App:
    """`deepfake_tf.server.app.run_app` as a process."""

    def __init__(self, **options):
        arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
        code = f"from deepfake_tf.server.app import AppOptions, run_app; run_app(AppOptions({arguments}))"
        environment = {name: value for name, value in os.environ.items() if name != "DEEPFAKE_TF_URL"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True, env=environment
        )
        alarm = threading.Timer(120, self.process.kill)
        alarm.start()
        self.address = self.process.stdout.readline().strip()
        alarm.cancel()

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> int:
        """As Ctrl-C does; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.process.stdout.close()
        return self.process.returncode


def test_two_images_download_server_lost_and_back(browser, contract_model, tmp_path):
    files = []
    for seed, name in enumerate(("<script>alert(1)<.jpg", "second.jpg")):
        files.append({"name": name, "mimeType": "image/jpeg", "buffer": encode(photograph(seed=seed), "JPEG")})
    third = {"name": "third.jpg", "mimeType": "image/jpeg", "buffer": encode(photograph(seed=5), "JPEG")}
    with ServeProcess(model=str(contract_model), engine="local", rest_port=0, gateway_port=0) as server:
        url = server.address("REST")
        with App(url=url) as app, _open(browser, app.address) as page:
            page.on("dialog", lambda dialog: pytest.fail("a file name ran as a script"))
            page.locator("input[type=file]").set_input_files(files)
            page.get_by_text("2 images:").wait_for()
            page.get_by_alt_text("The image with the network's heat map over it.").nth(1).wait_for()
            assert page.locator("h3").count() == 2
            with page.expect_download() as download:
                page.get_by_text("Download CSV").click()
            download.value.save_as(tmp_path / "predictions.csv")
            with (tmp_path / "predictions.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [row["file"] for row in rows] == [file["name"] for file in files]
            assert [0.0 <= float(row["probability"]) <= 1.0 for row in rows] == [True, True]
            assert _serious_findings(page) == []

            server.stop(signal.SIGINT)
            page.locator("input[type=file]").set_input_files([third])
            page.get_by_text("The model server is down").wait_for()
            port = urllib.parse.urlsplit(url).port
            with ServeProcess(model=str(contract_model), engine="local", rest_port=port, gateway_port=0):
                page.get_by_text("Retry", exact=True).click()
                page.get_by_text("3 images:").wait_for()


def test_app_starts_and_ends_both(browser, contract_model):
    upload = {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": encode(photograph(), "JPEG")}
    with App(model=str(contract_model), engine="local") as app:
        with _open(browser, app.address) as page:
            page.get_by_text("Sample photographs", exact=True).wait_for()
            assert _serious_findings(page) == []
            page.locator("input[type=file]").set_input_files([upload])
            page.locator("h3").first.wait_for()
        assert app.stop() == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(app.address, timeout=5)


def test_fifty_files_with_long_names_on_a_narrow_page(browser, contract_model):
    names = [f"{'a long name without end ' * 8}{number}.jpg" for number in range(50)]
    files = [
        {"name": name, "mimeType": "image/jpeg", "buffer": encode(photograph(seed=seed), "JPEG")}
        for seed, name in enumerate(names)
    ]
    narrow = {"viewport": {"width": 390, "height": 844}}
    with App(model=str(contract_model), engine="local") as app, _open(browser, app.address, **narrow) as page:
        page.locator("input[type=file]").set_input_files(files)
        page.get_by_text("50 images:").wait_for()
        page.locator("h3").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement !== document.body")
        with page.expect_download() as download:
            page.get_by_text("Download JSON").click()
        rows = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
        assert [row["file"] for row in rows] == names


def test_two_detectors_on_a_dark_narrow_page(browser, tmp_path):
    """The models that ship: each image is shown with the numbers of the one that judged it."""
    sizes = {"large.jpg": photograph(640, 480), "small.jpg": photograph(32, 32)}
    files = [{"name": name, "mimeType": "image/jpeg", "buffer": encode(image, "JPEG")} for name, image in sizes.items()]
    files.append({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"Dear Ann"})
    narrow = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    with App(engine="local") as app, _open(browser, app.address, **narrow) as page:
        page.locator("input[type=file]").set_input_files(files)
        page.get_by_text("Download CSV").wait_for()
        with page.expect_download() as download:
            page.get_by_text("Download CSV").click()
        rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
        assert [row["detector"] for row in rows] == ["photograph", "cifake", ""]
        page.get_by_text("notes.txt: not an image in a supported format").wait_for()
        judged = [row for row in rows if row["in_domain"] == "True"]
        for number in page.get_by_text("The model's number").all():
            number.click()
        gauges = page.get_by_alt_text("Probability that the image is generated:")
        gauges.nth(len(judged) - 1).wait_for()
        assert gauges.count() == len(judged)
        for index, row in enumerate(judged):
            name = DETECTORS[row["detector"]].model_name
            model = shipped_folder() / (name if has_light(shipped_folder() / name) else f"{name}.tflite")
            low, high = read_bundle(model).decision.band
            assert f"from {low:.1%} to {high:.1%}" in gauges.nth(index).get_attribute("alt")
            shown = Image.open(io.BytesIO(gauges.nth(index).screenshot())).convert("L")
            assert np.median(np.asarray(shown)) < 100
        assert _serious_findings(page) == []
        with page.expect_download() as download:
            page.get_by_role("button", name="Download report").click()
        download.value.save_as(tmp_path / "report.html")
        page.goto((tmp_path / "report.html").as_uri())
        assert page.get_by_role("heading", level=2).count() == len(files)
        assert page.get_by_role("img").count() == 2 + len(judged)
        assert _serious_findings(page) == []
        assert page.pdf().startswith(b"%PDF")


def _serious_findings(page) -> list[str]:
    """What axe-core finds wrong for keyboards and screen readers, as far as it is serious."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{found['id']}: {found['nodes'][0]['html']}"
        for found in violations
        if found["impact"] in ("serious", "critical")
    ]


@contextlib.contextmanager
def _open(browser, address: str, **options):
    page = browser.new_page(**options)
    page.set_default_timeout(TIMEOUT_MILLISECONDS)
    try:
        page.goto(address)
        yield page
    finally:
        page.close()
