"""How long commands take from nothing, and the memory that they need: each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepfake_tf.benchmark.measuring import Row, peak_memory_mib, row
from deepfake_tf.benchmark.pictures import encoded_picture

SECTION = "start"
_IMPORT_WITHOUT_KERAS = (
    "from deepfake_tf.engines.tensorflow_import import without_keras\nwith without_keras():\n    import tensorflow"
)
_POLL_SECONDS = 0.005
_TIMEOUT_SECONDS = 120


def measure_start_up(model_dir: Path, rounds: int) -> list[Row]:
    """Seconds, wall clock, and the peak memory of `deepfake-tf predict`."""
    command_line = [sys.executable, "-m", "deepfake_tf.cli"]
    with tempfile.TemporaryDirectory(prefix="deepfake-tf-benchmark-") as folder:
        image = Path(folder) / "one.jpg"
        image.write_bytes(encoded_picture(640, 480, "JPEG"))
        commands = {
            "deepfake-tf --help": [*command_line, "--help"],
            "import deepfake_tf": [sys.executable, "-c", "import deepfake_tf"],
            "import tensorflow": [sys.executable, "-c", "import tensorflow"],
            "import tensorflow without Keras, as predict does": [sys.executable, "-c", _IMPORT_WITHOUT_KERAS],
            "deepfake-tf predict one.jpg": [*command_line, "predict", str(image), "--model", str(model_dir)],
        }
        rows = []
        for what, command in commands.items():
            if rounds > 1:
                time_command(command)  # fills the disk's cache
            measured = [time_command(command) for _ in range(rounds)]
            rows.append(row(SECTION, what, "s", [seconds for seconds, _ in measured]))
            memory = [mib for _, mib in measured if mib]
        if memory:
            rows.append(row(SECTION, "deepfake-tf predict one.jpg, peak memory", "MiB", memory))
    return rows


def time_command(command: list[str]) -> tuple[float, float]:
    """Seconds, and the peak memory in MiB."""
    started = time.perf_counter()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    memory = 0.0
    while process.poll() is None:
        memory = max(memory, peak_memory_mib(process.pid))
        if time.perf_counter() - started > _TIMEOUT_SECONDS:
            process.kill()
        time.sleep(_POLL_SECONDS)
    if process.returncode:
        raise OSError(f"{' '.join(command)} ended with code {process.returncode}")
    return time.perf_counter() - started, memory
