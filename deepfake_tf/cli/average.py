"""`deepfake-tf average`: the weights of two runs as one."""

from __future__ import annotations

import argparse

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK


def add(commands: Commands) -> None:
    command = add_command(
        commands, "average", run, "Average the weights of a run and of one that was trained on from it."
    )
    command.add_argument("first", metavar="RUN_DIR")
    command.add_argument("second", metavar="RUN_DIR")
    command.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    command.add_argument("--run-dir", required=True, metavar="DIR", help="new; evaluate and export take it as any run")


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.training.run_directory import check_new

    check_new(options.run_dir, resumable=False)  # before Keras is loaded
    from deepfake_tf.training.averaging import average_runs

    print(f"weights: {average_runs(options.first, options.second, options.share, options.run_dir)}")
    return EXIT_OK
