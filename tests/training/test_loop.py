"""Training on tiny made-up images: what a run leaves behind, and what a cut run makes of it."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages, evaluation_batches
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.evaluation.report import write_report
from deepfake_tf.training import loop
from deepfake_tf.training.loop import class_weights, train

ROOT = Path(__file__).parents[2]
COSINE = TrainingConfig(
    weights="none",
    image_size=32,
    epochs=3,
    batch_size=8,
    learning_rate=1e-2,
    optimizer="adamw",
    weight_decay=1.0,  # far too much, to show whether it acts on what it should
    schedule="cosine",
    dropout=0.5,
    validation_fraction=0.25,
    seed=3,
    split_seed=3,
)
PLATEAU = TrainingConfig(
    weights="none", image_size=32, epochs=8, batch_size=8, learning_rate=0.05, validation_fraction=0.25
)


def build_tiny_network(name, image_size, dropout, dtype) -> keras.Model:
    """One convolution with all that a run has to keep: batch norm, dropout, a head. Traced in no time."""
    images = keras.Input((image_size, image_size, 3))
    x = keras.layers.Conv2D(8, 5, strides=2, use_bias=False, name="conv1", dtype=dtype)(images)
    x = keras.layers.BatchNormalization(momentum=0.5, name="bn1", dtype=dtype)(x)
    x = keras.layers.ReLU(name="relu", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(name="avgpool", dtype="float32")(x)
    x = keras.layers.Dropout(dropout, name="dropout", dtype="float32")(x)
    return keras.Model(images, keras.layers.Dense(1, name="fc", dtype="float32")(x), name=name)


def load_network(weights: Path) -> keras.Model:
    network = build_tiny_network("resnet18", 32, 0.5, None)
    network.load_weights(weights)
    return network


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    """The loop is tested here, not the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "build_model", build_tiny_network)
        yield


def make_examples(reals: int, fakes: int, split: str = "") -> Examples:
    """Reddish noise is REAL, bluish noise is FAKE: 8 x 8 pixels, which a network tells apart in a few steps."""
    generator = np.random.default_rng(0)
    files = []
    for index in range(reals + fakes):
        pixels = generator.integers(0, 128, (8, 8, 3), np.uint8)
        pixels[:, :, 0 if index < reals else 2] += np.uint8(100)
        files.append(tf.io.encode_png(pixels).numpy())
    labels = np.array([0] * reals + [1] * fakes)
    return Examples([f"{index}.png" for index in range(len(files))], labels, files, [split] * len(files))


