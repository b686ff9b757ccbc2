"""Training: a run directory that can be cut at any time and goes on from its last epoch.

RUN_DIR/config.json              what was asked for; data.json: of which data
RUN_DIR/train_files.txt          the split, a name a line; validation_files.txt beside it
RUN_DIR/history.csv              a row an epoch
RUN_DIR/learning_curves.png
RUN_DIR/tensorboard/             by the TensorFlow backend only
RUN_DIR/best.weights.h5          the epoch with the lowest validation loss
RUN_DIR/checkpoint.json          for --resume: the last finished epoch, and what the callbacks remember
RUN_DIR/checkpoint-N.weights.h5  network and optimiser after that epoch
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from deepfake_tf.contract import FAKE, REAL
from deepfake_tf.data.examples import Examples, split_validation
from deepfake_tf.data.soft_labels import check_soft_labels, read_soft_labels
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.networks import build_model
from deepfake_tf.networks.pretrained import check_weights, load_pretrained
from deepfake_tf.text import plural, printable
from deepfake_tf.training import distribution
from deepfake_tf.training.callbacks import BestWeights, Checkpoint, History
from deepfake_tf.training.run_directory import (
    CONFIG_FILE,
    SPLIT_FILES,
    check_new,
    check_resumable,
    read_names,
    write_names,
)
from deepfake_tf.writing import write_whole

if TYPE_CHECKING:
    from deepfake_tf.data import in_memory, pipeline

    DecodedImages = pipeline.DecodedImages | in_memory.DecodedImages

CALIBRATION_IMAGES = 256  # to put batch norm back into folded weights
UNBALANCED_RATIO = 1.2  # class weights above this ratio of the larger to the smaller class


def train(
    examples: Examples,
    config: TrainingConfig,
    run_dir: str | Path,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
    strategy: str = "none",
) -> Path:
    """Train a network and fill a run directory.

    Under KERAS_BACKEND=jax the images stay on the device and TensorFlow is not imported: see `data.in_memory`.

    Args:
        examples: Examples. Those marked "test" are left out; the rest is split.
        config: TrainingConfig. Ignored with `resume`: the run directory's own is used.
        run_dir: str or Path. New or empty, unless `resume`. Of several workers, all must see it.
        resume: bool. Go on from the last finished epoch.
        source: where the examples come from; kept in data.json, so that `deepfake-tf export` finds them.
        strategy: str. "none", "mirrored", "multiworker" or "tpu": see `distribution.start`. The batch size is that of
            all devices together.

    Returns:
        The path of the best weights.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: each says what was received and what to do.
    """
    run_dir = Path(run_dir)
    data = _data_module()
    workers = distribution.start(strategy)
    if resume:
        check_resumable(run_dir, (CONFIG_FILE,))
        config = TrainingConfig.from_file(run_dir / CONFIG_FILE)
    elif workers.is_chief:
        check_new(run_dir, (CONFIG_FILE,))
    if config.batch_size % workers.devices:
        raise ValueError(
            f"The batch must divide by {plural(workers.devices, 'device')}. Received: batch_size={config.batch_size}"
        )
    _set_seed(config.seed)
    share = {"workers": workers} if workers.distributed else {}
    unmarked = examples.take(np.flatnonzero(np.array(examples.splits) != "test"))
    images = data.DecodedImages(unmarked, config.image_size, "reading images", **share)
    for name, error in images.errors.items():
        print(f"left out: {printable(name)}: {printable(error)}")
    train_indices, validation_indices = split_validation(
        images.examples.labels, images.digests, config.validation_fraction, config.split_seed
    )
    training, validation = images.take(train_indices), images.take(validation_indices)
    _check_classes(training, validation)
    files = dict(zip(SPLIT_FILES, (training.examples.names, validation.examples.names)))
    if resume:
        _check_files(run_dir, files)
    targets = None
    if config.soft_labels:
        targets = read_soft_labels(config.soft_labels, training.examples, config.soft_label_weight)
    print(f"training on {training.examples.counts()}, validating on {validation.examples.counts()}")

    steps = config.steps_per_epoch or -(-len(training) // config.batch_size)
    output_dir = workers.output_dir(run_dir)
    if output_dir != run_dir:
        _copy_state(run_dir, output_dir)
    checkpoint = Checkpoint(output_dir)
    if checkpoint.epoch >= config.epochs or checkpoint.stopped:
        print(f"{run_dir} has finished its {plural(checkpoint.epoch, 'epoch')}")
        return run_dir / "best.weights.h5"
    model = _build(config)
    if not checkpoint.epoch:
        unchanged = dataclasses.replace(config, batch_size=CALIBRATION_IMAGES)
        calibration_images = keras.ops.convert_to_numpy(next(iter(data.training_batches(training, unchanged)))[0])
        print(load_pretrained(model, config.weights, calibration_images))
    if workers.distributed:
        arrays = model.get_weights()
        distribution.mirror_variables()
        model = _build(config)
        model.set_weights(arrays)
    _compile(model, config, steps * config.epochs, class_weights(training.examples.labels))
    if checkpoint.epoch:
        checkpoint.restore(model)
        print(f"resuming after epoch {checkpoint.epoch}")
    if not resume:
        _start_run(output_dir, config, files, source)
    best = BestWeights(output_dir / "best.weights.h5")
    patience = keras.callbacks.EarlyStopping("val_loss", patience=config.early_stopping_patience, verbose=1)
    callbacks = [best, patience]
    remembered = {"best": (best, ["best"]), "early_stopping": (patience, ["best", "wait"])}
    if config.schedule == "plateau":
        plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.2, patience=1, min_lr=1e-7, verbose=1)
        callbacks.append(plateau)
        remembered["plateau"] = (plateau, ["best", "wait", "cooldown_counter"])
    checkpoint.remember(remembered)
    callbacks.append(History(output_dir, checkpoint.epoch))
    if keras.backend.backend() == "tensorflow":  # which writes TensorBoard's files
        callbacks.append(keras.callbacks.TensorBoard(str(output_dir / "tensorboard"), write_graph=False))
    callbacks.append(checkpoint)  # last: it saves what the others have decided
    model.fit(
        data.training_batches(training, config, checkpoint.epoch * steps, targets, **share),
        validation_data=data.evaluation_batches(validation, config.batch_size, **share),
        epochs=config.epochs,
        initial_epoch=checkpoint.epoch,
        steps_per_epoch=steps,
        callbacks=callbacks,
        shuffle=False,  # the batches come shuffled
        verbose=(1 if os.isatty(1) else 2) if workers.is_chief else 0,
    )
    checkpoint.finish()
    workers.wait()
    if output_dir != run_dir:
        shutil.rmtree(output_dir)
    return run_dir / "best.weights.h5"


def check_start(strategy: str, config: TrainingConfig) -> None:
    """Whether a training can start here; before its data are read.

    Args:
        strategy: str, as for `train`.
        config: TrainingConfig. Of the first stage.

    Raises:
        ValueError, FileNotFoundError: each says what was received and what to do.
    """
    distribution.check_strategy(strategy)
    _data_module()
    check_weights(config.weights)
    if config.soft_labels:
        check_soft_labels(config.soft_labels)


def _data_module():
    """The module that reads, shuffles and augments, by Keras's backend: `data.pipeline` or `data.in_memory`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from deepfake_tf.data import pipeline

        return pipeline
    if backend == "jax":
        from deepfake_tf.data import in_memory

        return in_memory
    raise ValueError(f"Training runs on Keras's tensorflow and jax backends. Received: KERAS_BACKEND={backend}")


