"""`deepfake-tf serve`: the model server and the upload gateway."""

from __future__ import annotations

import argparse
import dataclasses

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.cli.model_options import add_model_option
from deepfake_tf.server.engines import ENGINES


def add(commands: Commands) -> None:
    command = add_command(
        commands, "serve", run, "Serve the model: TensorFlow Serving where it is at hand, else in this process."
    )
    add_model_option(command, "a SavedModel or .tflite")
    command.add_argument("--engine", choices=ENGINES, default="auto")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    for name, port in (("rest", 8501), ("grpc", 8500), ("gateway", 8080)):
        command.add_argument(f"--{name}-port", type=int, default=port, help=f"default: {port}")
    command.add_argument("--label", action="append", default=[], dest="labels", metavar="NAME=VERSION")
    command.add_argument(
        "--upstream", metavar="URL", help="run the upload gateway alone, before this TensorFlow Serving"
    )
    command.add_argument("--upstream-label", metavar="LABEL", help="the version label to ask the upstream for")
    command.add_argument("--cors-origin", action="append", default=[], dest="cors_origins", metavar="ORIGIN")


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.server import launch

    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(launch.ServeOptions)}
    launch.serve(launch.ServeOptions(**fields))
    return EXIT_OK
