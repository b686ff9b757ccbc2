"""What a run directory holds, and whether one can begin or go on there: light, so that it is asked before slow work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.text import printable
from deepfake_tf.writing import check_folder, write_whole

if TYPE_CHECKING:
    import keras

CONFIG_FILE = "config.json"  # of one training, or of a recipe's last stage
WEIGHTS_FILES = ("best.weights.h5", "teacher.npz")  # of a training here; of the teacher that ships
SPLIT_FILES = ("train_files.txt", "validation_files.txt")  # names of images, a line each
RECIPE_FILE = "recipe.json"  # the stages' configurations of a recipe
RUN_FILES = (CONFIG_FILE, RECIPE_FILE)


def check_new(run_dir: str | Path, files: Sequence[str] = RUN_FILES, resumable: bool = True) -> None:
    """Whether a run can begin there.

    Args:
        run_dir: str or Path.
        files: what of `RUN_FILES` makes it a run; a recipe's last stage begins where the recipe's file is.
        resumable: bool. Whether the message may advise --resume.

    Raises:
        FileExistsError: it holds a run.
        OSError: it is no folder, or may not be written to.
    """
    if any((Path(run_dir) / file).exists() for file in files):
        advice = "Go on with it by --resume, or name" if resumable else "Name"
        raise FileExistsError(f"{run_dir} holds a run already. {advice} another --run-dir.")
    check_folder(run_dir, "--run-dir")


def check_resumable(run_dir: str | Path, files: Sequence[str] = RUN_FILES) -> None:
    """Whether there is a run to go on with.

    Raises:
        FileNotFoundError: there is none.
        OSError: it may not be written to.
    """
    if not any((Path(run_dir) / file).is_file() for file in files):
        raise FileNotFoundError(
            f"Nothing to resume: {Path(run_dir) / CONFIG_FILE} does not exist. Start without --resume."
        )
    check_folder(run_dir, "--run-dir")


def split_of(model: str | Path) -> tuple[float, int] | None:
    """Which images a model was not trained on: `validation_fraction` and `split_seed` of its training.

    Args:
        model: str or Path. A run directory, or what `read_card` takes.

    Returns:
        None where neither says so.
    """
    config = Path(model) / CONFIG_FILE
    training = json.loads(config.read_text()) if config.is_file() else read_card(Path(model)).get("training") or {}
    if not {"validation_fraction", "split_seed"} <= training.keys():
        return None
    return training["validation_fraction"], training["split_seed"]


def held_out(model: str | Path, names: Sequence[str]) -> list[int] | None:
    """The positions of the images that a run was not trained on, by its own lists: new ones count among them.

    Returns:
        None where `model` is no run directory with such lists, or they name none of these images.
    """
    files = [Path(model) / file for file in SPLIT_FILES]
    if not all(file.is_file() for file in files):
        return None
    trained, validation = (set(read_names(file)) for file in files)
    spelt = [printable(name) for name in names]
    if (trained | validation).isdisjoint(spelt):
        return None
    return [index for index, name in enumerate(spelt) if name not in trained]


def load_network(run_dir: Path) -> tuple[TrainingConfig, keras.Model]:
    """The configuration of a run, and its network with the best weights.

    Raises:
        FileNotFoundError: it holds none.
    """
    from deepfake_tf.networks import build_model
    from deepfake_tf.networks.pretrained import load_pretrained

    config = TrainingConfig.from_file(run_dir / CONFIG_FILE)
    found = [run_dir / name for name in WEIGHTS_FILES if (run_dir / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"No weights: {run_dir} holds none of {', '.join(WEIGHTS_FILES)}. Has its training finished an epoch?"
        )
    model = build_model(config.model, config.image_size)
    load_pretrained(model, str(found[0]))
    return config, model


def write_names(file: Path, names: Sequence[str]) -> None:
    """A name a line, as `text.printable` writes it, so that a line break in a name ends no line."""
    write_whole(file, "".join(f"{printable(name)}\n" for name in names))


def read_names(file: Path) -> list[str]:
    """What `write_names` wrote: compare it with names as `text.printable` writes them."""
    return file.read_text(encoding="utf-8").split("\n")[:-1]
