"""What each LiteRT variant costs and loses, by each engine: the table of `deepfake-tf benchmark --litert`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepfake_tf.benchmark.measuring import peak_memory_mib, time_in_turns
from deepfake_tf.contract import Rows
from deepfake_tf.engines.finding import engine_class
from deepfake_tf.engines.tflite import TFLiteEngine
from deepfake_tf.writing import write_whole

# What needs TensorFlow is imported where it is used: the process that measures memory runs this module.
if TYPE_CHECKING:
    from deepfake_tf.data.pipeline import DecodedImages

LATENCY_RUNS = 50  # the median of so many, after
WARM_UP_RUNS = 5
THREADS = (1, 2)
BATCH_SIZE = 64
BATCHES = 10  # the rate is the median of so many
_ENGINES: dict[str, Literal["litert", "openvino"]] = {
    "LiteRT": "litert",
    "OpenVINO engine": "openvino",
}  # as the tables name them -> as Detector does


def tflite_engines() -> tuple[dict[str, type[TFLiteEngine]], list[str]]:
    """What runs a `.tflite` here: name -> class; and the names of what is not installed."""
    engines, missing = {}, []
    for name, engine in _ENGINES.items():
        try:
            engines[name] = engine_class(engine)
        except ImportError:
            missing.append(name)
    return engines, missing


def benchmark_litert(
    folder: str | Path, images: DecodedImages, output: str | Path | None = None, runs: int = LATENCY_RUNS
) -> list[dict[str, Any]]:
    """Measure every `deepfake_VARIANT.tflite` in a folder, by every engine, against float32 by LiteRT.

    Args:
        folder: str or Path. Filled by `deepfake_tf.export.litert.export_litert`.
        images: DecodedImages. Labelled, such as the validation split.
        output: str, Path or None. A folder for `litert.json` and the table `litert.md`.
        runs: int, 1 or more. Each latency is the median of so many.

    Returns:
        A dict a variant and engine: `variant`, `engine`, `bytes`, `accuracy` and `roc_auc` (0..1) and their drop
        against the first row in `accuracy_drop` and `roc_auc_drop`, `probability_difference_max` and `_mean`,
        `label_agreement` and `in_domain_agreement` (shares of the images), `latency_ms` (threads -> median of one
        image), `images_per_second` (of a batch of 64, on as many threads as `THREADS` goes to), and `peak_memory_mib`
        of a Python process that runs nothing else (0 where the system does not tell). A variant that an engine cannot
        read, or computes wrongly on this machine, is left out, and stderr says why.

    Raises:
        FileNotFoundError, ValueError: there is no float32 variant to compare with, or it cannot be used.
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
    reference: Rows = {}
    engines, _ = tflite_engines()
    for variant, file in files.items():
        for name, make_engine in engines.items() if file.is_file() else ():
            try:
                engine = make_engine(file)
            except ValueError as error:
                if not rows:
                    raise  # the reference
                print(f"left out: {variant} by {name}: {error}", file=sys.stderr)
                continue
            decision = engine.bundle.decision
            outputs = _run(engine, images, f"{variant} by {name}, {len(images)} images")
            reference = reference or outputs
            is_fake, reference_is_fake = (part["probability"] >= decision.threshold for part in (outputs, reference))
            is_near, reference_is_near = (
                part["distance"] <= decision.distance_threshold for part in (outputs, reference)
            )
            difference = np.abs(outputs["probability"] - reference["probability"])
            row: dict[str, Any] = {
                "variant": variant,
                "engine": name,
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
                row["latency_ms"][str(threads)], row["images_per_second"], row["peak_memory_mib"] = _measure_apart(
                    name, file, threads, runs
                )
            rows.append(row)
    if output:
        write_whole(Path(output) / "litert.json", json.dumps(rows, indent=2) + "\n")
        write_whole(Path(output) / "litert.md", format_rows(rows))
    return rows


def format_rows(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, ends in a newline."""
    lines = [
        "| variant | engine | MB | accuracy | drop, points | AUC | drop | max dP | mean dP | same label | same domain "
        "| ms, 1 thread | ms, 2 threads | images/s | peak MiB |",
        "| --- | --- |" + " ---: |" * 13,
    ]
    for row in rows:
        one, two = (row["latency_ms"][str(threads)] for threads in THREADS)
        lines.append(
            f"| {row['variant']} | {row['engine']} | {row['bytes'] / 1e6:.2f} "
            f"| {row['accuracy']:.2%} | {100 * row['accuracy_drop']:.2f} "
            f"| {row['roc_auc']:.5f} | {row['roc_auc_drop']:.5f} "
            f"| {row['probability_difference_max']:.1e} | {row['probability_difference_mean']:.1e} "
            f"| {row['label_agreement']:.2%} | {row['in_domain_agreement']:.2%} "
            f"| {one:.1f} | {two:.1f} | {row['images_per_second']:.0f} | {row['peak_memory_mib']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def measure_speed(engine: str, file: str, threads: int, runs: int) -> tuple[float, float, float]:
    """Milliseconds for one image, median of `runs`; images a second in batches; peak memory of this process, MiB."""
    loaded = engine_class(_ENGINES[engine])(file, threads)
    batch = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE, *loaded.pixels_shape), np.uint8)
    one = time_in_turns({"run": lambda: loaded.run(batch[:1])}, runs, WARM_UP_RUNS)["run"]
    many = time_in_turns({"run": lambda: loaded.run(batch)}, min(runs, BATCHES))["run"]
    return 1000 * float(np.median(one)), BATCH_SIZE / float(np.median(many)), peak_memory_mib()


def _measure_apart(engine: str, file: Path, threads: int, runs: int) -> tuple[float, float, float]:
    """In a process of its own: this one holds TensorFlow and the images."""
    command = [sys.executable, "-m", __name__, engine, str(file), str(threads), str(runs)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # finds what we found
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise RuntimeError(f"{file} could not be measured: {result.stderr.strip()}")
    milliseconds, images_per_second, mebibytes = json.loads(result.stdout)
    return milliseconds, images_per_second, mebibytes


def _run(engine: TFLiteEngine, images: DecodedImages, description: str) -> Rows:
    """`probability`, `logit` and `distance`, float32 [N], of all images: the network's own, which no row shows."""
    from deepfake_tf.evaluation.scoring import score_batches
    from deepfake_tf.export.litert import square_pixels

    def run(pixels: np.ndarray) -> Rows:
        outputs = engine.run(pixels)
        return {name: outputs[name][:, 0] for name in ("probability", "logit", "distance")}

    starts = range(0, len(images), BATCH_SIZE)
    parts = (images.take(np.arange(start, min(start + BATCH_SIZE, len(images)))) for start in starts)
    return score_batches(run, (square_pixels(part) for part in parts), len(images), description)


if __name__ == "__main__":
    print(json.dumps(measure_speed(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
