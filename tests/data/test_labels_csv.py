from __future__ import annotations

import numpy as np
import pytest

from deepfake_tf.data.labels_csv import load_csv


@pytest.fixture
def write_csv(write_images):
    """A function that writes a CSV file beside six images, images/0.png to images/5.png."""

    def write(text, encoding="utf-8"):
        file = write_images({"images": 6}) / "labels.csv"
        file.write_text(text, encoding=encoding)
        return file

    return write


def test_every_spelling_of_a_label(write_csv):
    rows = zip(range(6), ["REAL", "FAKE", "real", "fake", "0", "1"])
    file = write_csv("path,label\n" + "".join(f"images/{index}.png,{label}\n" for index, label in rows))
    examples = load_csv(file)
    np.testing.assert_array_equal(examples.labels, [0, 1, 0, 1, 0, 1])
    assert list(examples.names) == [f"images/{index}.png" for index in range(6)]
    assert examples.files[5] == str(file.parent / "images/5.png")
    assert set(examples.splits) == {""}


def test_split_column_blank_lines_and_byte_order_mark(write_csv):
    file = write_csv(
        'Path, Label, Split\n"images/0.png",real,train\n\nimages/1.png, FAKE, test\nimages/2.png,0,\n', "utf-8-sig"
    )
    examples = load_csv(file)
    np.testing.assert_array_equal(examples.labels, [0, 1, 0])
    assert list(examples.splits) == ["train", "test", ""]


def test_absolute_paths(write_csv, tmp_path):
    examples = load_csv(write_csv(f"path,label\n{tmp_path}/images/0.png,fake\n"))
    assert examples.files == [f"{tmp_path}/images/0.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected the header path,label .*Received: ''"),
        ("file,label\nimages/0.png,1\n", "line 1: expected the header path,label .*Received: 'file,label'"),
        ("path,label\nimages/0.png,1\nimages/1.png,synthetic\n", "line 3: label must be .*Received: 'synthetic'"),
        ("path,label\nimages/0.png\n", "line 2: expected 2 columns"),
        ("path,label,split\nimages/0.png,1,holdout\n", "line 2: split must be .*Received: 'holdout'"),
        ("path,label\nimages/0.png,1\nimages/0.png,0\n", "line 3: 'images/0.png' stands on line 2 already"),
    ],
)
def test_errors_name_the_line(write_csv, text, message):
    with pytest.raises(ValueError, match=message):
        load_csv(write_csv(text))


def test_missing_images(write_csv, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"names 1 of 2 images that do not exist: 'images/9\.png' \(line 3\)"):
        load_csv(write_csv("path,label\nimages/0.png,1\nimages/9.png,0\n"))
