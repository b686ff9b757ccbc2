from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepfake_tf.data.cifake.archive import fingerprint, read_images

TRAIN_NAMES = [f"train/{label}/0000{kind}.jpg" for label in ("FAKE", "REAL") for kind in (" (10)", " (2)", "")]
TEST_NAMES = [f"test/{label}/0000{kind}.jpg" for label in ("FAKE", "REAL") for kind in (" (10)", "")]


@pytest.mark.parametrize("packaging", ["xztar", "gztar", "tar", "zip"])
@pytest.mark.parametrize("level", [".", "DATASET"])  # GitHub's and Kaggle's
def test_every_packaging_gives_the_same(tiny_cifake, tmp_path, packaging, level):
    file = shutil.make_archive(str(tmp_path / "cifake"), packaging, tiny_cifake / level)
    images = read_images(file)
    assert list(images) == TEST_NAMES + TRAIN_NAMES
    assert images["train/FAKE/0000 (2).jpg"] == (tiny_cifake / "DATASET/train/FAKE/0000 (2).jpg").read_bytes()
    assert images == read_images(tiny_cifake / level)


@pytest.mark.parametrize("level", [".", "DATASET", "DATASET/train"])
def test_train_only(tiny_cifake, tmp_path, level):
    shutil.copytree(tiny_cifake, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/DATASET/test")
    assert list(read_images(tmp_path / "copy" / level)) == TRAIN_NAMES


def test_missing_images(tiny_cifake, tmp_path):
    shutil.copytree(tiny_cifake, tmp_path / "copy")
    (tmp_path / "copy/DATASET/train/FAKE/0000.jpg").unlink()
    with pytest.raises(ValueError, match=r"not the whole of CIFAKE\. Images found: .*'train/FAKE': 2.* Expected: "):
        read_images(tmp_path / "copy")


def test_half_of_the_test_split(tiny_cifake, tmp_path):
    shutil.copytree(tiny_cifake, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/DATASET/test/REAL")
    with pytest.raises(ValueError, match=r"Expected: .*'test/REAL': 2"):
        read_images(tmp_path / "copy")


def test_changed_image(tiny_cifake, tmp_path):
    shutil.copytree(tiny_cifake, tmp_path / "copy")
    changed = tmp_path / "copy/DATASET/train/FAKE/0000.jpg"
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="are not those that CIFAKE was published with"):
        read_images(tmp_path / "copy")


@pytest.mark.parametrize("packaging", ["xztar", "gztar", "zip"])
def test_cut_short(tiny_cifake, tmp_path, packaging):
    file = tmp_path / "cut"
    content = Path(shutil.make_archive(str(tmp_path / "whole"), packaging, tiny_cifake)).read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cut short|neither a folder nor"):
        read_images(file)


def test_no_archive(tiny_cifake):
    with pytest.raises(ValueError, match=r"README\.md is neither a folder nor a \.zip or \.tar archive"):
        read_images(tiny_cifake / "README.md")


def test_an_archive_of_something_else(tiny_cifake, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match="Images found: none"):
        read_images(tmp_path / "photos")


def test_fingerprint_tells_contents_apart(tiny_cifake, tmp_path):
    first = shutil.make_archive(str(tmp_path / "first"), "tar", tiny_cifake)
    second = shutil.make_archive(str(tmp_path / "second"), "tar", tiny_cifake / "DATASET")
    copy = shutil.copy(first, tmp_path / "copy.tar")
    assert fingerprint(first) == fingerprint(copy) != fingerprint(second)
    assert fingerprint(tiny_cifake) != fingerprint(tiny_cifake / "DATASET/train")
