from __future__ import annotations

import numpy as np
import pytest

from deepfake_tf.data import sources
from deepfake_tf.data.cifake import archive as cifake_archive
from deepfake_tf.data.sources import load_examples


def test_several_sources_one_after_the_other(write_images):
    root = write_images({"a/REAL": 2, "a/FAKE": 1, "b/train/real_x": 1, "b/train/fake_x": 1})
    (root / "a" / "more.csv").write_text("path,label,split\nREAL/0.png,fake,test\n")
    examples = load_examples([str(root / "a"), str(root / "b"), str(root / "a" / "more.csv")])
    assert examples.counts() == {"REAL": 3, "FAKE": 3}
    assert len(set(examples.names)) == 6  # REAL/0.png stands in two of the sources
    np.testing.assert_array_equal(examples.labels, [1, 0, 0, 1, 0, 1])
    assert list(examples.splits) == ["", "", "", "train", "train", "test"]
    assert all(isinstance(file, str) for file in examples.files)


def test_swap_labels(write_images):
    root = write_images({"REAL": 1, "FAKE": 2})
    plain, swapped = load_examples([str(root)]), load_examples([str(root)], swap_labels=True)
    np.testing.assert_array_equal(swapped.labels, 1 - plain.labels)
    assert swapped.labels.dtype == np.int64
    assert swapped.names == plain.names
    assert plain.notes == ()
    assert "swapped" in swapped.notes[-1]


def test_one_class_a_source(write_images):
    root = write_images({"photos/real": 2, "generated/fake": 1})
    assert load_examples([str(root / "photos"), str(root / "generated")]).counts() == {"REAL": 2, "FAKE": 1}
    with pytest.raises(ValueError, match=r"No images of class FAKE in .*photos\. Received: {'REAL': 2, 'FAKE': 0}"):
        load_examples([str(root / "photos")])


def test_path_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no .*nowhere\. Expected: cifake, a folder, or a CSV file"):
        load_examples([str(tmp_path / "nowhere")])


def test_file_of_unknown_kind(tmp_path):
    (tmp_path / "data.tar.xz").write_bytes(b"\0")
    with pytest.raises(ValueError, match=r"neither a folder nor a \.csv file.*--data cifake --archive .*data\.tar\.xz"):
        load_examples([str(tmp_path / "data.tar.xz")])


def test_no_source():
    with pytest.raises(ValueError, match="No data given"):
        load_examples([])


def test_archive_without_cifake(write_images):
    root = write_images({"REAL": 1, "FAKE": 1})
    with pytest.raises(ValueError, match=r"--archive is for --data cifake alone. Received: --archive x\.zip"):
        load_examples([str(root)], archive="x.zip")


def test_cifake_archive_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=cifake_archive.DOWNLOAD_URL):
        load_examples([sources.CIFAKE], archive=str(tmp_path / "nowhere.zip"))
