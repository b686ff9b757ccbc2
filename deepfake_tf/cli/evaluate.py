"""`deepfake-tf evaluate`: a model measured on labelled images."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.data_options import (
    SPLITS,
    add_data_options,
    add_split_options,
    data_given,
    load_split,
    refuse_split,
)
from deepfake_tf.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from deepfake_tf.cli.model_options import (
    add_measured_models_option,
    find_measured_models,
    load_detector,
    one_model,
    threshold_of,
)
from deepfake_tf.text import json_text, plural
from deepfake_tf.writing import check_folder, write_whole


def add(commands: Commands) -> None:
    command = add_command(commands, "evaluate", run, "Measure a run directory or a SavedModel on labelled images.")
    add_data_options(command)
    add_measured_models_option(command)
    command.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="metrics.json, predictions.csv and plots; or sources.json, .csv",
    )
    add_split_options(command)
    command.add_argument("--groups", metavar="REGEX", help="accuracy by this part of the names too, in groups.json")
    command.add_argument(
        "--by",
        choices=("generator",),
        help="instead: the verdicts of all images in REAL/SOURCE/ and FAKE/GENERATOR/, a row a source and a generator; "
        "--model may be a .tflite",
    )


def run(options: argparse.Namespace) -> int:
    return _measure_by_source(options) if options.by else _measure(options)


def _measure_by_source(options: argparse.Namespace) -> int:
    from deepfake_tf.evaluation.by_source import evaluate_by_source, format_sources

    if options.groups or options.limit is not None:
        raise ValueError(
            f"--by judges all images: it takes neither --groups nor --limit. Received: --groups {options.groups}, "
            f"--limit {options.limit}"
        )
    refuse_split(options, "--by")
    check_folder(options.output)
    detector = load_detector(one_model(options, "--by"))
    examples = data_given(options).load()
    description = {"model": str(detector.model_dir), "data": options.data}
    rows = evaluate_by_source(detector, examples, options.output, description)
    print(format_sources(rows), end="")
    print(f"{plural(len(examples), 'image')}; report in {options.output}")
    return EXIT_SOME_FAILED if any(row["errors"] for row in rows) else EXIT_OK


def _measure(options: argparse.Namespace) -> int:
    from deepfake_tf.evaluation.groups import accuracy_by_group, format_groups, group_pattern
    from deepfake_tf.evaluation.report import write_report
    from deepfake_tf.evaluation.scoring import describe_models, score

    pattern = group_pattern(options.groups) if options.groups else None
    models = find_measured_models(options)
    images = load_split(options, models)
    probabilities = score(models, images)
    threshold = threshold_of(models)
    description = {"model": describe_models(models), "data": options.data, "split": options.split or SPLITS[0]}
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
