"""`deepfake-tf robustness`: a model measured on changed images."""

from __future__ import annotations

import argparse
from typing import Any

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.data_options import (
    add_data_options,
    add_split_options,
    data_given,
    load_split,
    refuse_split,
    spread,
)
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.cli.model_options import (
    add_measured_models_option,
    find_measured_models,
    load_detector,
    one_model,
    threshold_of,
)
from deepfake_tf.text import plural
from deepfake_tf.writing import check_folder


def add(commands: Commands) -> None:
    command = add_command(
        commands, "robustness", run, "Measure a model on images changed the way the web changes them."
    )
    add_data_options(command)
    add_measured_models_option(command)
    command.add_argument("--output", required=True, metavar="DIR", help="robustness.json and robustness.png")
    add_split_options(command)
    command.add_argument(
        "--photographs",
        action="store_true",
        help="instead: the shipped detectors, or a light --model, on full-size files changed at their own size",
    )


def run(options: argparse.Namespace) -> int:
    return _measure_photographs(options) if options.photographs else _measure(options)


def _measure_photographs(options: argparse.Namespace) -> int:
    from deepfake_tf.evaluation.photograph_robustness import (
        evaluate_photograph_robustness,
        format_photograph_robustness,
    )

    refuse_split(options, "--photographs")
    check_folder(options.output)
    detector = load_detector(one_model(options, "--photographs"))
    examples = spread(data_given(options).load(), options.limit)
    description = {"model": str(detector.model_dir), "data": options.data}
    rows = evaluate_photograph_robustness(detector, examples, options.output, description)
    print(format_photograph_robustness(rows), end="")
    print(f"report in {options.output}")
    return EXIT_OK


def _measure(options: argparse.Namespace) -> int:
    from deepfake_tf.progress import say

    say("loading the data")
    from deepfake_tf.evaluation.robustness import CONDITIONS, evaluate_robustness

    models = find_measured_models(options)
    images = load_split(options, models)
    say(f"scoring {plural(len(images), 'image')}, as they are and with {len(CONDITIONS)} changes")
    evaluate_robustness(models, images, options.output, threshold_of(models), _print_condition)
    print(f"report in {options.output}")
    return EXIT_OK


def _print_condition(row: dict[str, Any]) -> None:
    print(f"{row['condition']:<24} accuracy {row['accuracy']:.4f}   AUC {row['auc']:.4f}", flush=True)