def _set_seed(seed: int) -> None:
    if keras.backend.backend() == "tensorflow":
        keras.utils.set_random_seed(seed)
    else:
        random.seed(seed)  # where Keras's layers take theirs from; set_random_seed would import TensorFlow


def _build(config: TrainingConfig) -> keras.Model:
    _set_seed(config.seed)  # here too: a network built twice has to get the same dropout
    policy = "mixed_bfloat16" if config.precision == "bfloat16" else None
    return build_model(config.model, config.image_size, config.dropout, policy)


def _copy_state(run_dir: Path, output_dir: Path) -> None:
    """What a worker that is not the chief needs to go on where the run was cut."""
    for file in (*run_dir.glob("checkpoint*"), *run_dir.glob("history.csv")):
        shutil.copy(file, output_dir)


def class_weights(labels: np.ndarray) -> dict[int, float] | None:
    """Weights that make both classes count the same, or None where they nearly do already.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
    """
    counts = np.bincount(labels, minlength=2)
    if counts.max() <= UNBALANCED_RATIO * counts.min():
        return None
    return {label: len(labels) / (2.0 * counts[label]) for label in (REAL, FAKE)}


def _start_run(
    run_dir: Path, config: TrainingConfig, files: Mapping[str, Sequence[str]], source: Mapping[str, Any] | None
) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    for file, names in files.items():
        write_names(run_dir / file, names)
    if source:
        write_whole(run_dir / "data.json", json.dumps(source, indent=2) + "\n")
    write_whole(run_dir / "config.json", config.to_json())  # last: with it the run can be resumed


