"""Training without TensorFlow, alone and by two workers: real processes, small images."""

from __future__ import annotations

import csv
import importlib.util
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from deepfake_tf.data.examples import split_validation
from deepfake_tf.data.pipeline import DecodedImages
from tests.training import jax_training

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed: the extra [jax]")
PER_CLASS = 1000


def finish(process) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    return output


def read_history(run_dir: Path) -> list[dict[str, float]]:
    with (run_dir / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def run_alone(tmp_path_factory) -> Path:
    """A run by one process in which TensorFlow cannot be imported."""
    run_dir = tmp_path_factory.mktemp("jax") / "run"
    options = {"per_class": PER_CLASS, "logits": str(run_dir.with_suffix(".npy"))}
    finish(jax_training.start(run_dir, options))
    return run_dir


def test_it_learns_and_leaves_an_ordinary_run_directory(run_alone):
    rows = read_history(run_alone)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["val_accuracy"] > 0.9
    assert {path.name for path in run_alone.iterdir()} == {
        "best.weights.h5",
        "checkpoint-3.weights.h5",
        "checkpoint.json",
        "config.json",
        "history.csv",
        "learning_curves.png",
        "train_files.txt",
        "validation_files.txt",
    }


def test_its_weights_give_the_same_logits_under_tensorflow(run_alone):
    logits = jax_training.load_network(run_alone)(jax_training.make_probe(), training=False)
    np.testing.assert_allclose(logits, np.load(run_alone.with_suffix(".npy")), rtol=0, atol=1e-4)


def test_it_splits_as_tensorflow_does(run_alone):
    """Pillow and TensorFlow decode to the same pixels, so `evaluate` finds the images that were held out."""
    images = DecodedImages(jax_training.make_examples(PER_CLASS), 32)
    _, validation = split_validation(images.examples.labels, images.digests, 0.25, seed=0)
    names = (run_alone / "validation_files.txt").read_text().splitlines()
    assert names == [images.examples.names[index] for index in validation]


def start_workers(run_dir: Path, options: dict, die_in_epoch: int | None = None) -> list:
    """Two workers on loopback; the second dies where it is told to."""
    with socket.socket() as free, socket.socket() as other:
        for found in (free, other):
            found.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{found.getsockname()[1]}" for found in (free, other)]
    workers = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        dies = {"die_in_epoch": die_in_epoch} if index else {}
        workers.append(
            jax_training.start(run_dir, {**options, **dies, "strategy": "multiworker"}, TF_CONFIG=json.dumps(config))
        )
    return workers


def test_two_workers_one_killed_and_restarted_match_one_process(run_alone, tmp_path):
    """The first epoch by two workers, the others after one was killed and both were started again."""
    chief, killed = start_workers(tmp_path / "run", {"per_class": PER_CLASS}, die_in_epoch=1)
    killed.communicate(timeout=900)
    chief.kill()  # as a supervisor does, rather than wait until it misses the other's heartbeat
    chief.communicate()
    assert [row["epoch"] for row in read_history(tmp_path / "run")] == [1]
    for worker in start_workers(tmp_path / "run", {"per_class": PER_CLASS, "resume": True}):
        output = finish(worker)
        assert "resuming after epoch 1" in output
    rows, expected = read_history(tmp_path / "run"), read_history(run_alone)
    assert len(rows) == len(expected)
    for row, reference in zip(rows, expected):
        for name in ("loss", "accuracy", "auc", "val_loss", "val_accuracy", "learning_rate"):
            # Sums in another order; an image more or less, or batch norm over half a batch, changes far more.
            assert row[name] == pytest.approx(reference[name], rel=2e-3, abs=2e-4), name
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in run_alone.iterdir()}
