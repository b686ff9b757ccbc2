"""`deepfake-tf demo`: the sample photographs."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.model_options import add_engine_options, load_detector
from deepfake_tf.cli.predict import print_predictions


def add(commands: Commands) -> None:
    command = add_command(commands, "demo", run, "Score the sample photographs that come with the package.")
    command.add_argument("--archive", metavar="FILE|DIR", help="CIFAKE at hand: eight of its images join the samples")
    add_engine_options(command)


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.samples import write_cifake_samples, write_samples

    archive = Path(options.archive).resolve() if options.archive else None
    if archive and not archive.exists():
        raise FileNotFoundError(f"There is no --archive {options.archive}")
    started = time.monotonic()
    detector = load_detector(options.model, options.engine)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # short names in the table
        paths = write_samples(".")
        if archive:
            paths += write_cifake_samples(".", archive)
        return print_predictions(detector, started, [str(path) for path in paths])
