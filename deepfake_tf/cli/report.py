"""`deepfake-tf report`: a report to keep of what all witnesses say of images."""

from __future__ import annotations

import argparse

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.model_options import add_engine_options, load_detector
from deepfake_tf.cli.paths import check_output, expand_paths
from deepfake_tf.cli.terminal import say_unexpected
from deepfake_tf.progress import progress_bar
from deepfake_tf.text import plural
from deepfake_tf.writing import is_stream, write_whole


def add(commands: Commands) -> None:
    command = add_command(commands, "report", run, "Write one HTML file to keep: conclusions, witnesses, maps.")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--output", required=True, metavar="FILE.html", help="one page; a browser prints it to PDF")
    command.add_argument("--url", help="score there: http://HOST:8501 (REST) or grpc://HOST:8500")
    command.add_argument("--label", help="with --url: the version label, such as stable")
    add_engine_options(command)


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.output.html_report import answer_files, format_report
    from deepfake_tf.output.tables import has_errors
    from deepfake_tf.provenance.content_credentials import check_trust_list

    paths = expand_paths(options.paths)
    check_output(options.output, paths)
    check_trust_list()
    detector = load_detector(options.model, options.engine, options.url, options.label)
    answers = list(progress_bar(len(paths), "asking", "image", answer_files(detector, paths)))
    write_whole(options.output, format_report(answers))
    if not is_stream(options.output):  # among the page's own lines, perhaps
        print(f"wrote {options.output}: {plural(len(answers), 'image')}")
    say_unexpected(answer.prediction.error for answer in answers)
    return EXIT_SOME_FAILED if has_errors(answer.prediction for answer in answers) else EXIT_OK
