"""`deepfake-tf export`: from a run directory to what is served."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.data_options import add_data_options, data_given, data_of_run
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.cli.model_options import TRUST_HELP
from deepfake_tf.writing import check_folder

TRAINED = "trained.json"  # in the run directory of a photograph training


def add(commands: Commands) -> None:
    command = add_command(
        commands, "export", run, "Turn a run directory into a SavedModel, and either into .tflite files."
    )
    command.add_argument("run_dir", metavar="RUN_DIR", help=f"or with --data: a SavedModel to calibrate; {TRUST_HELP}")
    command.add_argument("--output", metavar="DIR", help="of the SavedModel, such as saved_model/deepfake/1")
    command.add_argument("--litert", metavar="DIR", help="write .tflite files there too, in four variants")
    command.add_argument(
        "--flip-averaging", action="store_true", help="average with the mirror image, at twice the cost"
    )
    command.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="of the network; default: float32, of photographs bfloat16"
    )
    command.add_argument(
        "--weights",
        metavar="FILE",
        help="photograph run: CLIP's in int8, .npz or .tflite; default: the backbone in --output or the shipped one",
    )
    add_data_options(command, required=False)


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.detectors.bundle import DESCRIPTION

    run_dir = Path(options.run_dir)
    if options.litert:
        check_folder(options.litert, "--litert")
    if (run_dir / "saved_model.pb").is_file():
        return _export_saved_model(run_dir, options)
    if (run_dir / TRAINED).is_file():
        return _export_photograph(run_dir, options)
    if (run_dir / DESCRIPTION).is_file():
        return _export_bundle(run_dir, options)
    return _export_run(run_dir, options)


def _export_saved_model(saved_model: Path, options: argparse.Namespace) -> int:
    if not ((options.litert or options.output) and options.data):
        raise ValueError(
            f"{saved_model} is a SavedModel already. With --data SOURCE, --output DIR calibrates it anew, and --litert "
            f"DIR turns it into .tflite files. Received: --output {options.output}, --litert {options.litert}, "
            f"--data {options.data}"
        )
    from deepfake_tf.export.from_run import export_variants, recalibrate

    examples = data_given(options).load()
    if options.output:
        _print_exported(options.output, recalibrate(saved_model, examples, options.output))
    if options.litert:
        for file in export_variants(options.output or saved_model, examples, options.litert).values():
            print(f"exported {file}: {file.stat().st_size / 1e6:.1f} MB")
    return EXIT_OK


def _export_photograph(run_dir: Path, options: argparse.Namespace) -> int:
    if not options.output:
        raise ValueError("--output DIR is needed: the folder of the bundle, such as saved_model/photograph")
    check_folder(options.output)
    from deepfake_tf.export.photograph_bundle import BACKBONE, read_training, write_photograph_bundle
    from deepfake_tf.shipped import shipped_backbone

    weights = options.weights
    if not weights and not Path(options.output, BACKBONE).is_file():
        weights = shipped_backbone()
    bundle = write_photograph_bundle(weights, *read_training(run_dir), options.output)
    print(f"exported {bundle}; its SavedModel: deepfake-tf export {bundle} --output {bundle}/1")
    return EXIT_OK


def _export_bundle(bundle: Path, options: argparse.Namespace) -> int:
    """The SavedModel of a bundle that ships without one."""
    from deepfake_tf.detectors import photograph
    from deepfake_tf.detectors.bundle import read_bundle

    name = read_bundle(bundle).spec.name
    if name != photograph.SPEC.name or not options.output:
        raise ValueError(
            f"A bundle of the detector {photograph.SPEC.name} becomes a SavedModel by --output DIR, such as "
            f"{bundle}/1. Received: a bundle of {name}, --output {options.output}"
        )
    check_folder(options.output)
    from deepfake_tf.export.photograph_savedmodel import export_photograph_savedmodel
    from deepfake_tf.samples import read_samples

    precision = options.precision or "bfloat16"
    path = export_photograph_savedmodel(bundle, options.output, read_samples(), precision)
    print(f"exported {path}, {precision}")
    return EXIT_OK


def _export_run(run_dir: Path, options: argparse.Namespace) -> int:
    if not options.output:
        raise ValueError("--output DIR is needed: the folder of the SavedModel, such as saved_model/deepfake/1")
    check_folder(options.output)
    if Path(options.output).exists() and not Path(options.output, "saved_model.pb").is_file():
        raise ValueError(f"{options.output} exists and is no SavedModel: it is not replaced. Name another --output.")
    from deepfake_tf.export.from_run import export_run

    examples = data_of_run(run_dir, options).load()
    card = export_run(
        run_dir, examples, options.output, options.litert, options.flip_averaging, options.precision or "float32"
    )
    _print_exported(options.output, card)
    return EXIT_OK


def _print_exported(output: str, card: Mapping[str, Any]) -> None:
    accuracy, auc, error, mean = (
        card["validation_metrics"][name]["value"]
        for name in ("accuracy", "roc_auc", "classwise_ece", "mean_probability")
    )
    print(f"exported {output}: validation accuracy {accuracy:.4f}, AUC {auc:.5f}, ", end="")
    print(f"classwise ECE {error:.4f}, mean P(FAKE) {mean:.4f}")
