from __future__ import annotations

import numpy as np
import pytest

from deepfake_tf.data.folders import label_of_folder, load_folders
from deepfake_tf.evaluation.by_source import source_of


def test_classes_and_names(write_images):
    examples = load_folders(write_images({"REAL": 2, "FAKE": 3}))
    assert list(examples.names) == ["FAKE/0.png", "FAKE/1.png", "FAKE/2.png", "REAL/0.png", "REAL/1.png"]
    np.testing.assert_array_equal(examples.labels, [1, 1, 1, 0, 0])
    assert examples.labels.dtype == np.int64
    assert set(examples.splits) == {""}
    assert examples.notes == ()


def test_train_and_test_above(write_images):
    root = write_images({"Train/real_a": 2, "Train/fake_a": 2, "Train/fake-b": 1, "test/Real": 1, "test/fake": 1})
    examples = load_folders(root)
    assert {name: (label, split) for name, label, split in zip(examples.names, examples.labels, examples.splits)} == {
        "Train/real_a/0.png": (0, "train"),
        "Train/real_a/1.png": (0, "train"),
        "Train/fake_a/0.png": (1, "train"),
        "Train/fake_a/1.png": (1, "train"),
        "Train/fake-b/0.png": (1, "train"),
        "test/Real/0.png": (0, "test"),
        "test/fake/0.png": (1, "test"),
    }


def test_images_at_any_depth_and_other_files(write_images):
    root = write_images({"real": 1, "fake/sdxl/batch1": 2, "fake/.cache": 1, "__MACOSX/fake": 1}, extension=".JPG")
    (root / "real" / "about.txt").write_text("hello")
    (root / "real" / ".DS_Store").write_bytes(b"\0")
    examples = load_folders(root)
    assert list(examples.names) == ["fake/sdxl/batch1/0.JPG", "fake/sdxl/batch1/1.JPG", "real/0.JPG"]
    (note,) = examples.notes
    assert "1 .txt" in note
    assert "DS_Store" not in note


def test_links_to_folders_are_followed_once(write_images, tmp_path_factory):
    root = write_images({"REAL/coco": 1, "FAKE": 1})
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "REAL/coco/0.png").rename(elsewhere / "1.png")
    (root / "REAL/linked").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(elsewhere)
    assert list(load_folders(root).names) == ["FAKE/0.png", "REAL/linked/1.png"]


@pytest.mark.parametrize(
    ("name", "label"),
    [("REAL", 0), ("real_photos", 0), ("Fake", 1), ("FAKE-sdxl", 1), ("realistic", None), ("my_fake", None)],
)
def test_label_of_folder(name, label):
    assert label_of_folder(name) == label


def test_unknown_class_folder(write_images):
    with pytest.raises(ValueError, match=r"neither REAL nor FAKE: cats\. Received: FAKE/, REAL/, cats/"):
        load_folders(write_images({"REAL": 1, "FAKE": 1, "cats": 1}))


def test_unknown_split_folder(write_images):
    with pytest.raises(ValueError, match="neither train nor test: valid"):
        load_folders(write_images({"train/REAL": 1, "train/FAKE": 1, "valid/REAL": 1}))


def test_no_class_folder(write_images):
    with pytest.raises(ValueError, match=r"no class folders.*Received: photos/"):
        load_folders(write_images({"photos": 1}))


def test_nothing_at_all(tmp_path):
    with pytest.raises(ValueError, match=r"no class folders.*Received: nothing"):
        load_folders(tmp_path)


def test_empty_class(write_images):
    root = write_images({"REAL": 1, "FAKE": 0})
    (root / "FAKE" / "readme.md").write_text("images to come")
    with pytest.raises(ValueError, match=r"FAKE holds no image\. Received: 1 file;"):
        load_folders(root)


def test_generators_and_real_sources_below_the_classes(write_images):
    examples = load_folders(write_images({"REAL/phone": 1, "REAL/scans/a4": 1, "FAKE/flux-1": 2, "FAKE/sd 3": 1}))
    assert dict(zip(examples.names, examples.labels)) == {
        "FAKE/flux-1/0.png": 1,
        "FAKE/flux-1/1.png": 1,
        "FAKE/sd 3/0.png": 1,
        "REAL/phone/0.png": 0,
        "REAL/scans/a4/0.png": 0,
    }
    assert [source_of(name) for name in examples.names] == ["flux-1", "flux-1", "sd 3", "phone", "scans"]
