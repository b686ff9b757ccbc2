"""Which files the arguments of a command name, and where it may write."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from deepfake_tf import Detector
from deepfake_tf.cli.paths import check_output, expand_paths
from tests.cli.running import run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "deeper/c.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(name)
    return tmp_path


def test_each_file_comes_once_however_it_is_spelt(folder):
    assert expand_paths(["./a.png", "a.png", "./*.png", ".", "deeper//c.png"]) == ["a.png", "b.png", "deeper/c.png"]


@contextlib.contextmanager
def as_nobody():
    """Root may enter any folder."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_cannot_be_entered_is_a_row_that_says_so():
    detector = Detector(engine="litert")
    assert detector.predict(Image.new("RGB", (32, 32))).error == ""  # loaded, while its files may be read
    with as_nobody(), tempfile.TemporaryDirectory() as place:
        locked = Path(place, "tree", "locked")
        locked.mkdir(parents=True)
        for file in (Path(place, "tree", "seen.png"), locked / "hidden.png"):
            Image.new("RGB", (32, 32)).save(file)
        locked.chmod(0)
        try:
            paths = expand_paths([str(Path(place, "tree")), str(locked / "hidden.png")])
            assert [Path(path).name for path in paths] == ["locked", "seen.png", "hidden.png"]
            errors = [row.error for row in detector.predict(paths)]
            assert errors == ["permission denied", "", "permission denied"]
        finally:
            locked.chmod(0o700)


def test_no_image_is_replaced(folder):
    with pytest.raises(ValueError, match="--output b.png is one of the images"):
        check_output("b.png", ["a.png", "./b.png"], is_text=False)
    with pytest.raises(ValueError, match="--output a.png is a picture"):  # as the shell makes it of --output *.png
        check_output("a.png", ["b.png"])
    check_output("a.png", ["b.png"], is_text=False)  # an earlier sheet
    check_output("rows.csv", ["a.png", "missing.png"])


@pytest.mark.parametrize("command", ["predict", "explain", "report"])
def test_commands_refuse_to_replace_their_images(folder, command):
    before = Path("a.png").read_bytes()
    result = run(command, "a.png", "--output", "a.png")
    assert result.returncode == 2
    assert "would be replaced. Name another file." in result.stderr
    assert Path("a.png").read_bytes() == before
