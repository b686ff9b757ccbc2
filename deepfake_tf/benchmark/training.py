"""How fast the tf.data pipeline feeds, and how fast a network trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from deepfake_tf.benchmark.measuring import Row, row, time_in_turns
from deepfake_tf.benchmark.operations import measure_operations
from deepfake_tf.benchmark.pictures import encoded_pictures
from deepfake_tf.config import TrainingConfig
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages, training_batches
from deepfake_tf.models import build_model

SECTION = "training"
_IMAGES = 512


def measure_training(training: dict[str, Any], rounds: int) -> list[Row]:
    """Images a second of the pipeline without the network, of training steps in both precisions, and where they go.

    Args:
        training: of a model card: `model`, `image_size` and `batch_size` are taken from it.
        rounds: int. Batches timed, times four.
    """
    keep = {name: training[name] for name in ("model", "image_size", "batch_size") if name in training}
    config = TrainingConfig(**keep)
    encoded = encoded_pictures(_IMAGES, 32, 32, "PNG")
    labels = np.arange(_IMAGES) % 2
    names = [f"{index}.png" for index in range(_IMAGES)]
    images = DecodedImages(Examples(names, labels, encoded, ["train"] * _IMAGES), config.image_size)
    size = config.batch_size
    batches = iter(training_batches(images, config))
    batch = next(batches)
    started, count = time.perf_counter(), 0
    rates = []
    while count < 8 * rounds:  # ten batches a figure: the pipeline works ahead, one alone would be too fast
        for _ in range(10):
            next(batches)
        now = time.perf_counter()
        rates.append(10 * size / (now - started))
        started, count = now, count + 1
    rows = [row(SECTION, f"tf.data pipeline, {config.image_size} px, batch {size}", "images/s", rates[1:] or rates)]
    steps: dict[str, Callable[[], Any]] = {}
    for name, policy in (("float32", None), ("bfloat16", "mixed_bfloat16")):
        model = build_model(config.model, config.image_size, config.dropout, policy)
        model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
        steps[name] = partial(model.train_on_batch, *batch)
    what = f"{config.model} at {config.image_size} px, batch {size}"
    for name, seconds in time_in_turns(steps, 4 * rounds).items():
        rows.append(row(SECTION, f"{what}, {name}", "images/s", size / seconds))
    return rows + measure_operations(f"a training step at {config.image_size} px, bfloat16", steps["bfloat16"], rounds)
