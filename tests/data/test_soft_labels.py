"""What a teacher says, read from the predictions that `evaluate` writes."""

import numpy as np
import pytest

from deepfake_tf.data.examples import Examples
from deepfake_tf.data.soft_labels import read_soft_labels
from deepfake_tf.evaluation.report import write_report

NAMES = ["a.png", 'b, "c".png', "d\udce9.png"]  # the last in no UTF-8


@pytest.fixture
def examples():
    return Examples(NAMES, np.array([0, 1, 1]), [b""] * 3, [""] * 3)


@pytest.mark.parametrize(("weight", "expected"), [(0, [0, 1, 1]), (0.5, [0.1, 0.95, 0.6]), (1, [0.2, 0.9, 0.2])])
def test_the_report_of_evaluate_is_read(examples, tmp_path, weight, expected):
    """In another order, and with images that are not asked for."""
    names, labels, probabilities = ["other.png", *NAMES[::-1]], np.array([0, 1, 1, 0]), [0.5, 0.2, 0.9, 0.2]
    write_report(tmp_path, labels, np.array(probabilities), 0.5, names)
    targets = read_soft_labels(tmp_path / "predictions.csv", examples, weight)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\n", "expected the header name,label,probability. Received: 'path,label'"),
        ("", "expected the header"),
        ("name,label,probability\na.png,REAL,1.5\n", "probability from 0 to 1. Received: \\['a.png', 'REAL', '1.5'\\]"),
        ("name,label,probability\na.png,REAL,nan\n", "a probability from 0 to 1"),
        ("name,label,probability\na.png,REAL\n", "a probability from 0 to 1"),
        ("name,label,probability\n" + "a" * 200_000, "no CSV file that can be read: field larger"),
        ("name,label,probability\na.png,REAL,0.5\n", "no row for 2 training images, such as b, "),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_why(examples, tmp_path, content, message):
    file = tmp_path / "predictions.csv"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_soft_labels(file, examples, 0.5)


def test_a_missing_file_is_named(examples):
    with pytest.raises(FileNotFoundError, match="nowhere.csv"):
        read_soft_labels("nowhere.csv", examples, 0.5)
