"""Files and folders that take their places whole, whatever kills the process on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_tf.detectors.bundle import DESCRIPTION, read_bundle, write_bundle
from deepfake_tf.writing import replace_folder, restore_folder

# Ends the process just before the step of this number: whatever is renamed, deleted or opened for writing.
KILL = """
import os, sys
step, events = int(sys.argv[1]), ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
def end(event, arguments):
    global step
    if event in events or (event == "open" and arguments[1] and "w" in arguments[1]):
        step -= 1
        if step < 0:
            os._exit(9)
"""


def kill_at(step: int, body: str, *arguments: object) -> bool:
    """Run Python up to a step; whether it came to its end before that."""
    command = [sys.executable, "-c", KILL + body, str(step), *map(str, arguments)]
    code = subprocess.run(command, timeout=60).returncode
    assert code in (0, 9)
    return code == 0


def make_folder(path: Path, content: str) -> None:
    (path / "inner").mkdir(parents=True)
    for name in ("saved_model.pb", "inner/one", "inner/two"):
        (path / name).write_text(content)


def read_folder(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


REPLACE = """
from pathlib import Path
import deepfake_tf.writing as writing
if sys.argv[4] == "False":
    writing._exchange = lambda one, other: False
sys.addaudithook(end)
writing.replace_folder(Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_the_old_or_the_new_one_wherever_it_is_killed(tmp_path, can_exchange):
    seen = set()
    for step in range(20):
        target = tmp_path / str(step) / "1"
        new = target.with_name(".1.exporting")
        make_folder(target, "old")
        make_folder(new, "new")
        is_done = kill_at(step, REPLACE, new, target, can_exchange)
        if not can_exchange:  # between two renames there may be none, until the next export looks
            restore_folder(target)
        contents = read_folder(target)
        assert len(contents) == 3, step
        assert set(contents.values()) in ({"old"}, {"new"}), step
        seen |= set(contents.values())
        if is_done:
            assert [path.name for path in target.parent.iterdir()] == ["1"]
            break
    else:
        pytest.fail("it never came to its end")
    assert seen == {"old", "new"} if not can_exchange or sys.platform != "linux" else {"new"}
    assert step >= 3


@pytest.mark.parametrize("step", range(5))
def test_the_next_one_cleans_up_after_a_killed_one(tmp_path, step):
    target, new = tmp_path / "1", tmp_path / ".1.exporting"
    make_folder(target, "old")
    make_folder(new, "killed")
    kill_at(step, REPLACE, new, target, False)
    make_folder(tmp_path / "newer", "newer")
    restore_folder(target)
    replace_folder(tmp_path / "newer", target)
    assert set(read_folder(target).values()) == {"newer"}
    assert {path.name for path in tmp_path.iterdir()} <= {"1", ".1.exporting"}  # the latter is the exporter's own


WRITE = """
import json
from pathlib import Path
from deepfake_tf.detectors.bundle import write_bundle
file = Path(sys.argv[2])
sys.addaudithook(end)
write_bundle(file.with_name("detector.json"), json.loads(sys.argv[3]), {file.name: b"new"})
"""


def test_a_description_fits_its_file_wherever_both_are_killed(tmp_path):
    def describe(variant: str) -> dict:
        decision = {"threshold": 0.5, "temperature": 1.0, "uncertain_band": [0.4, 0.6]}
        domain = {"sides_seen_in_training": [32, 32], "sides_accepted": [16, 64], "distance_threshold": 1.0}
        return {"variant": variant, "decision": decision, "domain": domain}

    found = []
    for step in range(9):
        folder = tmp_path / str(step)
        write_bundle(folder / DESCRIPTION, describe("old"), {"network.tflite": b"old"})
        file = folder / "network.tflite"
        is_done = kill_at(step, WRITE, file, json.dumps(describe("new")))
        bundle = read_bundle(folder)
        found.append(bundle.variant)
        assert bundle.light[0].read_text() == bundle.variant
        if is_done:
            break
        assert kill_at(99, WRITE, file, json.dumps(describe("new")))
        assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION, "network.tflite"]
    assert found == ["old", "old", "old", "new", "new"]
