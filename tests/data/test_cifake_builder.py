from __future__ import annotations

from unittest import mock

import pytest
import tensorflow_datasets as tfds

from deepfake_tf.data.cifake import archive
from deepfake_tf.data.cifake.cifake_dataset_builder import Builder


@pytest.fixture(scope="class")
def tiny_download(request, tiny_cifake_folder, tiny_digest):
    """Puts the tiny folder in the place of the download."""
    request.cls.EXAMPLE_DIR = str(tiny_cifake_folder)
    with mock.patch.multiple(archive, IMAGES_PER_CLASS={"train": 3, "test": 2}, TRAIN_DIGEST=tiny_digest):
        yield


@pytest.mark.usefixtures("tiny_download")
class CifakeTest(tfds.testing.DatasetBuilderTestCase):
    """tensorflow-datasets' own checks of a builder."""

    DATASET_CLASS = Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["full"]  # noqa: RUF012
    SPLITS = {"train": 6, "test": 4}  # noqa: RUF012
    SKIP_CHECKSUMS = True  # see checksums.tsv


def test_labels_and_metadata(tmp_path):
    info = Builder(data_dir=tmp_path).info
    assert info.name == "cifake"
    assert info.config_name == "full"
    assert info.features["label"].names == ["REAL", "FAKE"]
    assert "Krizhevsky" in info.citation
    assert "Bird" in info.citation
    assert "photograph" in info.description


def test_splits_of_each_configuration(tiny_cifake, tmp_path):
    images = archive.read_images(tiny_cifake)
    for config, expected in {"full": {"train": 6, "test": 4}, "train": {"train": 6}}.items():
        builder = Builder(config=config, images=images, data_dir=tmp_path)
        builder.download_and_prepare()
        assert {name: split.num_examples for name, split in builder.info.splits.items()} == expected


def test_encoded_images_are_kept_byte_for_byte(tiny_cifake, tmp_path):
    images = archive.read_images(tiny_cifake)
    builder = Builder(config="train", images=images, data_dir=tmp_path)
    builder.download_and_prepare()
    dataset = builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    stored = {row["file_name"].decode(): row for row in dataset.as_numpy_iterator()}
    assert len(stored) == 6
    for name, row in stored.items():
        assert row["image"] == images[name]
        assert row["label"] == (1 if "/FAKE/" in name else 0)
