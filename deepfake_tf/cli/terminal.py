"""What the commands say to a terminal, and what they keep off it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable

from deepfake_tf.contract import count_unexpected
from deepfake_tf.text import printable


def print_any_text() -> None:
    """Let no character of a name or a message end a command because the terminal's encoding lacks it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def write_data(text: str) -> None:
    """Rows for programs to standard output: UTF-8, whatever the terminal's encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)


def say_unexpected(errors: Iterable[str]) -> None:
    """What failed in a way that nobody foresaw is in its row; that there were such rows is said here."""
    if line := count_unexpected(errors):
        print(line, file=sys.stderr)


def reason_of(error: Exception) -> str:
    """Why a command ended, for people; what is not installed with the remedy."""
    if isinstance(error, ModuleNotFoundError) and error.name:  # a light installation, asked for what it leaves out
        package = error.name.partition(".")[0]
        from deepfake_tf import server

        extra = "app" if package in server.PACKAGES else "full"
        return f"this needs {package}, which is not installed: pip install 'deepfake-tf[{extra}]'"
    return "\n".join(map(printable, str(error).split("\n")))


def silence_native_logs() -> None:
    """Keep what C++ libraries write to descriptor 2 off the terminal; Python's stderr stays.

    TF_CPP_MIN_LOG_LEVEL is not enough: some lines come before TensorFlow reads it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        terminal = os.dup(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # no such descriptor: embedded, or under a test's capture
        return
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
