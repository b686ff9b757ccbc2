"""The command line: one short function a command.

Nothing heavy is imported here: `deepfake-tf --help` answers at once, and each command loads what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import glob
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf import __version__
from deepfake_tf.contract import count_unexpected, is_unexpected
from deepfake_tf.detectors.cifake.config import MODEL_NAMES, RECIPE_NAMES, STRATEGIES, TrainingConfig
from deepfake_tf.reading.files import is_image_file, read_file
from deepfake_tf.reading.formats import IMAGE_EXTENSIONS, TRANSCODED_EXTENSIONS
from deepfake_tf.text import plural, printable
from deepfake_tf.writing import check_file, check_folder, is_stream, write_whole

if TYPE_CHECKING:
    from deepfake_tf.output.row_file import RowFile

EXIT_OK = 0
EXIT_STOP = 1  # `audit` alone: done, and what it found speaks against training
EXIT_USAGE = 2  # bad usage, or input that the command cannot start from
EXIT_SOME_FAILED = 3  # done, but some images have no score

INFERENCE_ENGINES = ("auto", "saved_model", "litert", "openvino")  # of `Detector`
ROWS_AT_ONCE = 32
FORMATS_BY_SUFFIX = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}  # of what `predict --output` names
ROW_FORMATS = ("jsonl", "csv")  # of `predict`: what can be written row by row
SUBMISSION_FORMAT = "predictathon"  # of `predict`: a label for every file, the hackathon's
TRUST_HELP = "a SavedModel is code and may do what it likes: only from people you trust"
SERVING_ENGINES = ("auto", "tensorflow_model_server", "docker", "local")
DATA_HELP = (
    "cifake; a folder with one folder a class (REAL/ and FAKE/); the hackathon's layout; or a CSV of path,label. "
    "May be given several times"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    options, others = parser.parse_known_args(arguments)
    if options.command == "score":
        options.beam_options = others
    elif others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    if not options.verbose:
        _silence_native_logs()
    _print_any_text()
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        if options.verbose:
            raise
        print(f"deepfake-tf {options.command}: {_reason(error)}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepfake-tf", description="Tells photographs from AI-generated images.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"deepfake-tf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--verbose", action="store_true", help="show TensorFlow's own messages and tracebacks")
        command.set_defaults(run=run)
        return command

    command = add("predict", predict, "Score images: files, folders (recursive) and globs.")
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
    command.add_argument("--provenance", action="store_true", help="add what each file says of its own origin")
    _add_engine_options(command)

    command = add("score", score, "Score any number of images, on one machine or many: an Apache Beam pipeline.")
    command.add_argument("--input", action="append", required=True, dest="inputs", metavar="GLOB|MANIFEST.txt")
    command.add_argument("--output", required=True, metavar="PREFIX", help="of the shards: PREFIX-scores-*, -failed-*")
    command.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl", dest="output_format")
    command.add_argument("--shards", type=int, default=0, metavar="N", help="of the scores; default: the runner's own")
    _add_model_option(command, "a SavedModel, as the workers see it")
    command.add_argument("--runner", default="DirectRunner", help="where it runs; other options go to Beam as they are")

    command = add("explain", explain, "Draw where in each image the evidence for its label lies (Grad-CAM).")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--output", required=True, metavar="FILE.png", help="one sheet with all the images")
    _add_engine_options(command)

    command = add("inspect", inspect, "Report what files say of their own origin: Content Credentials, metadata.")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--format", choices=("table", "json"), default="table")
    command.add_argument("--trust-list", metavar="PEM", help="certificates of signers to trust (C2PA)")
    command.add_argument("--fetch-remote", action="store_true", help="fetch manifests that a file only points to")

    command = add("demo", demo, "Score the sample photographs that come with the package.")
    command.add_argument("--archive", metavar="FILE|DIR", help="CIFAKE at hand: eight of its images join the samples")
    _add_engine_options(command)

    command = add("serve", serve, "Serve the model: TensorFlow Serving where it is at hand, else in this process.")
    _add_model_option(command, "a SavedModel or .tflite")
    command.add_argument("--engine", choices=SERVING_ENGINES, default="auto")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine only")
    for name, port in (("rest", 8501), ("grpc", 8500), ("gateway", 8080)):
        command.add_argument(f"--{name}-port", type=int, default=port, help=f"default: {port}")
    command.add_argument("--label", action="append", default=[], dest="labels", metavar="NAME=VERSION")
    command.add_argument(
        "--upstream", metavar="URL", help="run the upload gateway alone, before this TensorFlow Serving"
    )
    command.add_argument("--upstream-label", metavar="LABEL", help="the version label to ask the upstream for")
    command.add_argument("--cors-origin", action="append", default=[], dest="cors_origins", metavar="ORIGIN")

    command = add("app", app, "Open the web page: the model server and the page together, at one address.")
    _add_model_option(command, "a SavedModel or .tflite")
    command.add_argument("--engine", choices=SERVING_ENGINES, default="auto")
    command.add_argument(
        "--url", help="a model server that runs already; default: DEEPFAKE_TF_URL, else one is started"
    )
    command.add_argument("--host", default="127.0.0.1", help="address of the page; default: this machine only")
    command.add_argument("--port", type=int, default=0, help="of the page; default: a free one")

    command = add("audit", audit, "Say what a data set teaches, before training on it: faults, shortcuts, labels.")
    command.add_argument("data", nargs="+", metavar="SOURCE", help=DATA_HELP.partition(". May")[0])
    command.add_argument("--against", action="append", metavar="SOURCE", help="find images of SOURCE there: leakage")
    command.add_argument("--output", metavar="DIR", help="write audit.json and audit.html, with pictures, there")
    command.add_argument("--archive", metavar="FILE|DIR", help="of cifake: read it there, download nothing")
    command.add_argument("--swap-labels", action="store_true", help="SOURCE's REAL means FAKE, and FAKE REAL")
    _add_model_option(command, "a SavedModel to check labels")

    command = add("train", train, "Train a network and fill a run directory.")
    _add_data_options(command, required=False)
    command.add_argument("--run-dir", required=True, metavar="DIR", help="new, or with --resume an earlier one")
    command.add_argument("--resume", action="store_true", help="go on with a run that was cut")
    command.add_argument("--no-audit", action="store_true", help="skip the look at the data before the start")
    _add_training_options(command)

    command = add("average", average, "Average the weights of a run and of one that was trained on from it.")
    command.add_argument("first", metavar="RUN_DIR")
    command.add_argument("second", metavar="RUN_DIR")
    command.add_argument("--share", type=float, required=True, help="of the second, 0 to 1")
    command.add_argument("--run-dir", required=True, metavar="DIR", help="new; evaluate and export take it as any run")

    command = add("evaluate", evaluate, "Measure a run directory or a SavedModel on labelled images.")
    _add_data_options(command)
    _add_model_option(command, "a run directory or a SavedModel")
    command.add_argument("--output", required=True, metavar="DIR", help="metrics.json, predictions.csv and plots")
    _add_split_options(command)
    command.add_argument("--groups", metavar="REGEX", help="accuracy by this part of the names too, in groups.json")
    command.add_argument(
        "--by",
        choices=("generator",),
        help="verdicts by FAKE/GENERATOR/ and REAL/SOURCE/ instead, of all images: sources.json and sources.csv",
    )
    command.add_argument("--engine", choices=INFERENCE_ENGINES, default="auto", help="with --by: what runs the model")

    command = add("robustness", robustness, "Measure a model on images changed the way the web changes them.")
    _add_data_options(command)
    _add_model_option(command, "a run directory or a SavedModel")
    command.add_argument("--output", required=True, metavar="DIR", help="robustness.json and robustness.png")
    _add_split_options(command)

    command = add("export", export, "Turn a run directory into a SavedModel, and either into .tflite files.")
    command.add_argument("run_dir", metavar="RUN_DIR", help=f"or with --data: a SavedModel to calibrate; {TRUST_HELP}")
    command.add_argument("--output", metavar="DIR", help="of the SavedModel, such as saved_model/deepfake/1")
    command.add_argument("--litert", metavar="DIR", help="write .tflite files there too, in four variants")
    command.add_argument(
        "--flip-averaging", action="store_true", help="average with the mirror image, at twice the cost"
    )
    command.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="of the network; default: float32"
    )
    _add_data_options(command, required=False)

    command = add("benchmark", benchmark, "Measure speed, memory and what reduced precision costs, on this machine.")
    _add_model_option(command, "a SavedModel")
    command.add_argument("--peers", action="store_true", help="PyTorch, ONNX Runtime and OpenVINO too, where installed")
    command.add_argument("--quick", action="store_true", help="each thing once: to see that it runs, not how fast")
    command.add_argument(
        "--litert", metavar="DIR", help="instead: the .tflite variants there, on the labelled images of --data"
    )
    _add_data_options(command, required=False)
    command.add_argument("--output", metavar="DIR", help="write the figures there too, as JSON, Markdown and PNG")
    _add_split_options(command)
    return parser


def predict(options: argparse.Namespace) -> int:
    from deepfake_tf.engines.detector import Detector
    from deepfake_tf.engines.tensorflow_import import without_keras
    from deepfake_tf.output.row_file import RowFile
    from deepfake_tf.provenance.content_credentials import check_trust_list

    paths = expand_paths(options.paths)
    options.format = options.format or FORMATS_BY_SUFFIX.get(Path(options.output or "").suffix.lower(), "table")
    is_row_file = bool(options.output) and options.format in ROW_FORMATS
    if options.resume and not is_row_file:
        raise ValueError(f"--resume goes on with a file of rows: give --output and --format {' or '.join(ROW_FORMATS)}")
    is_submission = options.format == SUBMISSION_FORMAT
    if is_submission:
        _check_submission(paths, options)
    if options.output:
        check_file(options.output)
    if options.provenance:
        check_trust_list()
    # Looked at before the model is loaded: what is in the way is said at once.
    rows = RowFile(options.output, options.format, options.resume, _provenance_names(options)) if is_row_file else None
    started = time.monotonic()
    with without_keras():
        detector = Detector(options.model, url=options.url, label=options.label, engine=options.engine)
    if is_submission:
        return _predict_submission(detector, paths, options)
    if rows is not None:
        return _predict_into_file(detector, started, paths, rows, options)
    return _predict_and_print(detector, started, paths, options.format, options.output, options.provenance)


def score(options: argparse.Namespace) -> int:
    import logging

    if not options.verbose:
        logging.getLogger().setLevel(logging.ERROR)  # Beam warns of clouds that nobody asked for
    from deepfake_tf import bulk_scoring

    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(bulk_scoring.ScoreOptions)}
    summary = bulk_scoring.score(bulk_scoring.ScoreOptions(**fields))
    print(summary, file=sys.stderr)
    return EXIT_SOME_FAILED if summary.failed else EXIT_OK


def explain(options: argparse.Namespace) -> int:
    from deepfake_tf.engines.detector import Detector
    from deepfake_tf.engines.tensorflow_import import without_keras
    from deepfake_tf.output.heatmaps import draw_sheet
    from deepfake_tf.output.tables import has_errors, printable

    check_file(options.output)
    paths = expand_paths(options.paths)
    with without_keras():
        detector = Detector(options.model, engine=options.engine)
    explanations = detector.explain(paths)
    encoded = [b"" if item.prediction.error else read_file(item.prediction.file) for item in explanations]
    write_whole(options.output, draw_sheet(explanations, encoded))
    for item in explanations:
        if item.prediction.error:
            print(f"{printable(item.prediction.file)}: {printable(item.prediction.error)}", file=sys.stderr)
    if not is_stream(options.output):  # among the picture's bytes, perhaps
        print(f"wrote {options.output}")
    _say_unexpected(item.prediction.error for item in explanations)
    return EXIT_SOME_FAILED if has_errors(item.prediction for item in explanations) else EXIT_OK


def inspect(options: argparse.Namespace) -> int:
    from deepfake_tf import provenance
    from deepfake_tf.provenance.content_credentials import check_trust_list
    from deepfake_tf.text import json_text

    check_trust_list(options.trust_list)
    reports = [
        provenance.inspect(path, trust_list=options.trust_list, fetch_remote=options.fetch_remote)
        for path in expand_paths(options.paths)
    ]
    if options.format == "json":
        _write_data(json_text([report.to_dict() for report in reports], indent=2) + "\n")
    else:
        print(provenance.format_table(reports))
    _say_unexpected(report.error for report in reports)
    return EXIT_SOME_FAILED if any(report.error for report in reports) else EXIT_OK


def demo(options: argparse.Namespace) -> int:
    import tempfile

    from deepfake_tf.engines.detector import Detector
    from deepfake_tf.engines.tensorflow_import import without_keras
    from deepfake_tf.samples import write_cifake_samples, write_samples

    archive = Path(options.archive).resolve() if options.archive else None
    if archive and not archive.exists():
        raise FileNotFoundError(f"There is no --archive {options.archive}")
    started = time.monotonic()
    with without_keras():
        detector = Detector(options.model, engine=options.engine)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # short names in the table
        paths = write_samples(".") + write_cifake_samples(".", archive)
        return _predict_and_print(detector, started, [str(path) for path in paths], "table", None)


def serve(options: argparse.Namespace) -> int:
    from deepfake_tf.server import launch

    fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(launch.ServeOptions)}
    launch.serve(launch.ServeOptions(**fields))
    return EXIT_OK


def app(options: argparse.Namespace) -> int:
    from deepfake_tf.server.app import AppOptions, run_app

    run_app(AppOptions(options.model, options.engine, options.url, options.host, options.port))
    return EXIT_OK


def audit(options: argparse.Namespace) -> int:
    from deepfake_tf.engines.detector import find_model
    from deepfake_tf.progress import say

    if options.output:
        check_folder(options.output)
    if options.model:
        find_model(options.model, "auto")
    say("loading the data")
    from deepfake_tf.audit.auditing import audit as run_audit
    from deepfake_tf.audit.findings import STOP
    from deepfake_tf.audit.report import format_table, write_report
    from deepfake_tf.data.sources import CIFAKE, load_examples

    second = options.against or []
    archive_of = lambda sources: options.archive if CIFAKE in sources or CIFAKE not in options.data + second else None
    examples = _with_notes(load_examples(options.data, archive_of(options.data), options.swap_labels))
    against = _with_notes(load_examples(second, archive_of(second))) if second else None
    result = run_audit(examples, against, options.model)
    sys.stdout.write(format_table(result))
    if options.output:
        print("wrote " + " and ".join(map(str, write_report(result, options.output))))
    return EXIT_STOP if result.verdict == STOP else EXIT_OK


def train(options: argparse.Namespace) -> int:
    from deepfake_tf.detectors.cifake.recipes import stages_of
    from deepfake_tf.progress import say
    from deepfake_tf.training.run_directory import check_new, check_resumable
    from deepfake_tf.training.stages import is_recipe, resume_stages, train_stages

    run_dir = Path(options.run_dir)
    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.resume:
        check_resumable(run_dir)
        say("loading the data")
        examples = _load_run_data(run_dir, options)
    else:
        if not options.data:
            raise ValueError("--data is needed (or --resume)")
        stages = stages_of(options.recipe, given) if options.recipe else (TrainingConfig(**given),)
        check_new(run_dir)
        say("loading the data")
        from deepfake_tf.networks.pretrained import fetch_weights
        from deepfake_tf.training.loop import check_start

        check_start(options.strategy, stages[0].weights)
        examples = _load_data(options)
        fetch_weights(stages[0].weights, stages[0].model)
        if not options.no_audit:
            _print_cheap_audit(examples, max(stage.image_size for stage in stages))
    started = time.monotonic()
    source = _data_options(options)
    if options.resume and is_recipe(run_dir):
        weights = resume_stages(examples, run_dir, source, options.strategy)
    elif not options.resume and len(stages) > 1:
        weights = train_stages(examples, stages, run_dir, source, options.strategy)
    else:
        from deepfake_tf.training.loop import train as train_one

        config = TrainingConfig() if options.resume else stages[0]  # a resumed run has its own
        weights = train_one(examples, config, run_dir, options.resume, source, options.strategy)
    print(f"best weights: {weights} ({time.monotonic() - started:.0f} s)")
    return EXIT_OK


def average(options: argparse.Namespace) -> int:
    from deepfake_tf.training.run_directory import check_new

    check_new(options.run_dir, resumable=False)  # before Keras is loaded
    from deepfake_tf.training.averaging import average_runs

    print(f"weights: {average_runs(options.first, options.second, options.share, options.run_dir)}")
    return EXIT_OK


def evaluate(options: argparse.Namespace) -> int:
    from deepfake_tf.evaluation.groups import accuracy_by_group, format_groups, group_pattern
    from deepfake_tf.evaluation.report import write_report
    from deepfake_tf.evaluation.scoring import score
    from deepfake_tf.text import json_text

    if options.by:
        return _evaluate_by_source(options)
    pattern = group_pattern(options.groups) if options.groups else None
    model = _check_measuring(options)
    images = _load_split(options)
    probabilities = score(model, images)
    threshold = _threshold(model)
    description = {"model": str(model), "data": options.data, "split": options.split}
    metrics = write_report(
        options.output, images.examples.labels, probabilities, threshold, images.examples.names, description
    )
    for name, value in metrics.items():
        if isinstance(value, dict) and {"value", "low", "high"} <= set(value):
            print(f"{name:<24} {value['value']:.4f}   95 % interval {value['low']:.4f} to {value['high']:.4f}")
    if pattern:
        rows = accuracy_by_group(images.examples.names, images.examples.labels, probabilities, pattern, threshold)
        write_whole(Path(options.output) / "groups.json", json_text(rows, indent=2) + "\n")
        print(format_groups(rows), end="")
    print(f"{plural(len(images), 'image')}; report in {options.output}")
    return EXIT_SOME_FAILED if images.errors else EXIT_OK


def _evaluate_by_source(options: argparse.Namespace) -> int:
    from deepfake_tf.engines.detector import Detector
    from deepfake_tf.evaluation.by_source import ALL, evaluate_by_source, format_sources

    check_folder(options.output)
    examples = _load_data(options)
    detector = Detector(options.model, engine=options.engine)
    description = {"model": str(detector.model_dir), "data": options.data}
    tell = lambda name, error: print(f"no score: {printable(name)}: {printable(error)}", file=sys.stderr)
    rows = evaluate_by_source(detector, examples, options.output, description, tell)
    print(format_sources(rows), end="")
    errors = sum(row["errors"] for row in rows if row["source"] == ALL)
    print(f"{plural(len(examples), 'image')}, {errors:,} without a score; report in {options.output}")
    return EXIT_SOME_FAILED if errors else EXIT_OK


def robustness(options: argparse.Namespace) -> int:
    from deepfake_tf.evaluation.robustness import evaluate_robustness
    from deepfake_tf.progress import say

    say("loading the data")
    from deepfake_tf.evaluation.robustness import CONDITIONS

    model = _check_measuring(options)
    images = _load_split(options)
    say(f"scoring {plural(len(images), 'image')}, as they are and with {len(CONDITIONS)} changes")
    evaluate_robustness(model, images, options.output, _threshold(model), _print_condition)
    print(f"report in {options.output}")
    return EXIT_OK


def _print_condition(row: dict) -> None:
    print(f"{row['condition']:<24} accuracy {row['accuracy']:.4f}   AUC {row['auc']:.4f}", flush=True)


def export(options: argparse.Namespace) -> int:
    run_dir = Path(options.run_dir)
    if options.litert:
        check_folder(options.litert, "--litert")
    if (run_dir / "saved_model.pb").is_file():
        if not ((options.litert or options.output) and options.data):
            raise ValueError(
                f"{run_dir} is a SavedModel already. With --data SOURCE, --output DIR calibrates it anew, and --litert "
                f"DIR turns it into .tflite files. Received: --output {options.output}, --litert {options.litert}, "
                f"--data {options.data}"
            )
        from deepfake_tf.export.from_run import export_variants, recalibrate

        examples = _load_data(options)
        if options.output:
            _print_exported(options.output, recalibrate(run_dir, examples, options.output))
        if options.litert:
            for file in export_variants(options.output or run_dir, examples, options.litert).values():
                print(f"exported {file}: {file.stat().st_size / 1e6:.1f} MB")
        return EXIT_OK
    if not options.output:
        raise ValueError("--output DIR is needed: the folder of the SavedModel, such as saved_model/deepfake/1")
    check_folder(options.output)
    if Path(options.output).exists() and not Path(options.output, "saved_model.pb").is_file():
        raise ValueError(f"{options.output} exists and is no SavedModel: it is not replaced. Name another --output.")
    from deepfake_tf.export.from_run import export_run

    card = export_run(
        run_dir,
        _load_run_data(run_dir, options),
        options.output,
        options.litert,
        options.flip_averaging,
        options.precision,
    )
    _print_exported(options.output, card)
    return EXIT_OK


def _print_exported(output: str, card: dict) -> None:
    accuracy, auc, error, mean = (
        card["validation_metrics"][name]["value"]
        for name in ("accuracy", "roc_auc", "classwise_ece", "mean_probability")
    )
    print(f"exported {output}: validation accuracy {accuracy:.4f}, AUC {auc:.5f}, ", end="")
    print(f"classwise ECE {error:.4f}, mean P(FAKE) {mean:.4f}")


def benchmark(options: argparse.Namespace) -> int:
    if bool(options.litert) != bool(options.data):
        raise ValueError("--litert DIR and labelled images, --data SOURCE, go together")
    if options.output:
        check_folder(options.output)
    if not options.litert:
        return _benchmark_everything(options)
    from deepfake_tf.benchmark.litert import LATENCY_RUNS, benchmark_litert, format_rows

    runs = 1 if options.quick else LATENCY_RUNS
    print(format_rows(benchmark_litert(options.litert, _load_split(options), options.output, runs)), end="")
    return EXIT_OK


def _benchmark_everything(options: argparse.Namespace) -> int:
    import signal

    from deepfake_tf.engines.detector import find_model

    find_model(options.model, "saved_model")  # before TensorFlow is loaded
    from deepfake_tf.benchmark.report import format_table, write_report
    from deepfake_tf.benchmark.suite import run_benchmark

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server that it starts must not outlive it
    report = run_benchmark(options.model, options.peers, options.quick)
    sys.stdout.write(format_table(report))
    if options.output:
        print("wrote " + ", ".join(map(str, write_report(report, options.output))))
    return EXIT_OK


def expand_paths(patterns: Sequence[str]) -> list[str]:
    """Files as given, folders searched for image files (see `is_image_file`), globs matched; in a steady order.

    Raises:
        ValueError: a folder holds no images, or a glob matches nothing.
    """
    paths: list[str] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if is_image_file(file))
            if not found:
                names = ", ".join(IMAGE_EXTENSIONS + TRANSCODED_EXTENSIONS)
                raise ValueError(f"no image files ({names}) in folder {pattern}")
        elif path.exists() or not glob.has_magic(pattern):
            found = [pattern]  # a missing file becomes a row with an error
        else:
            found = sorted(file for file in glob.glob(pattern, recursive=True) if not Path(file).is_dir())
            if not found:
                raise ValueError(f"nothing matches {pattern}")
        paths += found
    return list(dict.fromkeys(paths))


def _predict_and_print(
    detector,
    started: float,
    paths: Sequence[str],
    output_format: str,
    output: str | None,
    with_provenance: bool = False,
) -> int:
    from deepfake_tf.output.tables import format_predictions, has_errors, printable
    from deepfake_tf.progress import progress_bar

    loaded = time.monotonic()
    with progress_bar(len(paths), "scoring", "image") as bar:
        predictions = []
        for prediction in detector.predict_iter(paths):
            predictions.append(prediction)
            bar.update(1)
    evidence = _provenance_fields(predictions, output_format) if with_provenance else None
    text = format_predictions(predictions, output_format, evidence)
    if output:
        write_whole(output, text)
    elif output_format == "table":
        sys.stdout.write(text)
    else:
        _write_data(text)
    seconds = time.monotonic() - loaded
    print(
        f"{plural(len(paths), 'image')} in {seconds:.1f} s, after {loaded - started:.1f} s to load the model",
        file=sys.stderr,
    )
    if evidence and output_format == "table":
        for prediction, row in zip(predictions, evidence):
            print(f"{printable(prediction.file)}: {row['provenance']}", file=sys.stderr)
    _say_unexpected(prediction.error for prediction in predictions)
    return EXIT_SOME_FAILED if has_errors(predictions) else EXIT_OK


def _predict_into_file(
    detector, started: float, paths: Sequence[str], rows: RowFile, options: argparse.Namespace
) -> int:
    """As the rows come: memory stays flat, and a run that is cut can be gone on with."""
    from deepfake_tf.output.tables import format_predictions, has_errors
    from deepfake_tf.progress import progress_bar

    loaded = time.monotonic()
    with rows:
        left = [path for path in paths if path not in rows.files]
        failed = rows.failed > 0
        errors: list[str] = []
        predictions = detector.predict_iter(left)
        try:
            with progress_bar(len(left), "scoring", "image") as bar:
                while batch := list(itertools.islice(predictions, ROWS_AT_ONCE)):
                    evidence = _provenance_fields(batch, options.format) if options.provenance else None
                    rows.write(format_predictions(batch, options.format, evidence))
                    failed |= has_errors(batch)
                    errors += filter(is_unexpected, (prediction.error for prediction in batch))
                    bar.update(len(batch))
        except BaseException:
            if rows.part:
                print(f"the rows so far are kept in {rows.part}: go on with --resume", file=sys.stderr)
            raise
        rows.finish()
    seconds = time.monotonic() - loaded
    skipped = f", {len(paths) - len(left)} more had a row already" if options.resume else ""
    print(
        f"{plural(len(left), 'image')} in {seconds:.1f} s, after {loaded - started:.1f} s to load the model{skipped}",
        file=sys.stderr,
    )
    _say_unexpected(errors)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _say_unexpected(errors: Iterable[str]) -> None:
    """What failed in a way that nobody foresaw is in its row; that there were such rows is said here."""
    if line := count_unexpected(errors):
        print(line, file=sys.stderr)


def _check_submission(paths: Sequence[str], options: argparse.Namespace) -> None:
    from deepfake_tf.output.submission import check_names

    if options.provenance:
        raise ValueError(f"--format {options.format} has no place for what --provenance adds: take --format json")
    check_names(paths)


def _predict_submission(detector, paths: Sequence[str], options: argparse.Namespace) -> int:
    from deepfake_tf.output.submission import format_submission, prior_label
    from deepfake_tf.output.tables import has_errors, printable
    from deepfake_tf.progress import progress_bar

    predictions = []
    with progress_bar(len(paths), "scoring", "image") as bar:
        for prediction in detector.predict_iter(paths):
            predictions.append(prediction)
            bar.update(1)
    prior = prior_label(detector.card)
    for prediction in predictions:
        if prediction.error:
            reason = f"{printable(prediction.file)}: {prediction.error}"
            print(f"{reason}; answered by the prior: {prior.lower()}", file=sys.stderr)
    _say_unexpected(prediction.error for prediction in predictions)
    text = format_submission(predictions, prior)
    if not options.output:
        _write_data(text)
        return EXIT_SOME_FAILED if has_errors(predictions) else EXIT_OK
    write_whole(options.output, text)
    fakes = sum((prior if prediction.error else prediction.label) == "FAKE" for prediction in predictions)
    print(f"wrote {options.output}: {plural(len(predictions), 'image')}, {fakes:,} of them fake", file=sys.stderr)
    return EXIT_SOME_FAILED if has_errors(predictions) else EXIT_OK


def _provenance_names(options: argparse.Namespace) -> list[str]:
    """The fields that `_provenance_fields` gives."""
    if not options.provenance:
        return []
    return ["provenance", "findings"] if options.format in ("json", "jsonl") else ["provenance"]


def _provenance_fields(predictions, output_format: str) -> list[dict]:
    """What each file says of itself, a file without a score too: the line, and in JSON the findings."""
    from deepfake_tf import provenance

    rows = []
    for prediction in predictions:
        report = provenance.inspect(prediction.file)
        verdict = prediction.verdict if prediction.in_domain else "out of domain"
        row: dict = {"provenance": provenance.summarise(report, None if prediction.error else verdict)}
        if output_format in ("json", "jsonl"):
            row["findings"] = report.to_dict()["findings"]
        rows.append(row)
    return rows


def _add_model_option(command: argparse.ArgumentParser, what: str, metavar: str = "DIR") -> None:
    command.add_argument("--model", metavar=metavar, help=f"{what}; default: the one that ships; {TRUST_HELP}")


def _add_engine_options(command: argparse.ArgumentParser) -> None:
    _add_model_option(command, "a SavedModel or .tflite", "PATH")
    command.add_argument(
        "--engine", choices=INFERENCE_ENGINES, default="auto", help="auto: the light one where TensorFlow is missing"
    )


def _add_data_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument("--data", action="append", metavar="SOURCE", required=required, help=DATA_HELP)
    command.add_argument("--archive", metavar="FILE|DIR", help="of --data cifake: read it there, download nothing")
    command.add_argument("--swap-labels", action="store_true", help="the source's REAL means FAKE, and FAKE REAL")


def _add_split_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--split", choices=("validation", "test", "all"), default="validation")
    command.add_argument("--limit", type=int, metavar="N", help="use N images of the split, evenly spread over it")
    command.add_argument("--validation-fraction", type=float, default=TrainingConfig.validation_fraction)
    command.add_argument("--split-seed", type=int, default=TrainingConfig.split_seed, help="of the validation split")


def _add_training_options(command: argparse.ArgumentParser) -> None:
    choices = {
        "model": MODEL_NAMES,
        "optimizer": ("adam", "adamw"),
        "schedule": ("plateau", "cosine"),
        "precision": ("float32", "bfloat16"),
    }
    command.add_argument(
        "--recipe",
        choices=RECIPE_NAMES,
        help="a training that was measured, in stages; other options change all of them",
    )
    command.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="with KERAS_BACKEND=jax: all devices of this machine (mirrored, tpu), or of all workers in TF_CONFIG",
    )
    for field in dataclasses.fields(TrainingConfig):
        flag = "--" + field.name.replace("_", "-")
        text = "; ".join(filter(None, [field.metadata.get("help"), f"default: {field.default}"]))
        if isinstance(field.default, bool):
            command.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
        else:
            command.add_argument(flag, type=type(field.default), choices=choices.get(field.name), help=text)


def _data_options(options: argparse.Namespace) -> dict:
    return {"sources": options.data, "archive": options.archive, "swap_labels": options.swap_labels}


def _load_data(options: argparse.Namespace):
    from deepfake_tf.data.sources import load_examples

    return _with_notes(load_examples(options.data, options.archive, options.swap_labels))


def _with_notes(examples):
    """Say what the user should know about the source."""
    for note in examples.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    return examples


def _print_cheap_audit(examples, image_size: int) -> None:
    from deepfake_tf.audit.auditing import audit as run_audit
    from deepfake_tf.audit.report import format_table

    print("audit of the data (`deepfake-tf audit` looks closer, --no-audit skips this):")
    sys.stdout.write(format_table(run_audit(examples, thorough=False, image_size=image_size)))


def _load_run_data(run_dir: Path, options: argparse.Namespace):
    """The data given, else the data that the run remembers."""
    if not options.data:
        file = run_dir / "data.json"
        if not file.is_file():
            raise ValueError(f"{file} does not exist: name the data of this run with --data")
        remembered = json.loads(file.read_text())
        options.data, options.swap_labels = remembered["sources"], remembered["swap_labels"]
        options.archive = options.archive or remembered["archive"]
    return _load_data(options)


def _check_measuring(options: argparse.Namespace) -> Path:
    """The model to measure; what is wrong with the options is said before any image is read."""
    from deepfake_tf.engines.detector import find_model
    from deepfake_tf.evaluation.scoring import check_model

    check_folder(options.output)
    model = Path(options.model) if options.model else find_model()
    check_model(model)
    return model


def _load_split(options: argparse.Namespace):
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be 1 or more. Received: {options.limit}")
    if not 0 < options.validation_fraction < 1:
        raise ValueError(f"--validation-fraction must be between 0 and 1. Received: {options.validation_fraction}")
    import numpy as np

    from deepfake_tf.data.examples import select_split
    from deepfake_tf.data.pipeline import DecodedImages

    examples = _load_data(options)
    if options.split == "test" and "test" not in examples.splits:
        raise ValueError(f"The data hold no images that are marked test. Received: {plural(len(examples), 'image')}")
    images = DecodedImages(examples, description="reading images")
    for name, error in images.errors.items():
        print(f"left out: {printable(name)}: {printable(error)}", file=sys.stderr)
    if options.split != "all":
        images = select_split(images, options.split, options.validation_fraction, options.split_seed)
    if options.limit and options.limit < len(images):
        images = images.take(np.linspace(0, len(images) - 1, options.limit).astype(int))
    return images


def _threshold(model: Path) -> float:
    from deepfake_tf.engines.detector import read_card

    return read_card(model).get("decision", {}).get("threshold", 0.5)  # a run directory has no card yet


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:  # a light installation, asked for what it leaves out
        package = error.name.partition(".")[0]
        from deepfake_tf import server

        extra = "app" if package in server.PACKAGES else "full"
        return f"this needs {package}, which is not installed: pip install 'deepfake-tf[{extra}]'"
    return "\n".join(map(printable, str(error).split("\n")))


def _print_any_text() -> None:
    """Let no character of a name or a message end a command because the terminal's encoding lacks it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _write_data(text: str) -> None:
    """Rows for programs to standard output: UTF-8, whatever the terminal's encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)


def _silence_native_logs() -> None:
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


if __name__ == "__main__":
    sys.exit(main())
