"""Accuracy by groups of images, such as the kinds of things that they show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepfake_tf.contract import FAKE, REAL
from deepfake_tf.evaluation.metrics import share_of, wilson_interval

UNGROUPED = "(none)"


def group_pattern(text: str) -> re.Pattern[str]:
    """A regular expression with one pair of parentheses, which says what part of a name is its group.

    Raises:
        ValueError: it is none.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"The groups' pattern is no regular expression: {error}. Received: {text!r}") from None
    if pattern.groups != 1:
        raise ValueError(
            rf"The groups' pattern must have one pair of parentheses, such as '\((\d+)\)'. Received: {text!r}"
        )
    return pattern


def accuracy_by_group(
    names: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    pattern: re.Pattern[str],
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """Group images by a part of their names, and count the right answers in each.

    Args:
        names: N names of images.
        labels: int [N]; 1 = FAKE, 0 = REAL.
        probabilities: float [N], 0..1. P(FAKE).
        pattern: of `group_pattern`, searched for in each name: what its parentheses match names the group. Names
            without a match, or with an empty one, make the group "(none)".
        threshold: float, 0..1. FAKE at this probability and above.

    Returns:
        For each group, in natural order: `group`, `images`, `accuracy` with its 95 % Wilson interval `low`, `high`,
        and the accuracy on each class alone, `real` and `fake` (None where it has no such image). 0..1 all.
    """
    found = [pattern.search(name) for name in names]
    groups = np.array([(match and match[1]) or UNGROUPED for match in found])
    right = (probabilities >= threshold) == (labels == FAKE)
    rows = []
    for group in sorted(set(groups), key=_natural):
        members = groups == group
        low, high = wilson_interval(right[members])
        rows.append(
            {
                "group": str(group),
                "images": int(members.sum()),
                "accuracy": float(right[members].mean()),
                "low": low,
                "high": high,
                "real": share_of(right[members & (labels == REAL)]),
                "fake": share_of(right[members & (labels == FAKE)]),
            }
        )
    return rows


def format_groups(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `accuracy_by_group` as lines for a terminal."""
    width = max(len("group"), *(len(row["group"]) for row in rows))
    percent = lambda value: "     -" if value is None else f"{100 * value:6.2f}"
    lines = [f"{'group':<{width}}  images  accuracy %  95 % interval    REAL    FAKE"]
    lines += [
        f"{row['group']:<{width}}  {row['images']:>6}      {percent(row['accuracy'])} {percent(row['low'])} to "
        f"{percent(row['high'])}  {percent(row['real'])}  {percent(row['fake'])}"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts "2" before "10"."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)]
