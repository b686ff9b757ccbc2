"""`deepfake-tf explain`: where in each image the evidence lies."""

from __future__ import annotations

import argparse
import sys
from typing import Literal

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.model_options import add_engine_options, load_detector
from deepfake_tf.cli.paths import check_output, expand_paths
from deepfake_tf.cli.terminal import say_unexpected
from deepfake_tf.reading.files import read_file
from deepfake_tf.text import plural, printable
from deepfake_tf.writing import is_stream, write_whole


def add(commands: Commands) -> None:
    command = add_command(commands, "explain", run, "Draw where in each image the evidence for its label lies.")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--output", metavar="FILE.png", help="one sheet with all the images")
    command.add_argument(
        "--deletion",
        action="store_true",
        help="instead of a sheet: whether deleting what the map shows moves the logit more than deleting at random",
    )
    add_engine_options(command)


def run(options: argparse.Namespace) -> int:
    if options.deletion:
        return _measure_deletion(options)
    if not options.output:
        raise ValueError("--output FILE.png is needed, or --deletion")
    from deepfake_tf.output.heatmaps import draw_sheet
    from deepfake_tf.output.tables import has_errors

    paths = expand_paths(options.paths)
    check_output(options.output, paths, is_text=False)
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


def _measure_deletion(options: argparse.Namespace) -> int:
    from deepfake_tf.detectors.photograph import SPEC
    from deepfake_tf.engines.finding import engine_class, find_models
    from deepfake_tf.evaluation.deletion import SHARE, measure_deletion_of_files

    # The light engines alone take pixels.
    library: Literal["litert", "openvino"] = "openvino" if options.engine == "openvino" else "litert"
    models = find_models(options.model, library)
    engine = engine_class(library)(models.get(SPEC.name) or next(iter(models.values())))
    found = measure_deletion_of_files(engine, (read_file(path) for path in expand_paths(options.paths)))
    judged = f"{plural(len(found.shown), 'image')}, detector {engine.bundle.spec.name}"
    more, away = (100 * share for share in (found.share_moved_more, found.share_moved_away))
    print(
        f"{judged}: deleting the top {100 * SHARE:.0f} % of the map moves the logit more than as much at random in "
        f"{more:.1f} %, and more towards the other label in {away:.1f} %"
    )
    return EXIT_OK
