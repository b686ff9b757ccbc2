"""`deepfake-tf benchmark`: everything in one run on one machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import tensorflow as tf

from deepfake_tf.benchmark import decoding, end_to_end, network, start_up, training
from deepfake_tf.benchmark.measuring import Row, peak_memory_mib, row
from deepfake_tf.benchmark.report import Report
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.detectors.cifake import IMAGE_SIZE
from deepfake_tf.engines.finding import find_model
from deepfake_tf.progress import say


def run_benchmark(model: str | None = None, with_peers: bool = False, quick: bool = False) -> Report:
    """Measure the model and all that surrounds it; about five minutes on two idle cores.

    Args:
        model: a SavedModel, or None: the one that ships.
        with_peers: bool. PyTorch, ONNX Runtime and OpenVINO too, where installed.
        quick: bool. Each thing once or twice: to see that it runs, not how fast.

    Raises:
        FileNotFoundError, ValueError, OSError: no model there, or its server does not start.
    """
    model_dir = find_model(model, "saved_model")
    machine = describe_machine()
    card = read_card(model_dir)
    rounds = 1 if quick else 5
    rows: list[Row] = []
    notes: list[str] = []

    say("measuring reading")
    rows += decoding.measure_reading(rounds, decoding.CASES[:3] if quick else decoding.CASES)
    say("measuring the network")
    found, left_out = network.measure_network(model_dir, rounds, with_peers, {1: 2, 8: 1} if quick else None)
    rows, notes = rows + found, notes + left_out
    say("measuring from images to scores")
    rows += end_to_end.measure_in_process(model_dir, rounds)
    rows.append(row("memory", "this process, TensorFlow and all of the above", "MiB", [peak_memory_mib()]))
    say("measuring servers")
    found, left_out = end_to_end.measure_servers(model_dir, 0.5 if quick else 5.0)
    rows, notes = rows + found, notes + left_out
    say("measuring start-up")
    rows += start_up.measure_start_up(model_dir, 1 if quick else 3)
    say("measuring training")
    side = card.get("input", {}).get("network_side", IMAGE_SIZE)
    settings = {"image_size": side, "batch_size": 2 if quick else 32}  # of `train`'s default network
    rows += training.measure_training(settings, rounds, with_peers)
    return Report(machine, str(model or "the model that ships"), rows, notes)


def describe_machine() -> dict[str, str | int | float]:
    """Processor, cores, the instructions that matter, versions, and how busy it was beforehand."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.is_file() else ""
    lines = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"} & set(text.split())
    return {
        "processor": lines[0] if lines else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "with": " ".join(sorted(flags)) or "unknown instructions",
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0,
    }
