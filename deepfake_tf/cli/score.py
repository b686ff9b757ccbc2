"""`deepfake-tf score`: any number of images, on one machine or many."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.model_options import add_model_option


def add(commands: Commands) -> None:
    command = add_command(
        commands, "score", run, "Score any number of images, on one machine or many: an Apache Beam pipeline."
    )
    command.add_argument("--input", action="append", required=True, dest="inputs", metavar="GLOB|MANIFEST.txt")
    command.add_argument("--output", required=True, metavar="PREFIX", help="of the shards: PREFIX-scores-*, -failed-*")
    command.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", dest="output_format")
    command.add_argument("--shards", type=int, default=0, metavar="N", help="of the scores; default: the runner's own")
    add_model_option(command, "a SavedModel, as the workers see it")
    command.add_argument("--runner", default="DirectRunner", help="where it runs; other options go to Beam as they are")


def run(options: argparse.Namespace) -> int:
    import logging

    if not options.verbose:
        logging.getLogger().setLevel(logging.ERROR)  # Beam warns of clouds that nobody asked for
    from deepfake_tf import bulk_scoring

    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(bulk_scoring.ScoreOptions)}
    summary = bulk_scoring.score(bulk_scoring.ScoreOptions(**fields))
    print(summary, file=sys.stderr)
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK
