from __future__ import annotations

import shutil

import numpy as np
import pytest
import requests

from deepfake_tf.data.cifake import archive as cifake_archive
from deepfake_tf.data.cifake import loading
from deepfake_tf.data.cifake.loading import load_cifake
from deepfake_tf.data.examples import split_validation
from deepfake_tf.data.pipeline import DecodedImages


@pytest.fixture
def train_only(tiny_cifake, tmp_path):
    """A .tar.xz of the tiny CIFAKE without its test split, as the official archive without DATASET/test."""
    copy = shutil.copytree(tiny_cifake, tmp_path / "train_only")
    shutil.rmtree(copy / "DATASET" / "test")
    return shutil.make_archive(str(tmp_path / "cifake-train"), "xztar", copy)


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(requests, "head", refuse)


def test_examples(tiny_cifake, tmp_path):
    examples = load_cifake(tiny_cifake, tmp_path)
    assert list(examples.names) == sorted(examples.names)
    assert examples.names[-1] == "train/REAL/0000.jpg"
    assert examples.counts() == {"REAL": 5, "FAKE": 5}
    assert list(examples.splits) == ["test"] * 4 + ["train"] * 6
    assert examples.labels.dtype == np.int64
    assert examples.notes == ()
    for name, label, file in zip(examples.names, examples.labels, examples.files):
        assert file == (tiny_cifake / "DATASET" / name).read_bytes()
        assert label == (1 if "/FAKE/" in name else 0)


def test_train_only_and_full_are_kept_apart(tiny_cifake, train_only, tmp_path, offline):
    data_dir = tmp_path / "prepared"
    only_train = load_cifake(train_only, data_dir)
    assert set(only_train.splits) == {"train"}
    assert "without its test split" in only_train.notes[0]
    assert load_cifake(None, data_dir).names == only_train.names
    assert len(load_cifake(tiny_cifake, data_dir)) == 10
    assert len(load_cifake(None, data_dir)) == 10  # the full set is preferred
    assert len(load_cifake(train_only, data_dir)) == 6


def test_prepared_archive_is_not_read_again(train_only, tmp_path, monkeypatch):
    data_dir = tmp_path / "prepared"
    first = load_cifake(train_only, data_dir)
    monkeypatch.setattr(loading, "read_images", lambda path: pytest.fail("read again"))
    second = load_cifake(train_only, data_dir)
    assert second.names == first.names
    assert second.files == first.files


def test_another_packaging_of_the_same_content(tiny_cifake, train_only, tmp_path, monkeypatch):
    data_dir = tmp_path / "prepared"
    first = load_cifake(train_only, data_dir)
    unpacked = tmp_path / "train_only" / "DATASET"
    assert load_cifake(unpacked, data_dir).files == first.files
    monkeypatch.setattr(loading, "read_images", lambda path: pytest.fail("read again"))
    assert load_cifake(unpacked, data_dir).files == first.files
    assert load_cifake(train_only, data_dir).files == first.files


def test_bad_archive_leaves_nothing_behind(tiny_cifake, train_only, tmp_path, offline):
    data_dir = tmp_path / "prepared"
    bad = shutil.copytree(tiny_cifake, tmp_path / "bad")
    (bad / "DATASET/train/REAL/0000.jpg").unlink()
    with pytest.raises(ValueError, match="not the whole of CIFAKE"):
        load_cifake(bad, data_dir)
    with pytest.raises(ConnectionError):
        load_cifake(None, data_dir)
    assert len(load_cifake(train_only, data_dir)) == 6


def test_neither_prepared_nor_archive_nor_network(tmp_path, offline):
    with pytest.raises(ConnectionError, match=r"no route to host.*--archive FILE") as caught:
        load_cifake(None, tmp_path)
    assert cifake_archive.DOWNLOAD_URL in str(caught.value)


def test_nothing_on_stdout(tiny_cifake, tmp_path, capfd):
    load_cifake(tiny_cifake, tmp_path)
    assert capfd.readouterr().out == ""


@pytest.mark.real_data
def test_real_archive(cifake_train, shared):
    assert cifake_train.counts() == {"REAL": 50_000, "FAKE": 50_000}
    assert cifake_train.names[1] == "train/FAKE/1000 (2).jpg"
    assert len(set(cifake_train.names)) == 100_000
    assert load_cifake(shared / "data" / "cifake-train.tar.xz").files == cifake_train.files


@pytest.mark.real_data
def test_equal_images_stay_on_one_side_of_the_validation_split(cifake_train):
    # All of FAKE, where the equal images are, and enough of REAL for a split; decoding the rest would take as long.
    fake, real = (np.flatnonzero(cifake_train.labels == label) for label in (1, 0))
    images = DecodedImages(cifake_train.take(np.concatenate([fake, real[:2000]])), image_size=32)
    assert images.errors == {}
    _, group_of, sizes = np.unique(np.array(images.digests), return_inverse=True, return_counts=True)
    groups = np.flatnonzero(sizes > 1)
    assert len(groups) == 920
    labels = images.examples.labels
    assert set(labels[np.isin(group_of, groups)]) == {1}

    training, validation = split_validation(labels, images.digests, 0.2, seed=0)
    assert set(group_of[training]).isdisjoint(group_of[validation])
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(52_000))
    for label in (0, 1):
        share = np.sum(labels[validation] == label) / np.sum(labels == label)
        assert share == pytest.approx(0.2, abs=0.001)
