"""`deepfake-tf explain`: where in each image the evidence lies."""

from __future__ import annotations

import argparse
import sys

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.model_options import add_engine_options, load_detector
from deepfake_tf.cli.paths import expand_paths
from deepfake_tf.cli.terminal import say_unexpected
from deepfake_tf.reading.files import read_file
from deepfake_tf.text import printable
from deepfake_tf.writing import check_file, is_stream, write_whole


def add(commands: Commands) -> None:
    command = add_command(commands, "explain", run, "Draw where in each image the evidence for its label lies.")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--output", required=True, metavar="FILE.png", help="one sheet with all the images")
    add_engine_options(command)


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.output.heatmaps import draw_sheet
    from deepfake_tf.output.tables import has_errors

    check_file(options.output)
    paths = expand_paths(options.paths)
    explanations = load_detector(options.model, options.engine).explain(paths)
    encoded = [b"" if item.prediction.error else read_file(item.prediction.file) for item in explanations]
    write_whole(options.output, draw_sheet(explanations, encoded))
    for item in explanations:
        if item.prediction.error:
            print(f"{printable(item.prediction.file)}: {printable(item.prediction.error)}", file=sys.stderr)
    if not is_stream(options.output):  # among the picture's bytes, perhaps
        print(f"wrote {options.output}")
    say_unexpected(item.prediction.error for item in explanations)
    return EXIT_SOME_FAILED if has_errors(item.prediction for item in explanations) else EXIT_OK
