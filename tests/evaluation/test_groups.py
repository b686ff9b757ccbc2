import numpy as np
import pytest

from deepfake_tf.config import FAKE, REAL
from deepfake_tf.evaluation.groups import accuracy_by_group, format_groups, group_pattern

NAMES = ["REAL/0001.jpg", "REAL/0001 (2).jpg", "FAKE/0003 (10).jpg", "FAKE/0004 (2).jpg", "REAL/0005 (2).jpg"]
LABELS = np.array([REAL, REAL, FAKE, FAKE, REAL])
PROBABILITIES = np.array([0.1, 0.9, 0.8, 0.7, 0.2])


def test_each_group_counts_its_own_right_answers():
    rows = accuracy_by_group(NAMES, LABELS, PROBABILITIES, group_pattern(r"\((\d+)\)"))
    assert [(row["group"], row["images"]) for row in rows] == [("2", 3), ("10", 1), ("(none)", 1)]
    assert rows[0]["accuracy"] == pytest.approx(2 / 3)
    assert (rows[0]["real"], rows[0]["fake"]) == (0.5, 1.0)
    assert rows[1]["real"] is None
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


def test_the_threshold_decides():
    rows = accuracy_by_group(NAMES, LABELS, PROBABILITIES, group_pattern(r"(jpg)"), threshold=0.95)
    assert rows[0]["accuracy"] == pytest.approx(3 / 5)


def test_the_table_has_a_line_a_group():
    text = format_groups(accuracy_by_group(NAMES, LABELS, PROBABILITIES, group_pattern(r"^(\w+)/")))
    assert [line.split()[:2] for line in text.splitlines()[1:]] == [["FAKE", "2"], ["REAL", "3"]]


@pytest.mark.parametrize("pattern", ["(", "no group", "(two)(groups)"])
def test_a_bad_pattern_is_echoed(pattern):
    with pytest.raises(ValueError, match="Received: ") as error:
        group_pattern(pattern)
    assert repr(pattern) in str(error.value)
