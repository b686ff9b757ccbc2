"""What decides a training of CIFAKE's networks. Imports nothing heavy: the command line prints it as help."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.detectors.cifake import IMAGE_SIZE

MODEL_NAMES = ("resnet18", "resnet50v2", "efficientnet_lite0", "cifake_vit")  # each `build_NAME` in `networks.NAME`
RECIPE_NAMES = ("original", "fast", "best", "teacher")  # of `recipes`
STRATEGIES = ("none", "mirrored", "multiworker", "tpu")  # of `distribution`


def _option(
    default: Any, text: str = "", choices: Sequence[str] | None = None, span: tuple[float, float] | None = None
) -> Any:
    """A field of `TrainingConfig`, with what `deepfake-tf train --help` prints of it; `span` holds its ends too."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "span": span})


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of a training run; the defaults are the original's.

    Raises:
        ValueError: a field is outside its range. The message echoes what was received.
    """

    model: str = _option("resnet18", choices=MODEL_NAMES)
    weights: str = _option(
        "imagenet", "imagenet, none, a .weights.h5, .npz or .safetensors file, or a SavedModel folder"
    )
    image_size: int = _option(IMAGE_SIZE, "pixels; smaller trains faster", span=(32, 1024))
    epochs: int = _option(10, span=(1, 10_000))
    batch_size: int = _option(32, span=(1, 65_536))
    learning_rate: float = _option(1e-4, span=(1e-9, 10.0))
    optimizer: str = _option("adam", "adam, or adamw with weight decay", ("adam", "adamw"))
    weight_decay: float = _option(0.0, "of AdamW, decoupled from the gradient", span=(0.0, 1.0))
    schedule: str = _option(
        "plateau", "plateau: divide by 5 when stuck; cosine: warm up, then decay to 0", ("plateau", "cosine")
    )
    warmup_fraction: float = _option(0.1, "of all steps, linear, with the cosine schedule", span=(0.0, 1.0))
    validation_fraction: float = _option(0.2, "of each class; duplicates stay on one side", span=(0.01, 0.9))
    label_smoothing: float = _option(0.0, span=(0.0, 0.5))
    soft_labels: str = _option("", "predictions.csv of a better model, of evaluate --split all: distillation")
    soft_label_weight: float = _option(
        0.5, "share of the soft label in what is learnt; the rest is the true one", span=(0.0, 1.0)
    )
    dropout: float = _option(0.2, "before the head", span=(0.0, 0.95))
    rotation_degrees: float = _option(10.0, "augmentation: uniform in +-", span=(0.0, 180.0))
    brightness: float = _option(0.2, "augmentation: uniform in +-, a fraction of the full range", span=(0.0, 1.0))
    contrast: float = _option(0.0, "augmentation: factor uniform in 1 +-", span=(0.0, 1.0))
    shift: float = _option(0.0, "augmentation: uniform in +-, a fraction of the image's side", span=(0.0, 0.5))
    zoom: float = _option(0.0, "augmentation: the share of the sides that is cut off, uniform from 0", span=(0.0, 0.9))
    degradation: float = _option(
        0.0, "augmentation: the share of images with JPEG, blur, noise, scaling or no colour", span=(0.0, 1.0)
    )
    flip: bool = _option(True, "augmentation: left-right, every second image")
    precision: str = _option("float32", "compute type; variables stay float32", ("float32", "bfloat16"))
    early_stopping_patience: int = _option(3, "epochs without a better validation loss", span=(1, 10_000))
    steps_per_epoch: int = _option(
        0, "0: the whole training set; else so many batches between checkpoints", span=(0, 10_000_000)
    )
    seed: int = _option(0, "of the initial weights, the shuffling and the augmentation", span=(0, 2**31 - 1))
    split_seed: int = _option(
        0, "of the validation split: that of the run whose weights you train on", span=(0, 2**31 - 1)
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            choices, span = field.metadata.get("choices"), field.metadata.get("span")
            if choices and value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}. Received: {name}={value!r}")
            if span and not span[0] <= value <= span[1]:
                raise ValueError(f"{name} must be from {span[0]} to {span[1]}. Received: {name}={value!r}")

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_file(cls, path: str | Path) -> TrainingConfig:
        """Read what `to_json` wrote. Unknown fields are an error that names them."""
        fields = json.loads(Path(path).read_text())
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"{path}: unknown configuration fields {unknown}. Known: {sorted(known)}")
        return cls(**fields)