def read_history(run_dir: Path) -> list[dict[str, float]]:
    with (run_dir / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same_history(run_dir: Path, other: Path) -> None:
    rows, expected = read_history(run_dir), read_history(other)
    assert len(rows) == len(expected)
    for row, reference in zip(rows, expected):
        for name in ("epoch", "loss", "accuracy", "auc", "val_loss", "val_accuracy", "learning_rate"):
            # Room for sums that threads make in another order; another batch or dropout mask changes far more.
            assert row[name] == pytest.approx(reference[name], rel=2e-3, abs=2e-4), name


class Cut(keras.callbacks.Callback):
    """Stands for the power cut, in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self._epoch, batch) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)


def with_callback(callback: keras.callbacks.Callback) -> Callable:
    """`keras.Model.fit` with one more callback."""
    fit = keras.Model.fit
    return lambda model, *args, callbacks, **options: fit(model, *args, callbacks=[*callbacks, callback], **options)


@pytest.fixture(scope="module")
def examples() -> Examples:
    return make_examples(24, 24)


@pytest.fixture(scope="module")
def finished_run(examples, tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    assert train(examples, COSINE, run_dir, source={"sources": ["made up"]}) == run_dir / "best.weights.h5"
    return run_dir


def test_run_directory_holds_what_the_module_says(finished_run, examples):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {
        "best.weights.h5",
        "checkpoint-3.weights.h5",
        "checkpoint.json",
        "config.json",
        "data.json",
        "history.csv",
        "learning_curves.png",
        "tensorboard",
        "train_files.txt",
        "validation_files.txt",
    }
    assert TrainingConfig.from_file(finished_run / "config.json") == COSINE
    assert json.loads((finished_run / "data.json").read_text()) == {"sources": ["made up"]}
    split = [(finished_run / f"{part}_files.txt").read_text().splitlines() for part in ("train", "validation")]
    assert sorted(split[0] + split[1]) == sorted(examples.names)
    assert len(split[1]) == 12
    assert any((finished_run / "tensorboard").rglob("events.out.tfevents.*"))
    with Image.open(finished_run / "learning_curves.png") as image:
        assert image.width > 800


def test_what_is_held_out_depends_on_the_split_seed_alone(finished_run, examples, tmp_path):
    held_out = {}
    for field in ("seed", "split_seed"):
        config = dataclasses.replace(COSINE, epochs=1, **{field: 8})
        train(examples, config, tmp_path / field)
        held_out[field] = (tmp_path / field / "validation_files.txt").read_text()
    expected = (finished_run / "validation_files.txt").read_text()
    assert held_out["seed"] == expected  # else a run that goes on from another's weights validates on what they saw
    assert held_out["split_seed"] != expected


def test_the_network_learns_and_the_best_epoch_is_kept(finished_run, examples):
    rows = read_history(finished_run)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["accuracy"] > 0.65
    model = load_network(finished_run / "best.weights.h5")
    validation = set((finished_run / "validation_files.txt").read_text().splitlines())
    images = DecodedImages(examples, 32).take(
        np.array([position for position, name in enumerate(examples.names) if name in validation])
    )
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    loss = model.evaluate(evaluation_batches(images, 8), verbose=0)
    assert loss == pytest.approx(min(row["val_loss"] for row in rows), rel=1e-3, abs=1e-4)
    with h5py.File(finished_run / "best.weights.h5") as file:
        assert "optimizer" not in file  # it would triple the file


@pytest.mark.parametrize("reals", [24, 40])  # classes alike, and classes that are weighted
def test_a_teacher_that_inverts_the_labels_is_believed(reals, tmp_path):
    examples = make_examples(reals, 24)
    teacher = np.where(examples.labels == 1, 0.1, 0.9)
    write_report(tmp_path / "teacher", examples.labels, teacher, names=examples.names)
    soft = {"soft_labels": str(tmp_path / "teacher" / "predictions.csv"), "soft_label_weight": 1.0}
    train(examples, dataclasses.replace(COSINE, epochs=4, **soft), tmp_path / "run")
    last = read_history(tmp_path / "run")[-1]
    assert last["accuracy"] > 0.65  # of what the teacher says
    assert last["auc"] > 0.7
    assert last["val_accuracy"] < 0.35


def test_a_teacher_of_other_images_is_an_error_and_leaves_no_run_directory(examples, tmp_path):
    write_report(tmp_path / "teacher", examples.labels, np.full(48, 0.5), names=[f"other{i}" for i in range(48)])
    config = dataclasses.replace(COSINE, soft_labels=str(tmp_path / "teacher" / "predictions.csv"))
    with pytest.raises(ValueError, match="no row for 36 training images"):
        train(examples, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_finished_run_is_left_alone_by_resume(finished_run, examples, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished_run.iterdir()}
    train(examples, COSINE, finished_run, resume=True)
    assert "finished its 3 epochs" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished_run.iterdir()} == before


def test_run_cut_between_network_and_note_resumes_as_if_it_had_not_been_cut(
    finished_run, examples, tmp_path, monkeypatch
):
    """AdamW's exclusions, the cosine's position and dropout's seed outlive the cut too."""

    def cut(checkpoint):
        if checkpoint.epoch == 2:
            raise KeyboardInterrupt
        write_state(checkpoint)

    write_state = loop.Checkpoint._write_state
    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoint, "_write_state", cut)
        with pytest.raises(KeyboardInterrupt):
            train(examples, COSINE, tmp_path)
    assert [row["epoch"] for row in read_history(tmp_path)] == [1, 2]
    # The configuration is the run's own, whatever is given.
    train(examples, TrainingConfig(epochs=50), tmp_path, resume=True)
    assert_same_history(tmp_path, finished_run)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["epoch", "1", "2", "3"]  # as before the cut, no 1.0
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-3.weights.h5"]
    networks = [load_network(run_dir / "checkpoint-3.weights.h5") for run_dir in (tmp_path, finished_run)]
    for weight, expected in zip(networks[0].weights, networks[1].weights):
        error = np.abs(weight.numpy() - expected.numpy()).max()
        assert error < 1e-3 * np.abs(expected.numpy()).max() + 1e-5, weight.path


KILLED_PROGRAM = """
import sys
import keras
from deepfake_tf.evaluation.report import write_report
from deepfake_tf.training import loop
from tests.training.test_loop import PLATEAU, Cut, build_tiny_network, make_examples, with_callback
keras.Model.fit = with_callback(Cut())
loop.build_model = build_tiny_network
loop.train(make_examples(24, 24), PLATEAU, sys.argv[1])
"""


