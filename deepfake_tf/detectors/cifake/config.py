"""What decides a training of CIFAKE's networks. Imports nothing heavy: the command line prints it as help."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake_tf.detectors.cifake import IMAGE_SIZE

MODEL_NAMES = ("resnet18", "resnet50v2", "cifake_vit")  # each `build_NAME` in `networks.NAME`
RECIPE_NAMES = ("original", "fast", "best")  # of `recipes`
STRATEGIES = ("none", "mirrored", "multiworker", "tpu")  # of `distribution`


def _option(default: Any, text: str = "", choices: Sequence[str] | None = None) -> Any:
    """A field of `TrainingConfig`, with what `deepfake-tf train --help` prints of it."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


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
    image_size: int = _option(IMAGE_SIZE, "pixels; smaller trains faster")
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    optimizer: str = _option("adam", "adam, or adamw with weight decay", ("adam", "adamw"))
    weight_decay: float = _option(0.0, "of AdamW, decoupled from the gradient")
    schedule: str = _option(
        "plateau", "plateau: divide by 5 when stuck; cosine: warm up, then decay to 0", ("plateau", "cosine")
    )
    warmup_fraction: float = _option(0.1, "of all steps, linear, with the cosine schedule")
    validation_fraction: float = _option(0.2, "of each class; duplicates stay on one side")
    label_smoothing: float = 0.0
    soft_labels: str = _option("", "predictions.csv of a better model, of evaluate --split all: distillation")
    soft_label_weight: float = _option(0.5, "share of the soft label in what is learnt; the rest is the true one")
    dropout: float = _option(0.2, "before the head")
    rotation_degrees: float = _option(10.0, "augmentation: uniform in +-")
    brightness: float = _option(0.2, "augmentation: uniform in +-, a fraction of the full range")
    contrast: float = _option(0.0, "augmentation: factor uniform in 1 +-")
    shift: float = _option(0.0, "augmentation: uniform in +-, a fraction of the image's side")
    zoom: float = _option(0.0, "augmentation: the share of the sides that is cut off, uniform from 0")
    degradation: float = _option(0.0, "augmentation: the share of images with JPEG, blur, noise, scaling or no colour")
    flip: bool = _option(True, "augmentation: left-right, every second image")
    precision: str = _option("float32", "compute type; variables stay float32", ("float32", "bfloat16"))
    early_stopping_patience: int = _option(3, "epochs without a better validation loss")
    steps_per_epoch: int = _option(0, "0: the whole training set; else so many batches between checkpoints")
    seed: int = _option(0, "of the initial weights, the shuffling and the augmentation")
    split_seed: int = _option(0, "of the validation split: that of the run whose weights you train on")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if choices := field.metadata.get("choices"):
                _check_choice(field.name, getattr(self, field.name), choices)
        _check_range("image_size", self.image_size, 32, 1024)
        _check_range("epochs", self.epochs, 1, 10_000)
        _check_range("batch_size", self.batch_size, 1, 65_536)
        _check_range("learning_rate", self.learning_rate, 1e-9, 10.0)
        _check_range("weight_decay", self.weight_decay, 0.0, 1.0)
        _check_range("warmup_fraction", self.warmup_fraction, 0.0, 1.0)
        _check_range("validation_fraction", self.validation_fraction, 0.01, 0.9)
        _check_range("label_smoothing", self.label_smoothing, 0.0, 0.5)
        _check_range("soft_label_weight", self.soft_label_weight, 0.0, 1.0)
        _check_range("dropout", self.dropout, 0.0, 0.95)
        _check_range("rotation_degrees", self.rotation_degrees, 0.0, 180.0)
        _check_range("brightness", self.brightness, 0.0, 1.0)
        _check_range("contrast", self.contrast, 0.0, 1.0)
        _check_range("shift", self.shift, 0.0, 0.5)
        _check_range("zoom", self.zoom, 0.0, 0.9)
        _check_range("degradation", self.degradation, 0.0, 1.0)
        _check_range("early_stopping_patience", self.early_stopping_patience, 1, 10_000)
        _check_range("steps_per_epoch", self.steps_per_epoch, 0, 10_000_000)
        _check_range("seed", self.seed, 0, 2**31 - 1)
        _check_range("split_seed", self.split_seed, 0, 2**31 - 1)

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


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}. Received: {name}={value!r}")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}. Received: {name}={value!r}")
