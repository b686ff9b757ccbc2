from __future__ import annotations

import json

import numpy as np
import pytest

from deepfake_tf.data.predictathon import is_predictathon, load_predictathon


@pytest.fixture
def write_layout(write_images):
    """A function that writes the layout, three images a class, and returns its root."""

    def write(real=("real", "real", "fake"), fake=("fake", "fake", "fake"), json_folder="train"):
        root = write_images({"original": 4})
        for name, predictions in (("real", real), ("fake", fake)):
            folder = root / "train" / f"{name}_cifake_images"
            folder.mkdir(parents=True)
            for index in range(1, 4):
                (folder / f"{index}.png").write_bytes((root / "original" / "0.png").read_bytes())
            rows = [{"index": index, "prediction": label} for index, label in enumerate(predictions, start=1)]
            (root / json_folder / f"{name}_cifake_preds.json").write_text(json.dumps(rows))
        return root

    return write


@pytest.mark.parametrize("json_folder", ["train", "."])
@pytest.mark.parametrize("start", [".", "train"])
def test_labels_come_from_json(write_layout, json_folder, start):
    root = write_layout(json_folder=json_folder) / start
    assert is_predictathon(root)
    examples = load_predictathon(root)
    assert [(name, int(label)) for name, label in zip(examples.names, examples.labels)] == [
        ("train/real_cifake_images/1.png", 0),
        ("train/real_cifake_images/2.png", 0),
        ("train/real_cifake_images/3.png", 1),  # the JSON disagrees with the folder
        ("train/fake_cifake_images/1.png", 1),
        ("train/fake_cifake_images/2.png", 1),
        ("train/fake_cifake_images/3.png", 1),
    ]
    assert set(examples.splits) == {"train"}


def test_notes_warn_of_disagreement_and_inversion(write_layout):
    disagreement, inversion = load_predictathon(write_layout()).notes
    assert "1 of 3 in real_cifake_images and 0 of 3 in fake_cifake_images" in disagreement
    assert "inverted" in inversion
    assert "--swap-labels" in inversion


def test_class_folders_are_not_the_layout(write_images):
    assert not is_predictathon(write_images({"train/REAL": 1, "train/FAKE": 1}))


def test_label_of_missing_image(write_layout):
    with pytest.raises(
        ValueError, match=r"real_cifake_preds\.json names 2 images that .* lacks: 4, 5\. Found: 3 images"
    ):
        load_predictathon(write_layout(real=["real"] * 5))


def test_image_without_label(write_layout):
    with pytest.raises(ValueError, match=r"holds 1 image without a label in .*fake_cifake_preds\.json: 3\.png"):
        load_predictathon(write_layout(fake=["fake"] * 2))


def test_label_file_missing(write_layout):
    root = write_layout()
    (root / "train" / "fake_cifake_preds.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"Looked for: .*train.*fake_cifake_preds\.json, .*fake_cifake_preds"):
        load_predictathon(root)


def test_class_folder_missing(write_layout):
    root = write_layout()
    (root / "train" / "fake_cifake_images").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="lacks the folder fake_cifake_images"):
        load_predictathon(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not valid JSON"),
        ('{"1.png": "real"}', "must be a list of objects. Received: dict"),
        ('[{"index": 1, "prediction": "maybe"}]', r"entry 1: expected .*'maybe'"),
        ('[{"index": "1", "prediction": "real"}]', r"entry 1: expected .*'1'"),
        ("[7]", "entry 1: expected .* Received: 7"),
        (
            '[{"index": 1, "prediction": "real"}, {"index": 1, "prediction": "fake"}]',
            "entry 2: index 1 stands .* twice",
        ),
    ],
)
def test_malformed_label_file(write_layout, content, message):
    root = write_layout()
    (root / "train" / "real_cifake_preds.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_predictathon(root)


@pytest.mark.real_data
def test_real_layout(predictathon):
    examples = load_predictathon(predictathon)
    assert len(examples) == 2000
    assert "24 of 1000 in real_cifake_images and 12 of 1000 in fake_cifake_images" in examples.notes[0]
    assert examples.counts() == {"REAL": 976 + 12, "FAKE": 988 + 24}
    np.testing.assert_array_equal(np.unique(examples.labels), [0, 1])
