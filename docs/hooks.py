"""MkDocs: shows pages that live elsewhere in the repository (`PAGES_ELSEWHERE`) beside those of `docs/`.

Links are written for the repository, as a code host shows it. Here they are turned to where the page stands in the
site: `docs/NAME.md` is its `NAME.md`, every other file keeps its path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES_ELSEWHERE = (
    "CONTRIBUTING.md",
    "saved_model/MODEL_CARD.md",
    "saved_model/photograph/MODEL_CARD.md",
    "saved_model/photograph/NOTICE.md",
    "serving/README.md",
    "serving/CAPACITY.md",
)
FILES_ELSEWHERE = ("saved_model/figures/*.png", "serving/capacity/*.png", "notebooks/*.ipynb")
DOCS = "docs/"

_LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")  # without a scheme: of the repository


def on_files(files, config):
    for pattern in PAGES_ELSEWHERE + FILES_ELSEWHERE:
        for path in ROOT.glob(pattern):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, **_):
    here = page.file.src_uri
    in_repository = here if here in PAGES_ELSEWHERE else DOCS + here

    def turned(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), match[2]))
        relative = posixpath.relpath(target.removeprefix(DOCS), posixpath.dirname(here) or ".")
        return match[1] + relative + match[3]

    return _LINK.sub(turned, markdown)
