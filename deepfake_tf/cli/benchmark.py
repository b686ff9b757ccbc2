"""`deepfake-tf benchmark`: speed, memory, and what reduced precision costs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.data_options import add_data_options, add_split_options, load_split
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.cli.model_options import add_model_option
from deepfake_tf.writing import check_folder

if TYPE_CHECKING:
    from deepfake_tf.benchmark.report import Report


def add(commands: Commands) -> None:
    command = add_command(
        commands, "benchmark", run, "Measure speed, memory and what reduced precision costs, on this machine."
    )
    add_model_option(command, "a SavedModel")
    command.add_argument("--peers", action="store_true", help="PyTorch, ONNX Runtime and OpenVINO too, where installed")
    command.add_argument("--photographs", action="store_true", help="instead: the detector for photographs")
    command.add_argument("--page", action="store_true", help="instead: the web page, in headless Chromium")
    command.add_argument("--quick", action="store_true", help="each thing once: to see that it runs, not how fast")
    command.add_argument(
        "--litert", metavar="DIR", help="instead: the .tflite variants there, on the labelled images of --data"
    )
    add_data_options(command, required=False)
    command.add_argument("--output", metavar="DIR", help="write the figures there too, as JSON, Markdown and PNG")
    add_split_options(command)


def run(options: argparse.Namespace) -> int:
    if bool(options.litert) != bool(options.data):
        raise ValueError("--litert DIR and labelled images, --data SOURCE, go together")
    if options.output:
        check_folder(options.output)
    if options.photographs:
        return _measure_photographs(options)
    if options.page:
        return _measure_page(options)
    return _measure_variants(options) if options.litert else _measure_everything(options)


def _measure_variants(options: argparse.Namespace) -> int:
    from deepfake_tf.benchmark.litert import LATENCY_RUNS, benchmark_litert, format_rows

    runs = 1 if options.quick else LATENCY_RUNS
    images = load_split(options, [Path(options.litert) / "deepfake_float32.tflite"])
    print(format_rows(benchmark_litert(options.litert, images, options.output, runs)), end="")
    return EXIT_OK


def _measure_everything(options: argparse.Namespace) -> int:
    import signal

    from deepfake_tf.engines.finding import find_model

    find_model(options.model, "saved_model")  # before TensorFlow is loaded
    from deepfake_tf.benchmark.suite import run_benchmark

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server that it starts must not outlive it
    return _show(run_benchmark(options.model, options.peers, options.quick), options)


def _measure_photographs(options: argparse.Namespace) -> int:
    from deepfake_tf.benchmark.photographs import measure_photographs

    return _show(measure_photographs(options.model, options.peers, options.quick), options)


def _measure_page(options: argparse.Namespace) -> int:
    from deepfake_tf.benchmark.page import measure_page

    return _show(measure_page(options.model, options.quick), options)


def _show(report: Report, options: argparse.Namespace) -> int:
    from deepfake_tf.benchmark.report import format_table, write_report

    sys.stdout.write(format_table(report))
    if options.output:
        print("wrote " + ", ".join(map(str, write_report(report, options.output))))
    return EXIT_OK
