"""`deepfake-tf audit`: what a data set teaches."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.data_options import DATA_HELP, DataSource
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_STOP
from deepfake_tf.cli.model_options import add_model_option
from deepfake_tf.writing import check_folder


def add(commands: Commands) -> None:
    command = add_command(
        commands, "audit", run, "Say what a data set teaches, before training on it: faults, shortcuts, labels."
    )
    command.add_argument("data", nargs="+", metavar="SOURCE", help=DATA_HELP.partition(". May")[0])
    command.add_argument("--against", action="append", metavar="SOURCE", help="find images of SOURCE there: leakage")
    command.add_argument("--output", metavar="DIR", help="write audit.json and audit.html, with pictures, there")
    command.add_argument("--archive", metavar="FILE|DIR", help="of cifake: read it there, download nothing")
    command.add_argument("--swap-labels", action="store_true", help="SOURCE's REAL means FAKE, and FAKE REAL")
    add_model_option(command, "a SavedModel to check labels")


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.engines.finding import find_model
    from deepfake_tf.progress import say

    if options.output:
        check_folder(options.output)
    if options.model:
        find_model(options.model, "auto")
    say("loading the data")
    from deepfake_tf.audit.auditing import audit
    from deepfake_tf.audit.findings import STOP
    from deepfake_tf.audit.report import format_table, write_report

    second = options.against or []
    examples = DataSource(options.data, _archive_of(options.data, options), options.swap_labels).load()
    against = DataSource(second, _archive_of(second, options), swap_labels=False).load() if second else None
    result = audit(examples, against, options.model)
    sys.stdout.write(format_table(result))
    if options.output:
        print("wrote " + " and ".join(map(str, write_report(result, options.output))))
    return EXIT_STOP if result.verdict == STOP else EXIT_OK


def _archive_of(sources: Sequence[str], options: argparse.Namespace) -> str | None:
    """--archive goes to the data that take one; to all where none does, so that their error says so."""
    from deepfake_tf.data.sources import CIFAKE

    is_of_cifake = CIFAKE in sources or CIFAKE not in [*options.data, *(options.against or [])]
    return options.archive if is_of_cifake else None
