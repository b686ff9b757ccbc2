"""The command line: one file a command, with `add(commands)`, its arguments, and `run(options)`, its exit code.

Nothing heavy is imported at the top of these files: `deepfake-tf --help` answers at once, and each command loads what
it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from deepfake_tf.cli.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE
from deepfake_tf.cli.parser import build_parser
from deepfake_tf.cli.terminal import print_any_text, reason_of, silence_native_logs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    options, others = parser.parse_known_args(arguments)
    if options.command == "score":
        options = argparse.Namespace(**vars(options), beam_options=others)
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if not options.verbose:
        silence_native_logs()
    print_any_text()
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        if options.verbose:
            raise
        print(f"deepfake-tf {options.command}: {reason_of(error)}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
