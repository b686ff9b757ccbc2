"""What each LiteRT variant costs and what it loses: the table of `deepfake-tf benchmark --litert`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfake_tf.benchmark.measuring import peak_memory_mib, time_in_turns
from deepfake_tf.inference.litert_engine import INPUT_SHAPE, LiteRTEngine
from deepfake_tf.output import write_whole
from deepfake_tf.progress import progress_bar

# What needs TensorFlow is imported where it is used: the process that measures memory runs this module.
if TYPE_CHECKING:
    from deepfake_tf.data.pipeline import DecodedImages

LATENCY_RUNS = 50  # the median of so many, after
WARM_UP_RUNS = 5
THREADS = (1, 2)
BATCH_SIZE = 64


def benchmark_litert(
    folder: str | Path, images: DecodedImages, output: str | Path | None = None, runs: int = LATENCY_RUNS
) -> list[dict[str, Any]]:
    """Measure every `deepfake_VARIANT.tflite` in a folder against the float32 one.

    Args:
        folder: str or Path. Filled by `deepfake_tf.export.litert.export_litert`.
        images: DecodedImages. Labelled, such as the validation split.
        output: str, Path or None. A folder for `litert.json` and the table `litert.md`.
        runs: int, 1 or more. Each latency is the median of so many.

    Returns:
        A dict a variant: `variant`, `bytes`, `accuracy` and `roc_auc` (0..1) and their drop against float32 in
        `accuracy_drop` and `roc_auc_drop`, `probability_difference_max` and `_mean`, `label_agreement` and
        `in_domain_agreement` (shares of the images), `latency_ms` (threads -> median of one image), and
        `peak_memory_mib` of a Python process that runs nothing else (0 where the system does not tell).

    Raises:
        FileNotFoundError: there is no float32 variant to compare with.
    """
    from sklearn.metrics import roc_auc_score

    from deepfake_tf.export.litert import VARIANTS

    folder = Path(folder)
    files = {variant: folder / f"deepfake_{variant}.tflite" for variant in VARIANTS}
    if not files["float32"].is_file():
        raise FileNotFoundError(
            f"{files['float32']} does not exist. Make the variants with: deepfake-tf export RUN_DIR --output DIR "
            f"--litert DIR"
        )
    labels = images.examples.labels
    rows: list[dict[str, Any]] = []
    reference: dict[str, np.ndarray] = {}
    for variant, file in files.items():
        if not file.is_file():
            continue
        engine = LiteRTEngine(file)
        decision, domain = engine.description["decision"], engine.description["domain"]
        outputs = _run(engine, images, f"{variant}, {len(images)} images")
        reference = reference or outputs
        is_fake, reference_is_fake = (part["probability"] >= decision["threshold"] for part in (outputs, reference))
        is_near, reference_is_near = (
            part["distance"] <= domain["mahalanobis_threshold"] for part in (outputs, reference)
        )
        difference = np.abs(outputs["probability"] - reference["probability"])
        row: dict[str, Any] = {
            "variant": variant,
            "bytes": file.stat().st_size,
            "images": len(images),
            "accuracy": float(np.mean(is_fake == (labels == 1))),
            "roc_auc": float(roc_auc_score(labels, outputs["logit"])),
            "probability_difference_max": float(difference.max()),
            "probability_difference_mean": float(difference.mean()),
            "label_agreement": float(np.mean(is_fake == reference_is_fake)),
            "in_domain_agreement": float(np.mean(is_near == reference_is_near)),
            "latency_ms": {},
        }
        first = rows[0] if rows else row
        row["accuracy_drop"] = first["accuracy"] - row["accuracy"]
        row["roc_auc_drop"] = first["roc_auc"] - row["roc_auc"]
        for threads in THREADS:
            row["latency_ms"][str(threads)], row["peak_memory_mib"] = _measure_apart(file, threads, runs)
        rows.append(row)
    if output:
        write_whole(Path(output) / "litert.json", json.dumps(rows, indent=2) + "\n")
        write_whole(Path(output) / "litert.md", format_rows(rows))
    return rows


def format_rows(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, ends in a newline."""
    lines = [
        "| variant | MB | accuracy | drop, points | AUC | drop | max dP | mean dP | same label | same domain "
        "| ms, 1 thread | ms, 2 threads | peak MiB |",
        "| --- |" + " ---: |" * 12,
    ]
    for row in rows:
        one, two = (row["latency_ms"][str(threads)] for threads in THREADS)
        lines.append(
            f"| {row['variant']} | {row['bytes'] / 1e6:.2f} | {row['accuracy']:.2%} | {100 * row['accuracy_drop']:.2f} "
            f"| {row['roc_auc']:.5f} | {row['roc_auc_drop']:.5f} | {row['probability_difference_max']:.1e} "
            f"| {row['probability_difference_mean']:.1e} | {row['label_agreement']:.2%} "
            f"| {row['in_domain_agreement']:.2%} | {one:.1f} | {two:.1f} | {row['peak_memory_mib']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def measure_latency(file: str, threads: int, runs: int) -> tuple[float, float]:
    """Milliseconds for one image, median of `runs`; and the peak memory of this process, MiB."""
    engine = LiteRTEngine(file, threads)
    pixels = np.random.default_rng(0).integers(0, 256, INPUT_SHAPE, np.uint8)
    seconds = time_in_turns({"run": lambda: engine.run(pixels)}, runs, WARM_UP_RUNS)["run"]
    return 1000 * float(np.median(seconds)), peak_memory_mib()


def _measure_apart(file: Path, threads: int, runs: int) -> tuple[float, float]:
    """In a process of its own: this one holds TensorFlow and the images."""
    command = [sys.executable, "-m", __name__, str(file), str(threads), str(runs)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # finds what we found
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise RuntimeError(f"{file} could not be measured: {result.stderr.strip()}")
    milliseconds, mebibytes = json.loads(result.stdout)
    return milliseconds, mebibytes


def _run(engine: LiteRTEngine, images: DecodedImages, description: str) -> dict[str, np.ndarray]:
    """`probability`, `logit` and `distance`, float32 [N], of all images."""
    from deepfake_tf.export.litert import square_pixels

    parts = []
    with progress_bar(len(images), description, "image") as bar:
        for start in range(0, len(images), BATCH_SIZE):
            part = images.take(np.arange(start, min(start + BATCH_SIZE, len(images))))
            parts.append(engine.run(square_pixels(part)))
            bar.update(len(part))
    return {name: np.concatenate([part[name][:, 0] for part in parts]) for name in ("probability", "logit", "distance")}


if __name__ == "__main__":
    print(json.dumps(measure_latency(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
