"""Nothing upstream imports anything downstream: which room of the package may import which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "deepfake_tf"

BASE = {"contract", "text", "writing", "progress", "plots", "html_pages"}
DATA = BASE | {"reading", "detectors", "data"}
ENGINE = BASE | {"reading", "detectors", "decision"}
SCORING = ENGINE | {"engines", "output"}

ALLOWED: dict[str, set[str]] = {  # room -> the rooms that it may import, beside itself; upstream first
    "contract": set(),
    "text": set(),
    "writing": {"text"},
    "progress": set(),
    "plots": {"writing"},
    "html_pages": {"text"},
    "shipped": set(),
    "decision": BASE,
    "detectors": BASE | {"decision", "shipped"},
    "reading": BASE | {"detectors"},
    "networks": BASE | {"detectors"},
    "provenance": BASE | {"reading"},
    "conclusion": {"contract", "provenance"},
    "data": DATA | {"provenance"},
    "engines": ENGINE | {"provenance", "conclusion", "shipped"},
    "training": DATA | {"networks", "decision"},
    "evaluation": DATA | {"networks", "decision", "training", "engines"},
    "samples": DATA,
    "export": DATA | {"networks", "decision", "training", "engines", "evaluation", "samples"},
    "output": SCORING | {"provenance", "conclusion"},
    "prediction_run": SCORING | {"provenance", "conclusion"},
    "server": SCORING | {"provenance", "conclusion", "shipped", "samples"},
    "audit": SCORING | DATA | {"provenance"},
    "bulk_scoring": SCORING,
    "benchmark": SCORING | DATA | {"networks", "evaluation", "export", "server", "shipped"},
    "notebook": set(),
}
ALLOWED["cli"] = set(ALLOWED)  # all of the above
EVERYWHERE = "__init__"  # the version; `Detector` is imported by name only when it is asked for


def modules() -> dict[str, Path]:
    """Module name below the package, "" for the package itself -> file."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def room(module: str) -> str:
    return module.partition(".")[0] or EVERYWHERE


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.split(".")[0] != PACKAGE.name:
                continue
            module = target.partition(".")[2]
            found.add(module if module in known else module.rpartition(".")[0])  # a name in a module
    return found


def crossings() -> dict[str, set[str]]:
    """Every import from one room into another: "room -> module" -> the modules that have it."""
    known = modules()
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        for target in imported(path, known):
            if room(module) != room(target) and EVERYWHERE not in (room(module), room(target)):
                found.setdefault(f"{room(module)} -> {target}", set()).add(module)
    return found


def is_allowed(crossing: str) -> bool:
    source, target = crossing.split(" -> ")
    return room(target) in ALLOWED.get(source, set())


def test_every_room_has_its_line():
    missing = {room(module) for module in modules()} - set(ALLOWED) - {EVERYWHERE}
    assert not missing, f"say in ALLOWED what these may import: {', '.join(sorted(missing))}"


def test_nothing_upstream_imports_anything_downstream():
    wrong = [
        f"{crossing}, in {', '.join(sorted(sources))}"
        for crossing, sources in sorted(crossings().items())
        if not is_allowed(crossing)
    ]
    assert not wrong, "against the directions of ALLOWED:\n" + "\n".join(wrong)


def test_the_table_has_no_circle():
    """Each room may only import rooms that stand above it in the table."""
    above: set[str] = set()
    for name, allowed in ALLOWED.items():
        assert allowed - {name} <= above, f"{name} may import {', '.join(sorted(allowed - above - {name}))}"
        above.add(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from deepfake_tf.data import sources", {"data.sources"}),
        ("from deepfake_tf.config import FAKE", {"config"}),
        ("import deepfake_tf.engines.detector", {"engines.detector"}),
        ("def f():\n    from deepfake_tf import provenance", {"provenance"}),
        ("from deepfake_tf import __version__", {""}),
        ("import numpy", set()),
    ],
)
def test_imports_are_found(tmp_path, text, expected):
    (tmp_path / "module.py").write_text(text)
    assert imported(tmp_path / "module.py", modules()) == expected
