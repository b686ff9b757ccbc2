"""`deepfake-tf train`: from labelled images to a run directory."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.cli.command import Commands, add_command
from deepfake_tf.cli.data_options import DataSource, add_data_options, data_given, data_of_run
from deepfake_tf.cli.exit_codes import EXIT_OK
from deepfake_tf.detectors import cifake, photograph
from deepfake_tf.detectors.cifake.config import RECIPE_NAMES, STRATEGIES, TrainingConfig
from deepfake_tf.detectors.registry import DETECTORS

if TYPE_CHECKING:
    from deepfake_tf.data.examples import Examples


def add(commands: Commands) -> None:
    command = add_command(commands, "train", run, "Train a network and fill a run directory.")
    add_data_options(command, required=False)
    command.add_argument("--run-dir", required=True, metavar="DIR", help="new, or with --resume an earlier one")
    command.add_argument(
        "--detector",
        choices=tuple(DETECTORS),
        default=cifake.SPEC.name,
        help="photograph: heads on --features, in a few minutes; the options of networks are for cifake",
    )
    command.add_argument("--features", metavar="DIR", help="of --detector photograph: filled by `features`")
    command.add_argument(
        "--doubtful",
        action="append",
        default=[],
        metavar="REPOSITORY",
        help="of --detector photograph: some of its labels are wrong, so it does not set the limit of accusations",
    )
    command.add_argument("--resume", action="store_true", help="go on with a run that was cut")
    command.add_argument("--no-audit", action="store_true", help="skip the look at the data before the start")
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
            command.add_argument(flag, type=type(field.default), choices=field.metadata.get("choices"), help=text)


def run(options: argparse.Namespace) -> int:
    from deepfake_tf.training.run_directory import check_new, check_resumable

    run_dir = Path(options.run_dir)
    if options.detector == photograph.SPEC.name:
        return _train_photograph(run_dir, options)
    if options.resume:
        check_resumable(run_dir)
        return _go_on(run_dir, options)
    if not options.data:
        raise ValueError("--data is needed (or --resume)")
    stages = _stages(options)
    check_new(run_dir)
    return _begin(run_dir, stages, options)


def _train_photograph(run_dir: Path, options: argparse.Namespace) -> int:
    if not options.features:
        raise ValueError("--detector photograph needs --features DIR: fill it by `deepfake-tf features` first")
    if options.resume or options.data or options.recipe:
        raise ValueError("--detector photograph trains in minutes: it takes neither --data, --recipe nor --resume")
    from deepfake_tf.training.photograph.training_run import TRAINED, train_photograph
    from deepfake_tf.training.run_directory import RUN_FILES, check_new

    check_new(run_dir, (*RUN_FILES, TRAINED), resumable=False)
    started = time.monotonic()
    found = train_photograph(options.features, run_dir, doubtful=options.doubtful)["out_of_fold"]
    accused, caught = (100 * found[name]["likely_generated"] for name in ("real", "generated"))
    print(
        f"on repositories left out: AUC {found['auc']:.3f}; likely generated: {accused:.1f} % of real images and "
        f"{caught:.1f} % of generated ones; uncertain: {100 * found['all']['uncertain']:.1f} % of all"
    )
    print(f"wrote {run_dir / TRAINED} ({time.monotonic() - started:.0f} s); next: deepfake-tf export {run_dir}")
    return EXIT_OK


def _stages(options: argparse.Namespace) -> tuple[TrainingConfig, ...]:
    from deepfake_tf.detectors.cifake.recipes import stages_of

    names = [field.name for field in dataclasses.fields(TrainingConfig)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return stages_of(options.recipe, given) if options.recipe else (TrainingConfig(**given),)


def _begin(run_dir: Path, stages: tuple[TrainingConfig, ...], options: argparse.Namespace) -> int:
    from deepfake_tf.progress import say

    say("loading the data")
    from deepfake_tf.networks.pretrained import fetch_weights
    from deepfake_tf.training.loop import check_start, train
    from deepfake_tf.training.stages import train_stages

    check_start(options.strategy, stages[0])
    source = data_given(options)
    examples = source.load()
    fetch_weights(stages[0].weights, stages[0].model)
    if not options.no_audit:
        _print_cheap_audit(examples, max(stage.image_size for stage in stages))
    started = time.monotonic()
    remembered = dataclasses.asdict(source)
    if len(stages) > 1:
        weights = train_stages(examples, stages, run_dir, remembered, options.strategy)
    else:
        weights = train(examples, stages[0], run_dir, source=remembered, strategy=options.strategy)
    return _print_weights(weights, started)


def _go_on(run_dir: Path, options: argparse.Namespace) -> int:
    from deepfake_tf.progress import say
    from deepfake_tf.training.stages import is_recipe, resume_stages

    say("loading the data")
    source: DataSource = data_of_run(run_dir, options)
    examples = source.load()
    started = time.monotonic()
    remembered = dataclasses.asdict(source)
    if is_recipe(run_dir):
        weights = resume_stages(examples, run_dir, remembered, options.strategy)
    else:
        from deepfake_tf.training.loop import train

        own = TrainingConfig()  # not looked at: a resumed run has its own
        weights = train(examples, own, run_dir, resume=True, source=remembered, strategy=options.strategy)
    return _print_weights(weights, started)


def _print_weights(weights: Path, started: float) -> int:
    print(f"best weights: {weights} ({time.monotonic() - started:.0f} s)")
    return EXIT_OK


def _print_cheap_audit(examples: Examples, image_size: int) -> None:
    from deepfake_tf.audit.auditing import audit
    from deepfake_tf.audit.report import format_table

    print("audit of the data (`deepfake-tf audit` looks closer, --no-audit skips this):")
    sys.stdout.write(format_table(audit(examples, thorough=False, image_size=image_size)))
