"""Which model a command takes, and what runs it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.engines.names import ENGINES
from deepfake_tf.writing import check_folder

if TYPE_CHECKING:
    from deepfake_tf.engines.detector import Detector

TRUST_HELP = "a SavedModel is code and may do what it likes: only from people you trust"


def add_model_option(command: argparse.ArgumentParser, what: str, metavar: str = "DIR") -> None:
    command.add_argument("--model", metavar=metavar, help=f"{what}; default: the one that ships; {TRUST_HELP}")


def add_measured_models_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        action="append",
        metavar="DIR",
        help="a run directory or a SavedModel; default: the one that ships; several: the mean of their logits; "
        + TRUST_HELP,
    )


def add_engine_options(command: argparse.ArgumentParser) -> None:
    add_model_option(command, "a SavedModel or .tflite", "PATH")
    command.add_argument(
        "--engine", choices=ENGINES, default="auto", help="auto: the light one where TensorFlow is missing"
    )


def load_detector(
    model: str | None, engine: str = "auto", url: str | None = None, label: str | None = None
) -> Detector:
    """A `Detector`, without Keras, which takes seconds to load and which it does not need."""
    from deepfake_tf.engines.detector import Detector
    from deepfake_tf.engines.tensorflow_import import without_keras

    with without_keras():
        return Detector(model, url=url, label=label, engine=engine)


def find_measured_models(options: argparse.Namespace) -> list[Path]:
    """The models to measure; what is wrong with the options is said before any image is read."""
    from deepfake_tf.engines.finding import find_model
    from deepfake_tf.evaluation.scoring import check_model

    check_folder(options.output)
    models = [Path(model) for model in options.model] if options.model else [find_model()]
    for model in models:
        check_model(model)
    return models


def one_model(options: argparse.Namespace, option: str) -> str | None:
    """The model given, of a command that takes several without this option.

    Raises:
        ValueError: there are several.
    """
    given = options.model or [None]
    if len(given) > 1:
        raise ValueError(f"{option} takes one --model. Received: {', '.join(given)}")
    return given[0]


def threshold_of(models: Sequence[Path]) -> float:
    """FAKE at this probability and above, 0..1; 0.5 for several models."""
    from deepfake_tf.detectors.bundle import read_card

    if len(models) > 1:
        return 0.5
    return read_card(models[0]).get("decision", {}).get("threshold", 0.5)  # a run directory has no card yet
