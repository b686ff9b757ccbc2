"""`deepfake-tf app`: the web page."""

from __future__ import annotations

import argparse

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.cli.model_options import add_model_option
from deepfake_tf.server.engines import ENGINES


def add(commands: Commands) -> None:
    command = add_command(
        commands, "app", run, "Open the web page: the model server and the page together, at one address."
    )
    add_model_option(command, "a SavedModel or .tflite")
    command.add_argument("--engine", choices=ENGINES, default="auto")
    command.add_argument(
        "--url", help="a model server that runs already; default: DEEPFAKE_TF_URL, else one is started"
    )
    command.add_argument("--host", default="127.0.0.1", help="address of the page; default: this machine only")
    command.add_argument("--port", type=int, default=0, help="of the page; default: a free one")


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.server.app import AppOptions, run_app

    run_app(AppOptions(options.model, options.engine, options.url, options.host, options.port))
    return EXIT_OK
