"""What the documents point to is there: links lead to a file and a heading in it, named source files exist."""

from __future__ import annotations

import re

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, anchors, inline_code, links, name_of


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_source_files_that_are_named_exist(document):
    """`folder/module.py`, from the top of the repository, from the package, or beside the document; NAME is any."""
    code = inline_code(document.read_text(encoding="utf-8"))
    named = {path for path in code if re.fullmatch(r"[\w/]+/(?!NAME)\w+\.py", path)}
    roots = (ROOT, ROOT / "deepfake_tf", document.parent)
    assert [name for name in sorted(named) if not any((root / name).is_file() for root in roots)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document):
    dead = []
    for link in links(document.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert dead == []
