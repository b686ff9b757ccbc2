"""How fast the tf.data pipeline feeds, and how fast a network trains."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from deepfake_tf.benchmark.measuring import Row, row, time_in_turns
from deepfake_tf.benchmark.operations import measure_operations
from deepfake_tf.benchmark.pictures import encoded_pictures
from deepfake_tf.benchmark.torch_training import training_step_in_torch
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages, training_batches
from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.networks import build_model

SECTION = "training"
RATIOS = "training, times as fast as"
_IMAGES = 512


def measure_training(training: dict[str, Any], rounds: int, with_peers: bool = False) -> list[Row]:
    """Images a second of the pipeline with the network removed, and of training steps in both precisions.

    Args:
        training: `model`, `image_size` and `batch_size` of a training; others are not looked at.
        rounds: int. Batches timed at 224 px; four times as many at the model's own size.
        with_peers: bool. A ResNet-18 by PyTorch too, where installed, in turns with ours, at this size and at 224 px.
    """
    keep = {name: training[name] for name in ("model", "image_size", "batch_size") if name in training}
    config = TrainingConfig(**keep)
    encoded = encoded_pictures(_IMAGES, 32, 32, "PNG")
    labels = np.arange(_IMAGES) % 2
    names = [f"{index}.png" for index in range(_IMAGES)]
    images = DecodedImages(Examples(names, labels, encoded, ["train"] * _IMAGES), config.image_size)
    size = config.batch_size
    batches = iter(training_batches(images, config))
    batch = tuple(np.asarray(part) for part in next(batches))
    started, count = time.perf_counter(), 0
    rates = []
    while count < 8 * rounds:  # ten batches a figure: the pipeline works ahead, one alone would be too fast
        for _ in range(10):
            next(batches)
        now = time.perf_counter()
        rates.append(10 * size / (now - started))
        started, count = now, count + 1
    rows = [row(SECTION, f"tf.data pipeline, {config.image_size} px, batch {size}", "images/s", rates[1:] or rates)]
    steps = _steps_in_keras(config, config.image_size, *batch)
    shares = measure_operations(f"a training step at {config.image_size} px, bfloat16", steps["bfloat16"], rounds)
    ratios: list[Row] = []
    compared = with_peers and config.model == "resnet18" and importlib.util.find_spec("torch") is not None
    for side in dict.fromkeys((config.image_size, IMAGE_SIZE)) if compared else (config.image_size,):
        pixels = np.resize(batch[0], (size, side, side, 3))
        if side != config.image_size:
            steps = {"bfloat16": _steps_in_keras(config, side, pixels, batch[1])["bfloat16"]}
        if compared:
            steps["PyTorch bfloat16"] = training_step_in_torch(pixels, batch[1])
        seconds = time_in_turns(steps, 4 * rounds if side == config.image_size else rounds)  # four times as slow
        what = f"{config.model} at {side} px, batch {size}"
        rows += [row(SECTION, f"{what}, {name}", "images/s", size / values) for name, values in seconds.items()]
        if compared:
            ratio = seconds["PyTorch bfloat16"] / seconds["bfloat16"]
            ratios.append(row(RATIOS, f"PyTorch, {what}, bfloat16", "x", ratio))
    return rows + ratios + shares


def _steps_in_keras(config: TrainingConfig, side: int, images, labels) -> dict[str, Callable[[], Any]]:
    steps: dict[str, Callable[[], Any]] = {}
    for name, policy in (("float32", None), ("bfloat16", "mixed_bfloat16")):
        model = build_model(config.model, side, config.dropout, policy)
        model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
        steps[name] = partial(model.train_on_batch, images, labels)
    return steps
