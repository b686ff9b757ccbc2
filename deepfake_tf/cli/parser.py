"""All commands as one parser."""

from __future__ import annotations

import argparse
import importlib

from deepfake_tf import __version__

COMMANDS = (  # in the order of --help; each a module beside this one
    *("predict", "score", "explain", "inspect", "report", "demo", "serve", "app", "audit", "features"),
    *("train", "average", "evaluate", "robustness", "export", "benchmark"),
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepfake-tf", description="Tells photographs from AI-generated images.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"deepfake-tf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"deepfake_tf.cli.{name}").add(commands)
    return parser
