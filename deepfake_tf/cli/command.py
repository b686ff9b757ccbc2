"""What every command has."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A command without arguments of its own yet; `run` takes the parsed options and returns the exit code."""
    command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    command.add_argument("--verbose", action="store_true", help="show TensorFlow's own messages and tracebacks")
    command.set_defaults(run=run)
    return command
