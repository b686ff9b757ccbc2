"""The command line: one short function a command.

Nothing heavy is imported here: `deepfake-tf --help` answers at once, and each command loads what it needs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import glob
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deepfake_tf import __version__
from deepfake_tf.config import IMAGE_EXTENSIONS, MODEL_NAMES, TrainingConfig

EXIT_OK = 0
EXIT_USAGE = 2  # bad usage, or input that the command cannot start from
EXIT_SOME_FAILED = 3  # done, but some images have no score

SERVING_ENGINES = ("auto", "tensorflow_model_server", "docker", "local")
DATA_HELP = (
    "cifake; a folder with one folder a class (REAL/ and FAKE/); the hackathon's layout; or a CSV of path,label. "
    "May be given several times"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not options.verbose:
        _silence_native_logs()
    try:
        return options.run(options)
    except (ValueError, OSError, ImportError) as error:
        if options.verbose:
            raise
        print(f"deepfake-tf {options.command}: {error}", file=sys.stderr)
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
    command.add_argument("--format", choices=("table", "json", "jsonl", "csv"), default="table")
    command.add_argument("--output", metavar="FILE", help="write there, whole or not at all, instead of the terminal")
    command.add_argument("--url", help="score there: http://HOST:8501 (REST) or grpc://HOST:8500")
    command.add_argument("--label", help="with --url: the version label, such as stable")
    command.add_argument("--provenance", action="store_true", help="say on stderr what each file carries as evidence")
    command.add_argument("--model", metavar="DIR", help="a SavedModel; default: the one that ships")

    command = add("explain", explain, "Draw where in each image the evidence for its label lies (Grad-CAM).")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--output", required=True, metavar="FILE.png", help="one sheet with all the images")
    command.add_argument("--model", metavar="DIR", help="a SavedModel; default: the one that ships")

    command = add("inspect", inspect, "Report what files say of their own origin: Content Credentials, metadata.")
    command.add_argument("paths", nargs="+", metavar="PATH")
    command.add_argument("--format", choices=("table", "json"), default="table")
    command.add_argument("--trust-list", metavar="PEM", help="certificates of signers to trust (C2PA)")
    command.add_argument("--fetch-remote", action="store_true", help="fetch manifests that a file only points to")

    command = add("demo", demo, "Score sample photographs that installed packages carry.")
    command.add_argument("--archive", metavar="FILE|DIR", help="CIFAKE at hand: eight of its images join the samples")
    command.add_argument("--model", metavar="DIR", help="a SavedModel; default: the one that ships")

    command = add("serve", serve, "Serve the model: TensorFlow Serving where it is at hand, else in this process.")
    command.add_argument("--model", metavar="DIR", help="a SavedModel; default: the one that ships")
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
    command.add_argument("--model", metavar="DIR", help="a SavedModel; default: the one that ships")
    command.add_argument("--engine", choices=SERVING_ENGINES, default="auto")
    command.add_argument(
        "--url", help="a model server that runs already; default: DEEPFAKE_TF_URL, else one is started"
    )
    command.add_argument("--host", default="127.0.0.1", help="address of the page; default: this machine only")
    command.add_argument("--port", type=int, default=0, help="of the page; default: a free one")

    command = add("train", train, "Train a network and fill a run directory.")
    _add_data_options(command, required=False)
    command.add_argument("--run-dir", required=True, metavar="DIR", help="new, or with --resume an earlier one")
    command.add_argument("--resume", action="store_true", help="go on with a run that was cut")
    _add_training_options(command)

    command = add("evaluate", evaluate, "Measure a run directory or a SavedModel on labelled images.")
    _add_data_options(command)
    command.add_argument("--model", metavar="DIR", help="a run directory or a SavedModel; default: the one that ships")
    command.add_argument("--split", choices=("validation", "test", "all"), default="validation")
    command.add_argument("--output", required=True, metavar="DIR", help="metrics.json, predictions.csv and plots")
    _add_split_options(command)

    command = add("robustness", robustness, "Measure a model on images changed the way the web changes them.")
    _add_data_options(command)
    command.add_argument("--model", metavar="DIR", help="a run directory or a SavedModel; default: the one that ships")
    command.add_argument("--split", choices=("validation", "test", "all"), default="validation")
    command.add_argument("--output", required=True, metavar="DIR", help="robustness.json and robustness.png")
    _add_split_options(command)

    command = add("export", export, "Turn a run directory into a SavedModel.")
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("--output", required=True, metavar="DIR", help="such as saved_model/deepfake/1")
    _add_data_options(command, required=False)
    return parser


def predict(options: argparse.Namespace) -> int:
    from deepfake_tf.inference.detector import Detector

    paths = expand_paths(options.paths)
    started = time.monotonic()
    detector = Detector(options.model, url=options.url, label=options.label)
    return _predict_and_print(detector, started, paths, options.format, options.output, options.provenance)


def explain(options: argparse.Namespace) -> int:
    from deepfake_tf.explanation import draw_sheet
    from deepfake_tf.inference.detector import Detector
    from deepfake_tf.output import has_errors, write_whole

    paths = expand_paths(options.paths)
    explanations = Detector(options.model).explain(paths)
    encoded = [b"" if item.prediction.error else Path(item.prediction.file).read_bytes() for item in explanations]
    write_whole(options.output, draw_sheet(explanations, encoded))
    print(f"wrote {options.output}")
    return EXIT_SOME_FAILED if has_errors(item.prediction for item in explanations) else EXIT_OK


def inspect(options: argparse.Namespace) -> int:
    from deepfake_tf import provenance

    reports = [
        provenance.inspect(path, trust_list=options.trust_list, fetch_remote=options.fetch_remote)
        for path in expand_paths(options.paths)
    ]
    if options.format == "json":
        print(json.dumps([report.to_dict() for report in reports], indent=2, ensure_ascii=False))
    else:
        print(provenance.format_table(reports))
    return EXIT_SOME_FAILED if any(report.error for report in reports) else EXIT_OK


def demo(options: argparse.Namespace) -> int:
    import tempfile

    from deepfake_tf.inference.detector import Detector
    from deepfake_tf.samples import write_cifake_samples, write_samples

    started = time.monotonic()
    detector = Detector(options.model)
    archive = Path(options.archive).resolve() if options.archive else None
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


def train(options: argparse.Namespace) -> int:
    from deepfake_tf import training

    run_dir = Path(options.run_dir)
    if options.resume:
        config = TrainingConfig()
        examples = _load_run_data(run_dir, options)
    else:
        if not options.data:
            raise ValueError("--data is needed (or --resume)")
        fields = {field.name: getattr(options, field.name) for field in dataclasses.fields(TrainingConfig)}
        config = TrainingConfig(**fields)
        examples = _load_data(options)
    started = time.monotonic()
    weights = training.train(examples, config, run_dir, options.resume, _data_options(options))
    print(f"best weights: {weights} ({time.monotonic() - started:.0f} s)")
    return EXIT_OK


def evaluate(options: argparse.Namespace) -> int:
    from deepfake_tf import evaluation
    from deepfake_tf.inference.detector import find_model

    model = Path(options.model) if options.model else find_model()
    images = _load_split(options)
    probabilities = evaluation.score(model, images)
    threshold = _threshold(model)
    description = {"model": str(model), "data": options.data, "split": options.split}
    metrics = evaluation.write_report(
        options.output, images.examples.labels, probabilities, threshold, images.examples.names, description
    )
    for name, value in metrics.items():
        if isinstance(value, dict) and {"value", "low", "high"} <= set(value):
            print(f"{name:<24} {value['value']:.4f}   95 % interval {value['low']:.4f} to {value['high']:.4f}")
    print(f"{len(images)} images; report in {options.output}")
    return EXIT_SOME_FAILED if images.errors else EXIT_OK


def robustness(options: argparse.Namespace) -> int:
    from deepfake_tf.inference.detector import find_model
    from deepfake_tf.robustness import evaluate_robustness

    model = Path(options.model) if options.model else find_model()
    rows = evaluate_robustness(model, _load_split(options), options.output, _threshold(model))
    for row in rows:
        print(f"{row['condition']:<24} accuracy {row['accuracy']:.4f}   AUC {row['auc']:.4f}")
    print(f"report in {options.output}")
    return EXIT_OK


def export(options: argparse.Namespace) -> int:
    from deepfake_tf.export.run import export_run

    run_dir = Path(options.run_dir)
    card = export_run(run_dir, _load_run_data(run_dir, options), options.output)
    metrics = card["validation_metrics"]
    print(f"exported {options.output}: validation accuracy {metrics['accuracy']['value']:.4f}, ", end="")
    print(f"AUC {metrics['roc_auc']['value']:.5f}, ECE {metrics['ece']['value']:.4f}")
    return EXIT_OK


def expand_paths(patterns: Sequence[str]) -> list[str]:
    """Files as given, folders searched for image files, globs matched; in a steady order.

    Raises:
        ValueError: a folder holds no images, or a glob matches nothing.
    """
    paths: list[str] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if _is_image(file))
            if not found:
                raise ValueError(f"no image files ({', '.join(IMAGE_EXTENSIONS)}) in folder {pattern}")
        elif path.exists() or not glob.has_magic(pattern):
            found = [pattern]  # a missing file becomes a row with an error
        else:
            found = sorted(file for file in glob.glob(pattern, recursive=True) if not Path(file).is_dir())
            if not found:
                raise ValueError(f"nothing matches {pattern}")
        paths += found
    return list(dict.fromkeys(paths))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_EXTENSIONS and not file.is_dir()


def _predict_and_print(
    detector,
    started: float,
    paths: Sequence[str],
    output_format: str,
    output: str | None,
    with_provenance: bool = False,
) -> int:
    from deepfake_tf.output import format_predictions, has_errors, write_whole
    from deepfake_tf.progress import progress_bar

    loaded = time.monotonic()
    with progress_bar(len(paths), "scoring", "image") as bar:
        predictions = []
        for prediction in detector.predict_iter(paths):
            predictions.append(prediction)
            bar.update(1)
    text = format_predictions(predictions, output_format)
    if output:
        write_whole(output, text)
    else:
        sys.stdout.write(text)
    seconds = time.monotonic() - loaded
    print(
        f"{len(paths)} images in {seconds:.1f} s, after {loaded - started:.1f} s to load the model",
        file=sys.stderr,
    )
    if with_provenance:
        _print_provenance(predictions)
    return EXIT_SOME_FAILED if has_errors(predictions) else EXIT_OK


def _print_provenance(predictions) -> None:
    from deepfake_tf import provenance
    from deepfake_tf.output import printable

    for prediction in predictions:
        if not prediction.error:
            verdict = prediction.verdict if prediction.in_domain else "out of domain"
            line = provenance.summarise(provenance.inspect(prediction.file), verdict)
            print(f"{printable(prediction.file)}: {line}", file=sys.stderr)


def _add_data_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument("--data", action="append", metavar="SOURCE", required=required, help=DATA_HELP)
    command.add_argument("--archive", metavar="FILE|DIR", help="of --data cifake: read it there, download nothing")
    command.add_argument("--swap-labels", action="store_true", help="the source's REAL means FAKE, and FAKE REAL")


def _add_split_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--validation-fraction", type=float, default=TrainingConfig.validation_fraction)
    command.add_argument("--seed", type=int, default=TrainingConfig.seed, help="of the validation split")


def _add_training_options(command: argparse.ArgumentParser) -> None:
    choices = {
        "model": MODEL_NAMES,
        "optimizer": ("adam", "adamw"),
        "schedule": ("plateau", "cosine"),
        "precision": ("float32", "bfloat16"),
    }
    for field in dataclasses.fields(TrainingConfig):
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            command.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            command.add_argument(
                flag,
                type=type(field.default),
                default=field.default,
                choices=choices.get(field.name),
                help=f"default: {field.default}",
            )


def _data_options(options: argparse.Namespace) -> dict:
    return {"sources": options.data, "archive": options.archive, "swap_labels": options.swap_labels}


def _load_data(options: argparse.Namespace):
    from deepfake_tf.data.sources import load_examples

    examples = load_examples(options.data, options.archive, options.swap_labels)
    for note in examples.notes:
        print(f"note: {note}", file=sys.stderr)
    return examples


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


def _load_split(options: argparse.Namespace):
    from deepfake_tf.data.pipeline import DecodedImages
    from deepfake_tf.evaluation import select_split

    images = DecodedImages(_load_data(options), description="reading images")
    for name, error in images.errors.items():
        print(f"left out: {name}: {error}", file=sys.stderr)
    if options.split == "all":
        return images
    return select_split(images, options.split, options.validation_fraction, options.seed)


def _threshold(model: Path) -> float:
    from deepfake_tf.inference.detector import read_card

    return read_card(model).get("decision", {}).get("threshold", 0.5)  # a run directory has no card yet


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
