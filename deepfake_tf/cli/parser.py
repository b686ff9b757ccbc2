"""All commands as one parser."""

from __future__ import annotations

import argparse

from deepfake_tf import __version__
from deepfake_tf.cli import (
    app,
    audit,
    average,
    benchmark,
    demo,
    evaluate,
    explain,
    export,
    features,
    inspect,
    predict,
    report,
    robustness,
    score,
    serve,
    train,
)

COMMANDS = (  # in the order of --help
    predict,
    score,
    explain,
    inspect,
    report,
    demo,
    serve,
    app,
    audit,
    features,
    train,
    average,
    evaluate,
    robustness,
    export,
    benchmark,
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepfake-tf", description="Tells photographs from AI-generated images.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"deepfake-tf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
