"""`deepfake-tf benchmark --page`: the web page as a person meets it, in headless Chromium."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deepfake_tf.benchmark.measuring import Row, memory_mib, row
from deepfake_tf.benchmark.pictures import encoded_picture
from deepfake_tf.benchmark.report import Report
from deepfake_tf.benchmark.suite import describe_machine
from deepfake_tf.progress import say
from deepfake_tf.server.background import running, wait_for

SECTION = "the page"
LARGE = 4000, 3000  # pixels, of a telephone's camera
SMALL = 1024, 768
FILES_AT_ONCE = 10
_TIMEOUT_MILLISECONDS = 120_000


def measure_page(model: str | None = None, quick: bool = False) -> Report:
    """Seconds from drop to verdict, and the page's memory over 200 uploads; three minutes on two idle cores.

    Args:
        model: as for `deepfake-tf app`.
        quick: bool. Few images: to see that it runs.

    Raises:
        ModuleNotFoundError: Playwright is not installed.
        FileNotFoundError: Chromium is not on the PATH.
        OSError: the page did not start, or shows no verdict in two minutes.
    """
    import playwright.sync_api

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise FileNotFoundError("benchmark --page drives Chromium, which is not on the PATH: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory(prefix="deepfake-tf-benchmark-") as folder,
        _app(model) as (address, process_id),
        playwright.sync_api.sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(_TIMEOUT_MILLISECONDS)
        try:
            page.goto(address)
            say("measuring drop to verdict")
            seconds = [_time_drop(page, _write(folder, LARGE, [seed])) for seed in range(3 if quick else 11)]
            say("measuring memory")
            drops = 2 if quick else 20
            memory = []
            for drop in range(drops):
                seeds = range(100 + FILES_AT_ONCE * drop, 100 + FILES_AT_ONCE * (drop + 1))
                _time_drop(page, _write(folder, SMALL, seeds))
                memory.append(_page_memory_mib(process_id))
        except playwright.sync_api.Error as error:
            raise OSError(f"the page gave no verdict: {error}") from error
        finally:
            browser.close()
    rows = [row(SECTION, "JPEG of 12 megapixels, drop to verdict in Chromium", "s", seconds[2:])]  # warm by then
    for uploads in sorted({FILES_AT_ONCE, FILES_AT_ONCE * drops // 2, FILES_AT_ONCE * drops}):
        used = memory[uploads // FILES_AT_ONCE - 1]
        rows.append(Row(SECTION, f"its memory after {uploads} more uploads of 1024 x 768", used, "MiB", used, used, 1))
    return Report(describe_machine(), str(model or "the models that ship"), rows, [])


def _write(folder: str, size: tuple[int, int], seeds: Iterable[int]) -> list[Path]:
    """Pictures that the page has not seen, as files."""
    files = [Path(folder) / f"{seed}.jpg" for seed in seeds]
    for seed, file in zip(seeds, files):
        file.write_bytes(encoded_picture(*size, "JPEG", seed))
    return files


def _time_drop(page: Any, files: list[Path]) -> float:
    """Seconds until the conclusion of the files is on the page, which is cleared afterwards."""
    started = time.perf_counter()
    page.locator("input[type=file]").set_input_files(files)
    if len(files) > 1:
        page.get_by_text(f"{len(files)} images:").wait_for()
    page.locator("h3").first.wait_for()
    seconds = time.perf_counter() - started
    page.get_by_text("Clear all", exact=True).click()
    page.locator("h3").first.wait_for(state="detached")
    return seconds


@contextlib.contextmanager
def _app(model: str | None) -> Iterator[tuple[str, int]]:
    """`deepfake-tf app` as a process: its address, and its process id."""
    command = [sys.executable, "-m", "deepfake_tf.cli", "app", *(["--model", model] if model else [])]
    with running(command) as child:
        lines = lambda: [line for line in child.output().splitlines() if line.startswith("http://")]
        wait_for(lambda: bool(lines()), child, "deepfake-tf app")
        yield lines()[0], child.process.pid


def _page_memory_mib(process_id: int) -> float:
    """Resident set of Streamlit's process, a child of `process_id`; 0 where the system does not tell (not Linux)."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split():
            if b"streamlit" in Path(f"/proc/{child}/cmdline").read_bytes():
                return memory_mib(child, "VmRSS")
    return 0.0
