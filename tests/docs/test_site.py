"""MkDocs builds the documentation: no warning, no broken link, nothing from another host."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.docs.documents import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return folder


def test_every_page_is_there(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}
    assert (site / "saved_model" / "MODEL_CARD.html").is_file()
    assert (site / "serving" / "index.html").is_file()
    assert (site / "saved_model" / "figures" / "samples.png").is_file()
    assert not list(site.rglob("*.py"))


def test_links_between_folders_lead_to_files(site):
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'(?:href|src)="(?![a-z]+:)([^"#?]+)', page.read_text(encoding="utf-8")):
            path = page.parent / target
            assert path.is_file() or (path / "index.html").is_file(), f"{page.relative_to(site)}: {target}"


def test_nothing_is_fetched_from_elsewhere(site):
    """Fonts, styles and scripts: the pages open without a network."""
    fetched = r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+stylesheet[^>]+href=\"(?:https?:)?//"
    for path in site.rglob("*.html"):
        assert not re.search(fetched, path.read_text(encoding="utf-8")), path
    for path in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import [\"'(url]*(?:https?:)?//", path.read_text()), path
