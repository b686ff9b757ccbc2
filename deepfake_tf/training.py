"""Training: a run directory that can be cut at any time and goes on from its last epoch.

RUN_DIR/config.json              what was asked for; data.json: of which data
RUN_DIR/train_files.txt          the split, a name a line; validation_files.txt beside it
RUN_DIR/history.csv              a row an epoch
RUN_DIR/learning_curves.png
RUN_DIR/tensorboard/
RUN_DIR/best.weights.h5          the epoch with the lowest validation loss
RUN_DIR/checkpoint.json          for --resume: the last finished epoch, and what the callbacks remember
RUN_DIR/checkpoint-N.weights.h5  network and optimiser after that epoch
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from deepfake_tf.config import FAKE, REAL, TrainingConfig
from deepfake_tf.data.examples import Examples, split_validation
from deepfake_tf.data.pipeline import DecodedImages, evaluation_batches, training_batches
from deepfake_tf.models import build_model
from deepfake_tf.models.imagenet import load_pretrained

CALIBRATION_IMAGES = 256  # to put batch norm back into folded weights
UNBALANCED_RATIO = 1.2  # class weights above this ratio of the larger to the smaller class


def train(
    examples: Examples,
    config: TrainingConfig,
    run_dir: str | Path,
    resume: bool = False,
    source: Mapping[str, Any] | None = None,
) -> Path:
    """Train a network and fill a run directory.

    Args:
        examples: Examples. Those marked "test" are left out; the rest is split.
        config: TrainingConfig. Ignored with `resume`: the run directory's own is used.
        run_dir: str or Path. New or empty, unless `resume`.
        resume: bool. Go on from the last finished epoch.
        source: where the examples come from; kept in data.json, so that `deepfake-tf export` finds them.

    Returns:
        The path of the best weights.

    Raises:
        ValueError, FileExistsError, FileNotFoundError: each says what was received and what to do.
    """
    run_dir = Path(run_dir)
    if resume:
        config = _read_config(run_dir)
    elif (run_dir / "config.json").exists():
        raise FileExistsError(f"{run_dir} holds a run already. Go on with it by --resume, or name another --run-dir.")
    keras.utils.set_random_seed(config.seed)
    images = DecodedImages(
        examples.take(np.flatnonzero(np.array(examples.splits) != "test")), config.image_size, "reading images"
    )
    for name, error in images.errors.items():
        print(f"left out: {name}: {error}")
    train_indices, validation_indices = split_validation(
        images.examples.labels, images.digests, config.validation_fraction, config.seed
    )
    training, validation = images.take(train_indices), images.take(validation_indices)
    _check_classes(training, validation)
    files = {"train_files.txt": training.examples.names, "validation_files.txt": validation.examples.names}
    if resume:
        _check_files(run_dir, files)
    print(f"training on {training.examples.counts()}, validating on {validation.examples.counts()}")

    steps = config.steps_per_epoch or -(-len(training) // config.batch_size)
    checkpoint = Checkpoint(run_dir)
    if checkpoint.epoch >= config.epochs or checkpoint.stopped:
        print(f"{run_dir} has finished its {checkpoint.epoch} epochs")
        return run_dir / "best.weights.h5"
    model = build_model(
        config.model, config.image_size, config.dropout, "mixed_bfloat16" if config.precision == "bfloat16" else None
    )
    if not checkpoint.epoch:
        unchanged = dataclasses.replace(config, batch_size=CALIBRATION_IMAGES)
        calibration_images = next(iter(training_batches(training, unchanged)))[0].numpy()
        print(load_pretrained(model, config.weights, calibration_images))
    _compile(model, config, total_steps=steps * config.epochs)
    if checkpoint.epoch:
        checkpoint.restore(model)
        print(f"resuming after epoch {checkpoint.epoch}")
    if not resume:
        _start_run(run_dir, config, files, source)
    best = BestWeights(run_dir / "best.weights.h5")
    patience = keras.callbacks.EarlyStopping("val_loss", patience=config.early_stopping_patience, verbose=1)
    callbacks = [best, patience]
    remembered = {"best": (best, ["best"]), "early_stopping": (patience, ["best", "wait"])}
    if config.schedule == "plateau":
        plateau = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.2, patience=1, min_lr=1e-7, verbose=1)
        callbacks.append(plateau)
        remembered["plateau"] = (plateau, ["best", "wait", "cooldown_counter"])
    checkpoint.remember(remembered)
    callbacks += [
        History(run_dir, checkpoint.epoch),
        keras.callbacks.TensorBoard(str(run_dir / "tensorboard"), write_graph=False),
        checkpoint,  # last: it saves what the others have decided
    ]
    model.fit(
        training_batches(training, config, first_step=checkpoint.epoch * steps),
        validation_data=evaluation_batches(validation, config.batch_size),
        epochs=config.epochs,
        initial_epoch=checkpoint.epoch,
        steps_per_epoch=steps,
        callbacks=callbacks,
        class_weight=class_weights(training.examples.labels),
        shuffle=False,  # the pipeline shuffles
        verbose=1 if os.isatty(1) else 2,
    )
    checkpoint.finish()
    return run_dir / "best.weights.h5"


def class_weights(labels: np.ndarray) -> dict[int, float] | None:
    """Weights that make both classes count the same, or None where they nearly do already.

    Args:
        labels: int64 [N]; 1 = FAKE, 0 = REAL.
    """
    counts = np.bincount(labels, minlength=2)
    if counts.max() <= UNBALANCED_RATIO * counts.min():
        return None
    return {label: len(labels) / (2.0 * counts[label]) for label in (REAL, FAKE)}


def _read_config(run_dir: Path) -> TrainingConfig:
    config_file = run_dir / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"Nothing to resume: {config_file} does not exist. Start without --resume.")
    return TrainingConfig.from_file(config_file)


def _start_run(
    run_dir: Path, config: TrainingConfig, files: Mapping[str, Sequence[str]], source: Mapping[str, Any] | None
) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    for file, names in files.items():
        (run_dir / file).write_text("\n".join(names) + "\n")
    if source:
        (run_dir / "data.json").write_text(json.dumps(source, indent=2) + "\n")
    (run_dir / "config.json").write_text(config.to_json())  # last: with it the run can be resumed


def _check_files(run_dir: Path, files: Mapping[str, Sequence[str]]) -> None:
    """A run resumed on other data would validate on images that it was trained on."""
    for file, names in files.items():
        recorded = (run_dir / file).read_text().splitlines()
        if recorded != list(names):
            raise ValueError(
                f"The data are not those of the run: {run_dir / file} names {len(recorded)} images. Received: "
                f"{len(names)}, {len(set(names) - set(recorded))} of them new. Resume with the same --data."
            )


def _check_classes(training: DecodedImages, validation: DecodedImages) -> None:
    for name, part in (("training", training), ("validation", validation)):
        counts = part.examples.counts()
        if not all(counts.values()):
            raise ValueError(
                f"The {name} split needs images of both classes. Received: {counts}. Give more images, or "
                f"another --validation-fraction."
            )


def _compile(model: keras.Model, config: TrainingConfig, total_steps: int) -> None:
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
        keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=config.label_smoothing),
        metrics=[
            keras.metrics.BinaryAccuracy("accuracy", threshold=0.0),  # of a logit: probability 0.5
            keras.metrics.AUC(name="auc", from_logits=True, num_thresholds=1000),
        ],
    )


class Checkpoint(keras.callbacks.Callback):
    """Keeps, after each epoch, all that a resumed run needs to go on as if it had not been cut."""

    def __init__(self, run_dir: Path):
        super().__init__()
        self._run_dir = run_dir
        self._state_file = run_dir / "checkpoint.json"
        self._remembered: dict[str, tuple[keras.callbacks.Callback, list[str]]] = {}
        self._state: dict[str, Any] = (
            json.loads(self._state_file.read_text()) if self._state_file.is_file() else {"epoch": 0}
        )

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return self._state["epoch"]

    @property
    def stopped(self) -> bool:
        """Whether early stopping has ended the run."""
        return bool(self._state.get("stopped", False))

    def restore(self, model: keras.Model) -> None:
        """Put the saved network and optimiser into a freshly compiled model."""
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._weights_file())
        for variable, value in zip(_seed_states(model), self._state["seed_states"], strict=True):
            variable.assign(value)

    def remember(self, callbacks: dict[str, tuple[keras.callbacks.Callback, list[str]]]) -> None:
        """Name the callbacks, and the attributes of each, that have to outlive a cut."""
        self._remembered = callbacks

    def on_train_begin(self, logs=None):
        # After the other callbacks' own on_train_begin, which resets these very attributes.
        for name, (callback, attributes) in self._remembered.items():
            for attribute in attributes:
                if name in self._state.get("callbacks", {}):
                    setattr(callback, attribute, self._state["callbacks"][name][attribute])

    def on_epoch_end(self, epoch, logs=None):
        self._state["epoch"] = epoch + 1
        self._state["callbacks"] = {
            name: {attribute: _plain(getattr(callback, attribute)) for attribute in attributes}
            for name, (callback, attributes) in self._remembered.items()
        }
        self._state["seed_states"] = [keras.ops.convert_to_numpy(seed).tolist() for seed in _seed_states(self.model)]
        # Each epoch has its own file: wherever the run is cut, checkpoint.json names one that fits it.
        self.model.save_weights(self._weights_file())
        self._write_state()
        for file in self._run_dir.glob("checkpoint-*.weights.h5"):
            if file != self._weights_file():
                file.unlink()

    def finish(self) -> None:
        """Note that the run needs no more epochs."""
        self._state["stopped"] = True
        self._write_state()

    def _weights_file(self) -> Path:
        return self._run_dir / f"checkpoint-{self.epoch}.weights.h5"

    def _write_state(self) -> None:
        temporary = self._state_file.with_suffix(".new")
        temporary.write_text(json.dumps(self._state, indent=2) + "\n")
        os.replace(temporary, self._state_file)


def _plain(value):
    return None if value is None else float(value)


def _seed_states(model: keras.Model) -> list[keras.Variable]:
    """How far dropout's random numbers have come: variables that Keras does not save."""
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest validation loss, in a file that is always whole.

    Loss, not accuracy: calibration is fitted on top of it, and it moves more smoothly.
    """

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self.best = math.inf

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] >= self.best:
            return
        self.best = logs["val_loss"]
        temporary = self._path.with_name("new.weights.h5")
        # Not of the compiled model: its optimiser's state would triple the file.
        keras.Model(self.model.input, self.model.output).save_weights(temporary)
        os.replace(temporary, self._path)


class History(keras.callbacks.Callback):
    """A row of history.csv an epoch, and the curves drawn anew."""

    def __init__(self, run_dir: Path, first_epoch: int):
        super().__init__()
        self._run_dir = run_dir
        self._file = run_dir / "history.csv"
        self._started = 0.0
        self._rows: list[dict[str, float]] = []
        if self._file.exists():
            with self._file.open(newline="") as file:
                rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
            self._rows = rows[:first_epoch]

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.time()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{name: round(float(value), 6) for name, value in logs.items()}}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._rows.append({**row, "seconds": round(time.time() - self._started, 1)})
        temporary = self._file.with_suffix(".new")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._rows[-1])
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(temporary, self._file)
        plot_learning_curves(self._rows, self._run_dir / "learning_curves.png")


def plot_learning_curves(rows: list[dict[str, float]], path: Path) -> None:
    """Loss and accuracy of training and validation over the epochs, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [row[metric] for row in rows], "o-", label="training")
        axes.plot(epochs, [row[f"val_{metric}"] for row in rows], "s-", label="validation")
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
