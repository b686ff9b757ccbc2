"""Every link in the documents leads to a file, and to a heading in it, or is a web address."""

from __future__ import annotations

import pytest

from tests.docs.documents import DOCUMENTS, anchors, links, name_of


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
