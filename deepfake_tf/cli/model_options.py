"""Which model a command takes, and what runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.engines.names import ENGINES
from deepfake_tf.writing import check_folder

if TYPE_CHECKING:
    from deepfake_tf.engines.detector import Detector

TRUST_HELP = "a SavedModel is code and may do what it likes: only from people you trust"


def add_model_option(command: argparse.ArgumentParser, what: str, metavar: str = "DIR") -> None:
    command.add_argument("--model", metavar=metavar, help=f"{what}; default: the one that ships; {TRUST_HELP}")


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


def find_measured_model(options: argparse.Namespace) -> Path:
    """The model to measure; what is wrong with the options is said before any image is read."""
    from deepfake_tf.engines.finding import find_model
    from deepfake_tf.evaluation.scoring import check_model

    check_folder(options.output)
    model = Path(options.model) if options.model else find_model()
    check_model(model)
    return model


def threshold_of(model: Path) -> float:
    """FAKE at this probability and above, 0..1."""
    from deepfake_tf.detectors.bundle import read_card

    return read_card(model).get("decision", {}).get("threshold", 0.5)  # a run directory has no card yet
