"""`deepfake-tf predict`: images in, rows out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.model_options import add_engine_options, load_detector
from deepfake_tf.cli.paths import check_output, expand_paths
from deepfake_tf.cli.terminal import say_unexpected, write_data
from deepfake_tf.output.row_file import FORMATS as ROW_FORMATS
from deepfake_tf.output.row_file import RowFile
from deepfake_tf.output.submission import FORMAT as SUBMISSION_FORMAT
from deepfake_tf.output.submission import check_names, format_submission, prior_label
from deepfake_tf.output.tables import format_predictions, has_errors
from deepfake_tf.text import plural, printable
from deepfake_tf.writing import write_whole

if TYPE_CHECKING:
    from deepfake_tf.engines.detector import Detector

FORMATS_BY_SUFFIX = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}  # of what --output names


def add(commands: Commands) -> None:
    command = add_command(commands, "predict", run, "Score images: files, folders (recursive) and globs.")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument(
        "--format",
        choices=("table", *FORMATS_BY_SUFFIX.values(), SUBMISSION_FORMAT),
        help="default: what --output ends in, else table; predictathon: one JSON object, file name to real or fake",
    )
    command.add_argument("--output", metavar="FILE", help="write there, whole or not at all, instead of the terminal")
    command.add_argument("--resume", action="store_true", help="go on with --output: files that have a row are skipped")
    command.add_argument("--url", help="score there: http://HOST:8501 (REST) or grpc://HOST:8500")
    command.add_argument("--label", help="with --url: the version label, such as stable")
    command.add_argument(
        "--provenance", action="store_true", help="add what each file says of its own origin, and one answer"
    )
    add_engine_options(command)


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.prediction_run import provenance_fields
    from deepfake_tf.provenance.content_credentials import check_trust_list

    paths = expand_paths(options.paths)
    output_format = options.format or FORMATS_BY_SUFFIX.get(Path(options.output or "").suffix.lower(), "table")
    is_row_file = bool(options.output) and output_format in ROW_FORMATS
    if options.resume and not is_row_file:
        raise ValueError(f"--resume goes on with a file of rows: give --output and --format {' or '.join(ROW_FORMATS)}")
    is_submission = output_format == SUBMISSION_FORMAT
    if is_submission:
        if options.provenance:
            raise ValueError(
                f"--format {SUBMISSION_FORMAT} has no place for what --provenance adds: take --format json"
            )
        check_names(paths)
    if options.output:
        check_output(options.output, paths)
    if options.provenance:
        check_trust_list()
    rows = None
    if is_row_file:  # looked at before the model is loaded: what is in the way is said at once
        more = provenance_fields(output_format) if options.provenance else []
        rows = RowFile(options.output, output_format, options.resume, more)
    started = time.monotonic()
    detector = load_detector(options.model, options.engine, options.url, options.label)
    if is_submission:
        return _write_submission(detector, paths, options.output)
    if rows is not None:
        return _fill_row_file(detector, started, paths, rows, output_format, options.resume, options.provenance)
    return print_predictions(detector, started, paths, output_format, options.output, options.provenance)


def print_predictions(
    detector: Detector,
    started: float,
    paths: Sequence[str],
    output_format: str = "table",
    output: str | None = None,
    with_provenance: bool = False,
) -> int:
    """Score, and write all rows at the end, to a file or to the terminal.

    Args:
        detector: Detector.
        started: float, seconds by `time.monotonic`. When its loading began.
        paths: the files.
        output_format: str, as of `format_predictions`.
        output: str or None. The file; None: standard output.
        with_provenance: bool. Add what each file says of its own origin, and the conclusion from all witnesses; of a
            table, that is a column, and the file's word goes to stderr.

    Returns:
        The exit code.
    """
    from deepfake_tf.prediction_run import provenance_rows, score

    loaded = time.monotonic()
    predictions = score(detector, paths)
    evidence = provenance_rows(predictions, output_format) if with_provenance else None
    text = format_predictions(predictions, output_format, evidence)
    if output:
        write_whole(output, text)
    elif output_format == "table":
        sys.stdout.write(text)
    else:
        write_data(text)
    print(_time_taken(len(paths), started, loaded), file=sys.stderr)
    if evidence and output_format == "table":
        for prediction, row in zip(predictions, evidence):
            print(f"{printable(prediction.file)}: {row['provenance']}", file=sys.stderr)
    say_unexpected(prediction.error for prediction in predictions)
    return EXIT_SOME_FAILED if has_errors(predictions) else EXIT_OK


def _fill_row_file(
    detector: Detector,
    started: float,
    paths: Sequence[str],
    rows: RowFile,
    row_format: str,
    resume: bool,
    with_provenance: bool,
) -> int:
    from deepfake_tf.prediction_run import score_into

    loaded = time.monotonic()
    done = score_into(rows, detector, paths, row_format, with_provenance)
    skipped = f", {done.skipped} more had a row already" if resume else ""
    print(f"{_time_taken(done.scored, started, loaded)}{skipped}", file=sys.stderr)
    say_unexpected(done.unexpected)
    return EXIT_SOME_FAILED if done.has_failures else EXIT_OK


def _time_taken(images: int, started: float, loaded: float) -> str:
    seconds = time.monotonic() - loaded
    return f"{plural(images, 'image')} in {seconds:.1f} s, after {loaded - started:.1f} s to load the model"


def _write_submission(detector: Detector, paths: Sequence[str], output: str | None) -> int:
    from deepfake_tf.prediction_run import score

    predictions = score(detector, paths)
    prior = prior_label(detector.card)
    for prediction in predictions:
        if prediction.error:
            reason = f"{printable(prediction.file)}: {prediction.error}"
            print(f"{reason}; answered by the prior: {prior.lower()}", file=sys.stderr)
    say_unexpected(prediction.error for prediction in predictions)
    text = format_submission(predictions, prior)
    if output:
        write_whole(output, text)
        fakes = sum((prior if prediction.error else prediction.label) == "FAKE" for prediction in predictions)
        print(f"wrote {output}: {plural(len(predictions), 'image')}, {fakes:,} of them fake", file=sys.stderr)
    else:
        write_data(text)
    return EXIT_SOME_FAILED if has_errors(predictions) else EXIT_OK
