"""The weights of two runs, averaged.

A network that was trained on from another one, on damaged images, is robust and has lost a little on clean ones. On the
straight line between the two lie networks that have most of both: WiSE-FT, https://arxiv.org/abs/2109.01903.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.networks import build_model
from deepfake_tf.training.run_directory import SPLIT_FILES, check_new
from deepfake_tf.writing import whole_file, write_whole

AVERAGE_FILE = "average.json"  # in RUN_DIR: of which runs, and how much of each


def average_runs(first: str | Path, second: str | Path, share: float, run_dir: str | Path) -> Path:
    """Make a run directory of the weights (1 - share) * first + share * second, batch norm's statistics included.

    Args:
        first: str or Path. A run directory.
        second: str or Path. A run that was trained on from the first one's weights, on the same split: networks that
            were trained apart have nothing in common to average.
        share: float, 0..1. Of the second.
        run_dir: str or Path. New or empty; `evaluate` and `export` take it as any run.

    Returns:
        The path of the weights.

    Raises:
        ValueError: a share outside 0..1, or runs of unlike networks or splits.
        FileNotFoundError: one of them is no run directory.
        FileExistsError: `run_dir` holds a run.
    """
    first, second, run_dir = Path(first), Path(second), Path(run_dir)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1. Received: share={share}")
    check_new(run_dir, resumable=False)
    for folder in (first, second):
        if not (folder / "best.weights.h5").is_file():
            raise FileNotFoundError(f"No run directory: {folder / 'best.weights.h5'} does not exist.")
    configs = [TrainingConfig.from_file(folder / "config.json") for folder in (first, second)]
    shapes = [(config.model, config.image_size) for config in configs]
    if shapes[0] != shapes[1]:
        raise ValueError(f"Only runs of one network and image size can be averaged. Received: {shapes[0]}, {shapes[1]}")
    for file in SPLIT_FILES:
        if (first / file).read_bytes() != (second / file).read_bytes():
            raise ValueError(f"The runs were trained on unlike splits: {first / file} and {second / file} differ.")
    model = build_model(*shapes[0])
    arrays = []
    for folder in (first, second):
        model.load_weights(folder / "best.weights.h5")
        arrays.append(model.get_weights())
    model.set_weights([(1 - share) * a + share * b for a, b in zip(*arrays)])
    run_dir.mkdir(parents=True, exist_ok=True)
    for file in (*SPLIT_FILES, "data.json"):
        if (second / file).is_file():
            shutil.copyfile(second / file, run_dir / file)
    shares = {str(first): round(1 - share, 6), str(second): share}
    write_whole(run_dir / AVERAGE_FILE, json.dumps(shares, indent=2) + "\n")
    with whole_file(run_dir / "best.weights.h5") as temporary:
        model.save_weights(temporary)
    write_whole(run_dir / "config.json", configs[1].to_json())  # last: with it this is a run
    return run_dir / "best.weights.h5"