def _check_files(run_dir: Path, files: Mapping[str, Sequence[str]]) -> None:
    """A run resumed on other data would validate on images that it was trained on."""
    for file, names in files.items():
        recorded, received = read_names(run_dir / file), [printable(name) for name in names]
        if recorded != received:
            raise ValueError(
                f"The data are not those of the run: {run_dir / file} names {plural(len(recorded), 'image')}. "
                f"Received: {len(received):,}, {len(set(received) - set(recorded)):,} of them new. "
                f"Resume with the same --data."
            )


def _check_classes(training: DecodedImages, validation: DecodedImages) -> None:
    for name, part in (("training", training), ("validation", validation)):
        counts = part.examples.counts()
        if not all(counts.values()):
            raise ValueError(
                f"The {name} split needs images of both classes. Received: {counts}. Give more images, or "
                f"another --validation-fraction."
            )


def _compile(model: keras.Model, config: TrainingConfig, total_steps: int, weights: Mapping[int, float] | None) -> None:
    learning_rate = config.learning_rate
    if config.schedule == "cosine":
        warmup_steps = max(1, round(config.warmup_fraction * total_steps))
        learning_rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=config.learning_rate / 25,
            warmup_target=config.learning_rate,
            warmup_steps=warmup_steps,
            decay_steps=max(1, total_steps - warmup_steps),
        )
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=config.weight_decay)
        # Decay pulls kernels only: batch norm's scales and the biases have no reason to be small.
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    else:
        optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(
        optimizer,
        _loss(config.label_smoothing, weights),
        metrics=[
            _Accuracy("accuracy", threshold=0.0),  # of a logit: probability 0.5
            _AUC(name="auc", from_logits=True, num_thresholds=1000),
        ],
    )


def _loss(label_smoothing: float, weights: Mapping[int, float] | None) -> keras.losses.Loss | Callable:
    """Cross-entropy of logits, of training and validation alike.

    In the loss, since Keras's `class_weight` leaves validation unweighted, by which the best epoch is chosen.
    """
    if weights is None:
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing)

    def balanced_crossentropy(y_true, y_pred):
        losses = keras.losses.binary_crossentropy(y_true, y_pred, True, label_smoothing)
        is_fake = keras.ops.round(y_true[:, 0])
        return losses * (weights[FAKE] * is_fake + weights[REAL] * (1.0 - is_fake))

    return balanced_crossentropy


class _OfClasses(keras.metrics.Metric):
    """Compares with the likelier class, where a target is a probability."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(keras.ops.round(y_true), y_pred, sample_weight)


class _Accuracy(_OfClasses, keras.metrics.BinaryAccuracy):
    pass


class _AUC(_OfClasses, keras.metrics.AUC):
    pass
