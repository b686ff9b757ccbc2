"""Predictions in the hackathon's forms (Predictathon 2025): a label for every image, and nothing else.

    predictathon          {"1.png": "fake", "2.png": "real", ...}: what it asks for, as teamname_prediction.json
    predictathon-index    [{"index": 1, "prediction": "fake"}, ...]: its training labels' form; see `data.predictathon`

Both are sorted naturally: 2.png before 10.png. There is no third answer here: an image that cannot be scored
gets the label that is likelier before anything is seen.
"""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL, Prediction
from deepfake_tf.text import as_utf8, json_text, plural

BY_NAME, BY_INDEX = "predictathon", "predictathon-index"
FORMATS = (BY_NAME, BY_INDEX)


def check_names(paths: Sequence[str], output_format: str) -> None:
    """Whether each file has a key of its own. Before scoring, which may take long.

    Args:
        paths: the files to score.
        output_format: str. One of `FORMATS`.

    Raises:
        ValueError: two files have the same key, or, in the form by index, one that is no number.
    """
    if output_format == BY_INDEX and (unnumbered := [path for path in paths if not _is_number(Path(path).stem)]):
        raise ValueError(
            f"--format {BY_INDEX} goes by numbers. Not named by one: {plural(len(unnumbered), 'file')}. "
            f"Received: {unnumbered[0]}. Take --format {BY_NAME}, or name the files 1.png, 2.png and so on."
        )
    by_key: dict[str | int, list[str]] = collections.defaultdict(list)
    for path in paths:
        by_key[_key(path, output_format)].append(path)
    if clashes := [files for files in by_key.values() if len(files) > 1]:
        raise ValueError(
            f"--format {output_format} names each file once, without its folder. Received: {clashes[0][0]} and "
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


def format_submission(predictions: Sequence[Prediction], output_format: str, prior: str) -> str:
    """JSON text that ends in a newline, with every file in it.

    Args:
        predictions: a sequence of Prediction, of files that passed `check_names`. Those out of domain count as
            they are labelled; those with an error get `prior`.
        output_format: str. One of `FORMATS`.
        prior: str. "REAL" or "FAKE"; see `prior_label`.
    """
    labels = {
        _key(prediction.file, output_format): (prior if prediction.error else prediction.label).lower()
        for prediction in predictions
    }
    keys = sorted(labels, key=_natural)
    if output_format == BY_NAME:
        return json_text({key: labels[key] for key in keys}, indent=4) + "\n"
    return json.dumps([{"index": key, "prediction": labels[key]} for key in keys], indent=4) + "\n"


def _key(path: str, output_format: str) -> str | int:
    return as_utf8(Path(path).name) if output_format == BY_NAME else int(Path(path).stem)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _natural(key: str | int) -> tuple[list[tuple[int, str]], str]:
    """A sort key: numbers within a name by their value."""
    parts = re.split(r"([0-9]+)", str(key))  # text and numbers in turns, text first
    pairs = zip(parts[::2], [*parts[1::2], "-1"])
    return [item for text, number in pairs for item in ((-1, text), (int(number), ""))], str(key)