def test_killed_run_resumes_with_what_plateau_and_early_stopping_remember(examples, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = subprocess.run(
        [sys.executable, "-c", KILLED_PROGRAM, str(killed)], env=environment, capture_output=True, text=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [row["epoch"] for row in read_history(killed)] == [1]
    train(examples, PLATEAU, killed, resume=True)
    train(examples, PLATEAU, whole)
    assert_same_history(killed, whole)
    states = [json.loads((run_dir / "checkpoint.json").read_text()) for run_dir in (killed, whole)]
    for name, remembered in states[1]["callbacks"].items():
        assert states[0]["callbacks"][name] == pytest.approx(remembered, rel=1e-2)
    assert states[0]["stopped"]


def test_run_cut_before_its_first_checkpoint_starts_anew(examples, tmp_path, monkeypatch):
    def cut(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "fit", cut)
        with pytest.raises(KeyboardInterrupt):
            train(examples, COSINE, tmp_path)
    calls = record_fit(monkeypatch)
    train(examples, COSINE, tmp_path, resume=True)
    assert calls[0]["initial_epoch"] == 0


def record_fit(monkeypatch) -> list[dict]:
    """Replaces training by a list of what it was asked for."""
    calls: list[dict] = []
    monkeypatch.setattr(keras.Model, "fit", lambda model, data, **options: calls.append(options))
    return calls


def test_class_weights_make_both_classes_count_the_same():
    labels = np.array([0] * 30 + [1] * 10)
    weights = class_weights(labels)
    assert weights == {0: pytest.approx(40 / 60), 1: pytest.approx(2.0)}
    assert 30 * weights[0] == pytest.approx(10 * weights[1])
    assert class_weights(np.array([0] * 11 + [1] * 10)) is None


def test_unbalanced_classes_count_the_same_where_the_best_epoch_is_chosen(tmp_path):
    examples = make_examples(32, 16)
    train(examples, dataclasses.replace(COSINE, epochs=1), tmp_path)
    model = load_network(tmp_path / "best.weights.h5")
    held_out = set((tmp_path / "validation_files.txt").read_text().splitlines())
    images = DecodedImages(examples, 32).take(np.flatnonzero([name in held_out for name in examples.names]))
    logits = model.predict(evaluation_batches(images, 8), verbose=0)[:, 0]
    labels = images.examples.labels
    losses = np.logaddexp(0, np.where(labels == 1, -logits, logits))
    expected = np.mean(losses * np.where(labels == 1, 1.5, 0.75))
    assert read_history(tmp_path)[0]["val_loss"] == pytest.approx(expected, rel=1e-3)


def test_test_images_are_left_out(monkeypatch, tmp_path):
    record_fit(monkeypatch)
    examples = make_examples(16, 16)
    examples.splits[::4] = ["test"] * 8
    train(examples, COSINE, tmp_path)
    names = [(tmp_path / f"{part}_files.txt").read_text().split() for part in ("train", "validation")]
    assert sorted(names[0] + names[1]) == sorted(set(examples.names) - set(examples.names[::4]))


def test_unreadable_images_are_left_out_and_named(monkeypatch, tmp_path, capsys):
    record_fit(monkeypatch)
    examples = make_examples(16, 16)
    examples.files[5] = b"no image"
    train(examples, COSINE, tmp_path)
    printed = capsys.readouterr().out
    assert "left out: 5.png: " in printed
    assert "{{" not in printed
    assert "5.png" not in (tmp_path / "train_files.txt").read_text().splitlines()


def test_run_directory_in_use_is_an_error(finished_run, examples):
    with pytest.raises(FileExistsError, match=r"finished holds a run already.*--resume.*--run-dir"):
        train(examples, COSINE, finished_run)


def test_nothing_to_resume_is_an_error(examples, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Nothing to resume.*config.json.*without --resume"):
        train(examples, COSINE, tmp_path / "nowhere", resume=True)


def test_resuming_on_other_data_is_an_error(finished_run):
    with pytest.raises(ValueError, match=r"train_files.txt names 36 images. Received: 38, 2 of them new"):
        train(make_examples(24, 26), COSINE, finished_run, resume=True)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (make_examples(8, 0), r"training split needs images of both classes. Received: {'REAL': \d, 'FAKE': 0}"),
        (make_examples(8, 8, "test"), r"Received: {'REAL': 0, 'FAKE': 0}"),
        (make_examples(8, 1), r"validation split needs .*'FAKE': 0}.*--validation-fraction"),
    ],
    ids=["one class", "test images only", "one image of a class"],
)
def test_data_that_cannot_be_split_are_an_error_and_leave_no_run_directory(examples, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(examples, COSINE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_weights_are_an_error_and_leave_no_run_directory(examples, tmp_path):
    config = TrainingConfig(**{**vars(COSINE), "weights": "nowhere.npz"})
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        train(examples, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
