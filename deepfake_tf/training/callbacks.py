"""What a training run writes into its directory after each epoch, so that it can be cut at any time."""

from __future__ import annotations

import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import keras

from deepfake_tf.text import format_csv
from deepfake_tf.training.learning_curves import plot_learning_curves
from deepfake_tf.writing import whole_file, write_whole


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
            name: {attribute: float(getattr(callback, attribute)) for attribute in attributes}
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
        write_whole(self._state_file, json.dumps(self._state, indent=2) + "\n")


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
        if math.isnan(logs["val_loss"]):
            raise ValueError(
                f"The validation loss of epoch {epoch + 1} is no number: the training has diverged. The best weights "
                "before are kept. Begin anew, with a lower --learning-rate."
            )
        if logs["val_loss"] >= self.best:
            return
        self.best = logs["val_loss"]
        with whole_file(self._path) as temporary:
            # Not of the compiled model: its optimiser's state would triple the file.
            keras.Model(self.model.input, self.model.output).save_weights(temporary)


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
            self._rows = [{**row, "epoch": int(row["epoch"])} for row in rows[:first_epoch]]

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.time()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{name: round(float(value), 6) for name, value in logs.items()}}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        self._rows.append({**row, "seconds": round(time.time() - self._started, 1)})
        columns = list(self._rows[-1])
        write_whole(self._file, format_csv([columns, *([row[name] for name in columns] for row in self._rows)]))
        plot_learning_curves(self._rows, self._run_dir / "learning_curves.png")
