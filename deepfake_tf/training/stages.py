"""Trainings in stages: each a run that starts from the best weights of the one before."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.data.examples import Examples
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.text import plural
from deepfake_tf.training.run_directory import RECIPE_FILE, check_new
from deepfake_tf.writing import write_whole


def train_stages(
    examples: Examples,
    stages: Sequence[TrainingConfig],
    run_dir: str | Path,
    source: Mapping[str, Any] | None = None,
    strategy: str = "none",
) -> Path:
    """Train the stages one after the other; arguments and errors as of `training.loop.train`.

    The `weights` of all but the first are those of the stage before. Returns the path of the weights in `run_dir`.
    """
    from deepfake_tf.training import distribution

    run_dir = Path(run_dir)
    workers = distribution.start(strategy)
    if workers.is_chief:
        _write_plan(stages, run_dir, source)
    workers.wait()
    return resume_stages(examples, run_dir, source, strategy)


def resume_stages(
    examples: Examples, run_dir: str | Path, source: Mapping[str, Any] | None = None, strategy: str = "none"
) -> Path:
    """Go on with a cut recipe: finished stages are passed over, the one that was cut is resumed.

    Raises:
        FileNotFoundError: `run_dir` holds no recipe; others as `train_stages`.
    """
    from deepfake_tf.training.callbacks import Checkpoint
    from deepfake_tf.training.loop import train

    run_dir = Path(run_dir)
    if not (run_dir / RECIPE_FILE).is_file():
        raise FileNotFoundError(f"Nothing to resume: {run_dir / RECIPE_FILE} does not exist. Start without --resume.")
    plan = json.loads((run_dir / RECIPE_FILE).read_text())
    configs = [TrainingConfig(**fields) for fields in plan["stages"]]
    stage_dirs = _stage_dirs(run_dir, len(configs))
    for number, (config, stage_dir) in enumerate(zip(configs, stage_dirs)):
        if Checkpoint(stage_dir).stopped:
            continue
        length = plural(config.epochs, "epoch")
        print(f"stage {number + 1} of {len(configs)}: {config.image_size} px, {length}, in {stage_dir}")
        train(examples, config, stage_dir, (stage_dir / "config.json").exists(), source, strategy)
    return run_dir / "best.weights.h5"


def is_recipe(run_dir: str | Path) -> bool:
    """Whether a run directory is that of a recipe."""
    return (Path(run_dir) / RECIPE_FILE).is_file()


def _stage_dirs(run_dir: Path, count: int) -> list[Path]:
    return [*(run_dir / f"stage-{number + 1}" for number in range(count - 1)), run_dir]


def _write_plan(stages: Sequence[TrainingConfig], run_dir: Path, source: Mapping[str, Any] | None) -> None:
    check_new(run_dir)
    stage_dirs = _stage_dirs(run_dir, len(stages))
    configs = [stages[0]]
    for config, before in zip(stages[1:], stage_dirs):
        configs.append(dataclasses.replace(config, weights=str(before / "best.weights.h5")))
    if source:
        write_whole(run_dir / "data.json", json.dumps(source, indent=2) + "\n")
    plan = {"stages": [dataclasses.asdict(config) for config in configs]}
    write_whole(run_dir / RECIPE_FILE, json.dumps(plan, indent=2) + "\n")  # last: with it the run can be resumed
