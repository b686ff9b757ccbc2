"""The network alone, from normalised pixels to the logit: precisions, batch sizes, and other libraries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from deepfake_tf.benchmark.litert import tflite_engines
from deepfake_tf.benchmark.measuring import Row, row, time_in_turns
from deepfake_tf.benchmark.operations import measure_operations
from deepfake_tf.benchmark.peers import build_peers
from deepfake_tf.engines.finding import find_model
from deepfake_tf.networks.graph import network_function, read_steps, run_in_tensorflow

SECTION = "network"
RATIOS = "network, times as fast as"
BATCH_SIZES = {1: 30, 8: 8, 16: 6, 32: 4}  # images, and rounds a unit of `rounds`
_OURS = "TensorFlow bfloat16"


def measure_network(
    model_dir: Path, rounds: int, with_peers: bool, batch_sizes: dict[int, int] | None = None
) -> tuple[list[Row], list[str]]:
    """Images a second by library and batch size, all in turns, milliseconds for one image, and where they go.

    Args:
        model_dir: a SavedModel.
        rounds: int. How often, times what `batch_sizes` says.
        with_peers: bool. PyTorch, ONNX Runtime and OpenVINO too, and how they compare to TensorFlow in bfloat16.
        batch_sizes: batch size -> rounds; None: `BATCH_SIZES`.

    Returns:
        The rows, and notes on what was left out.
    """
    rows: list[Row] = []
    ratios: list[Row] = []
    notes: list[str] = []
    runs: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "TensorFlow, as in the file": partial(_run, network_function(model_dir))
    }
    try:
        steps = read_steps(model_dir)
    except ValueError as error:  # an export of before batch norm was folded
        steps = []
        notes.append(f"network: {error}")
    if steps:
        for precision in ("float32", "bfloat16"):
            runs[f"TensorFlow {precision}"] = partial(_run, run_in_tensorflow(steps, getattr(tf, precision)))
    if steps and with_peers:
        peers, missing = build_peers(steps)
        runs |= peers
        notes += [f"network: left out, not installed (pip install 'deepfake-tf[peers]'): {name}" for name in missing]
    batch_sizes = batch_sizes or BATCH_SIZES
    for size, weight in batch_sizes.items():
        images = np.random.default_rng(0).uniform(-1, 1, (size, 224, 224, 3)).astype(np.float32)
        calls = {name: partial(run, images) for name, run in runs.items()}
        seconds = time_in_turns(calls, weight * rounds)
        for name, values in seconds.items():
            rows.append(row(SECTION, f"{name}, batch {size}", "images/s", size / values))
            if size == 1:
                rows.append(row(SECTION, f"{name}, one image", "ms", 1000 * values))
            if _OURS in seconds and not name.startswith("TensorFlow"):
                ratios.append(row(RATIOS, f"{name}, batch {size}", "x", values / seconds[_OURS]))
    light, note = _measure_tflite(model_dir, rounds, batch_sizes)
    operations: list[Row] = []
    if steps:
        one = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
        operations = measure_operations(f"one image, {_OURS}", partial(runs[_OURS], one), 10 * rounds)
    return rows + light + ratios + operations, notes + note


def _run(function, images: np.ndarray) -> np.ndarray:
    return function(tf.constant(images)).numpy()


def _measure_tflite(model_dir: Path, rounds: int, batch_sizes: dict[int, int]) -> tuple[list[Row], list[str]]:
    """From resized pixels to the score, by every engine of the `.tflite` that stands beside the model."""
    try:
        file = find_model(model_dir.parent if model_dir.name.isdigit() else model_dir, "litert")
    except FileNotFoundError:
        return [], [f"LiteRT, OpenVINO engine: left out, no .tflite beside {model_dir.parent}"]
    engines, missing = tflite_engines()
    loaded = {name: engine(file) for name, engine in engines.items()}
    rows = []
    for size, weight in batch_sizes.items():
        pixels = np.random.default_rng(0).integers(0, 256, (size, *next(iter(loaded.values())).pixels_shape), np.uint8)
        for name, engine in loaded.items():
            # Not in turns: the threads of the one that has just run still spin, and would slow the other by a fifth.
            seconds = time_in_turns({name: partial(engine.run, pixels)}, weight * rounds)[name]
            label = f"{name}, {engine.bundle.variant}"
            rows.append(row(SECTION, f"{label}, batch {size}", "images/s", size / seconds))
            if size == 1:
                rows.append(row(SECTION, f"{label}, one image", "ms", 1000 * seconds))
    return rows, [f"{name}: left out, not installed" for name in missing]
