"""Predictions in the hackathon's form (Predictathon 2025): a label for every image, and nothing else.

    {"1.png": "fake", "2.png": "real", ...}, as teamname_prediction.json

It is sorted naturally: 2.png before 10.png. There is no third answer here: an image that cannot be scored
gets the label that is likelier before anything is seen.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL, Prediction
from deepfake_tf.text import as_utf8, json_text

FORMAT = "predictathon"


def check_names(paths: Sequence[str]) -> None:
    """Whether each file has a name of its own. Before scoring, which may take long.

    Args:
        paths: the files to score.

    Raises:
        ValueError: two files have the same name.
    """
    by_name: dict[str, list[str]] = collections.defaultdict(list)
    for path in paths:
        by_name[_name(path)].append(path)
    if clashes := [files for files in by_name.values() if len(files) > 1]:
        raise ValueError(
            f"--format {FORMAT} names each file once, without its folder. Received: {clashes[0][0]} and "
            f"{clashes[0][1]}. Score the folders one by one."
        )


def prior_label(card: Mapping[str, Any]) -> str:
    """The label of an image of which nothing is known, "REAL" or "FAKE".

    By the classes' shares in the model's training data, against its threshold, as an image's probability is.

    Args:
        card: the model card; where it lacks the counts, both classes count as equally likely.
    """
    counts = card.get("data", {}).get("training", {})
    fakes, reals = (counts.get(LABEL_NAMES[label], 1) for label in (FAKE, REAL))
    threshold = card.get("decision", {}).get("threshold", 0.5)
    return LABEL_NAMES[FAKE if fakes >= threshold * (fakes + reals) else REAL]


def format_submission(predictions: Sequence[Prediction], prior: str) -> str:
    """JSON text that ends in a newline, with every file in it.

    Args:
        predictions: a sequence of Prediction, of files that passed `check_names`. Those out of domain count as
            they are labelled; those with an error get `prior`.
        prior: str. "REAL" or "FAKE"; see `prior_label`.
    """
    labels = {
        _name(prediction.file): (prior if prediction.error else prediction.label).lower() for prediction in predictions
    }
    return json_text({name: labels[name] for name in sorted(labels, key=_natural)}, indent=4) + "\n"


def _name(path: str) -> str:
    return as_utf8(Path(path).name)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sort key: numbers within a name by their value."""
    parts = re.split(r"([0-9]+)", name)  # text and numbers in turns, text first
    pairs = zip(parts[::2], [*parts[1::2], "-1"])
    return [item for text, number in pairs for item in ((-1, text), (int(number), ""))], name
