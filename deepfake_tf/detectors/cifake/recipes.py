"""Recipes: trainings with a name, each one command, and what it gave where it was run.

A recipe is a list of stages. Each stage is a run of `training.loop.train` that starts from the best weights of the one
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

teacher     deepfake-tf train --data cifake --recipe teacher --run-dir runs/teacher

    The first eight blocks of CLIP's ViT-B/16 with adapters, 96 px, 336,000 images seen, 25 % of them damaged. Not run
    to its end here: at the some 17 images a second of its first 30 steps (two cores of an AMD EPYC, bfloat16) it takes
    5 to 6 hours. saved_model/cifake_vit/ is the same network, trained in PyTorch for three hours. docs/training.md has
    its figures, and those of the teacher, which is the mean of its logit and that of the model that ships.

The model that ships is another network: its model card and docs/training.md tell how it was trained.

The measured runs began from ImageNet weights without the last block (layer4), which was fresh; the recipes take all of
them. On a GPU the same stages run as they are (`KERAS_BACKEND=jax`); what they reach with more steps was not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from deepfake_tf.detectors.cifake.config import RECIPE_NAMES, TrainingConfig
from deepfake_tf.shipped import shipped_backbone

_STAGED = TrainingConfig(
    batch_size=64,
    optimizer="adamw",
    weight_decay=0.02,
    schedule="cosine",
    precision="bfloat16",
    early_stopping_patience=100,  # never: the cosine is worth most at its end
    contrast=0.2,
    rotation_degrees=5.0,
    shift=0.06,
)
_FAST = (
    dataclasses.replace(_STAGED, image_size=64, epochs=4, steps_per_epoch=625, learning_rate=1e-3),
    dataclasses.replace(_STAGED, image_size=112, epochs=3, steps_per_epoch=820, learning_rate=6e-4),
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
_TEACHER = (
    dataclasses.replace(
        _STAGED,
        model="cifake_vit",
        weights=str(shipped_backbone()),
        image_size=96,
        batch_size=48,
        epochs=7,
        steps_per_epoch=1000,
        learning_rate=2e-4,
        warmup_fraction=0.05,
        rotation_degrees=0.0,
        brightness=0.15,
        shift=0.05,
        zoom=0.1,
        degradation=0.25,
    ),
)
RECIPES: dict[str, tuple[TrainingConfig, ...]] = {
    "original": (TrainingConfig(),),
    "fast": _FAST,
    "best": _BEST,
    "teacher": _TEACHER,
}


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
