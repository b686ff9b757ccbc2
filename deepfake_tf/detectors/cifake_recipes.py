"""Recipes: trainings with a name, each one command, and what it gave where it was run.

A recipe is a list of stages. Each stage is a run of `training.train` that starts from the best weights of the one
before: small images first, where steps are cheap, then larger ones. The stages are RUN_DIR/stage-1, RUN_DIR/stage-2
and so on; the last one is RUN_DIR itself, which `evaluate` and `export` take as any run. A cut recipe goes on with
`deepfake-tf train --resume --run-dir RUN_DIR` and loses at most the epoch that it was in.

original    deepfake-tf train --data cifake --recipe original --run-dir runs/original

    The original project's hyper-parameters as they stand: BCE, Adam 1e-4, batch 32, 10 epochs, 224 px, 20 % validation,
    ResNet-18 from ImageNet. Not run to its end here: at the 19 images a second that two CPU cores train in float32 at
    224 px, its 800,000 images take 12 hours.

fast        deepfake-tf train --data cifake --recipe fast --run-dir runs/fast

    Measured on two idle cores of an AMD EPYC, bfloat16, TensorFlow 2.21, seed 0, on the 20,000 validation images:
    stage 1 (64 px, 160,000 images seen): accuracy 96.90 %, AUC .9970, 18 minutes;
    stage 2 (112 px, 157,440 images seen): accuracy 97.57 %, AUC .9975, 40 minutes; 97.60 % as `export` leaves it.
    It has seen no damaged image: a blurred one is right in two of three cases.

best        deepfake-tf train --data cifake --recipe best --run-dir runs/best

    `fast`, with 940 steps an epoch in its second stage (97.50 %; 97.66 % as exported), and on from there:
    stage 3 (112 px, 384,000 images seen, 40 % of them damaged as the web damages them): accuracy 97.70 %, AUC .9979,
    86 minutes; 97.84 %, AUC .9980 as `export` leaves it.
    The stages were run one by one, on a machine that did other work too. The third was cut after two of its six epochs
    and resumed with batch norm in TensorFlow's fused kernels, with which a step takes a quarter less time; everything
    before it, and `fast`, ran without.
    The model that ships came by a longer way, which its model card tells, to the same figures within their intervals.

The measured runs began from ImageNet weights without the last block (layer4), which was fresh; the recipes take all of
them. On a GPU the same stages run as they are (`KERAS_BACKEND=jax`); what they reach with more steps was not measured.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.config import RECIPE_NAMES, TrainingConfig
from deepfake_tf.data.examples import Examples
from deepfake_tf.output.tables import write_whole

RECIPE_FILE = "recipe.json"  # in RUN_DIR: the stages' configurations, for --resume

_STAGED = TrainingConfig(
    batch_size=64,
    optimizer="adamw",
    weight_decay=0.02,
    schedule="cosine",
    precision="bfloat16",
    early_stopping_patience=100,  # never: the cosine is worth most at its end
    contrast=0.2,
)
_FAST = (
    dataclasses.replace(
        _STAGED,
        image_size=64,
        epochs=4,
        steps_per_epoch=625,
        learning_rate=1e-3,
        rotation_degrees=5.0,
        shift=0.06,
    ),
    dataclasses.replace(
        _STAGED,
        image_size=112,
        epochs=3,
        steps_per_epoch=820,
        learning_rate=6e-4,
        rotation_degrees=5.0,
        shift=0.06,
    ),
)
_BEST = (
    _FAST[0],
    dataclasses.replace(_FAST[1], steps_per_epoch=940),
    dataclasses.replace(
        _STAGED,
        image_size=112,
        epochs=6,
        steps_per_epoch=1000,
        learning_rate=5e-4,
        warmup_fraction=0.05,
        rotation_degrees=3.0,
        brightness=0.15,
        shift=0.05,
        zoom=0.2,
        degradation=0.4,
        seed=3,  # other batches than the stage before
    ),
)
RECIPES: dict[str, tuple[TrainingConfig, ...]] = {"original": (TrainingConfig(),), "fast": _FAST, "best": _BEST}


def stages_of(name: str, changes: Mapping[str, Any] | None = None) -> tuple[TrainingConfig, ...]:
    """The stages of a recipe.

    Args:
        name: str. One of `RECIPE_NAMES`.
        changes: fields of TrainingConfig to set in all stages, but `weights`, which are the first stage's.

    Raises:
        ValueError: the name is unknown, or a field is outside its range.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPE_NAMES)}. Received: recipe={name!r}")
    first, *others = RECIPES[name]
    changes = dict(changes or {})
    first = dataclasses.replace(first, **changes)
    changes.pop("weights", None)
    return (first, *(dataclasses.replace(stage, **changes) for stage in others))


def train_stages(
    examples: Examples,
    stages: Sequence[TrainingConfig],
    run_dir: str | Path,
    source: Mapping[str, Any] | None = None,
    strategy: str = "none",
) -> Path:
    """Train the stages one after the other; see the module.

    Args:
        examples: Examples, as for `training.train`.
        stages: TrainingConfigs. The `weights` of all but the first are those of the stage before.
        run_dir: str or Path. New or empty.
        source: where the examples come from; kept in data.json.
        strategy: str, as for `training.train`.

    Returns:
        The path of the weights in `run_dir`.

    Raises:
        FileExistsError: `run_dir` holds a run.
        ValueError, FileNotFoundError: as `training.train`.
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
        print(f"stage {number + 1} of {len(configs)}: {config.image_size} px, {config.epochs} epochs, in {stage_dir}")
        train(examples, config, stage_dir, (stage_dir / "config.json").exists(), source, strategy)
    return run_dir / "best.weights.h5"


def is_recipe(run_dir: str | Path) -> bool:
    """Whether a run directory is that of a recipe."""
    return (Path(run_dir) / RECIPE_FILE).is_file()


def _stage_dirs(run_dir: Path, count: int) -> list[Path]:
    return [*(run_dir / f"stage-{number + 1}" for number in range(count - 1)), run_dir]


def _write_plan(stages: Sequence[TrainingConfig], run_dir: Path, source: Mapping[str, Any] | None) -> None:
    for file in (RECIPE_FILE, "config.json"):
        if (run_dir / file).exists():
            raise FileExistsError(
                f"{run_dir} holds a run already. Go on with it by --resume, or name another --run-dir."
            )
    stage_dirs = _stage_dirs(run_dir, len(stages))
    configs = [stages[0]]
    for config, before in zip(stages[1:], stage_dirs):
        configs.append(dataclasses.replace(config, weights=str(before / "best.weights.h5")))
    if source:
        write_whole(run_dir / "data.json", json.dumps(source, indent=2) + "\n")
    plan = {"stages": [dataclasses.asdict(config) for config in configs]}
    write_whole(run_dir / RECIPE_FILE, json.dumps(plan, indent=2) + "\n")  # last: with it the run can be resumed
