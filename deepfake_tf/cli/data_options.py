"""Labelled images: which ones a command takes, and which split of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.text import plural, printable

if TYPE_CHECKING:
    from deepfake_tf.data.examples import Examples
    from deepfake_tf.data.pipeline import DecodedImages

DATA_HELP = (
    "cifake; a folder with one folder a class (REAL/ and FAKE/); the hackathon's layout; or a CSV of path,label. "
    "May be given several times"
)


@dataclasses.dataclass(frozen=True)
class DataSource:
    """Where labelled images come from: the arguments of `load_examples`, and what a run keeps in its data.json."""

    sources: Sequence[str]
    archive: str | None
    swap_labels: bool

    def load(self) -> Examples:
        """Examples of both classes; what the user should know about them is said on stderr.

        Raises:
            ValueError, OSError: as `load_examples`.
        """
        from deepfake_tf.data.sources import load_examples

        examples = load_examples(self.sources, self.archive, self.swap_labels)
        for note in examples.notes:
            print(f"note: {printable(note)}", file=sys.stderr)
        return examples


def add_data_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument("--data", action="append", metavar="SOURCE", required=required, help=DATA_HELP)
    command.add_argument("--archive", metavar="FILE|DIR", help="of --data cifake: read it there, download nothing")
    command.add_argument("--swap-labels", action="store_true", help="the source's REAL means FAKE, and FAKE REAL")


def add_split_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--split", choices=("validation", "test", "all"), default="validation")
    command.add_argument("--limit", type=int, metavar="N", help="use N images of the split, evenly spread over it")
    command.add_argument("--validation-fraction", type=float, metavar="SHARE", help="default: the model's own")
    command.add_argument(
        "--split-seed", type=int, metavar="N", help="of the validation split; default: the model's own"
    )


def data_given(options: argparse.Namespace) -> DataSource:
    """What `add_data_options` asked for."""
    return DataSource(options.data, options.archive, options.swap_labels)


def data_of_run(run_dir: Path, options: argparse.Namespace) -> DataSource:
    """The data given, else the data that the run remembers.

    Raises:
        ValueError: it remembers none.
    """
    if options.data:
        return data_given(options)
    file = run_dir / "data.json"
    if not file.is_file():
        raise ValueError(f"{file} does not exist: name the data of this run with --data")
    remembered = json.loads(file.read_text())
    return DataSource(remembered["sources"], options.archive or remembered["archive"], remembered["swap_labels"])


def load_split(options: argparse.Namespace, model: str | Path) -> DecodedImages:
    """The images that `add_data_options` and `add_split_options` asked for; those that cannot be read are named.

    Args:
        options: argparse.Namespace.
        model: str or Path. What will be measured: its own split holds what it was not trained on.

    Raises:
        ValueError: an option is out of range, or the split has no images. Echoes what was received.
        OSError: as `load_examples`.
    """
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be 1 or more. Received: {options.limit}")
    if options.validation_fraction is not None and not 0 < options.validation_fraction < 1:
        raise ValueError(f"--validation-fraction must be between 0 and 1. Received: {options.validation_fraction}")
    import numpy as np

    from deepfake_tf.data.examples import select_split
    from deepfake_tf.data.pipeline import DecodedImages

    examples = data_given(options).load()
    if options.split == "test" and "test" not in examples.splits:
        raise ValueError(f"The data hold no images that are marked test. Received: {plural(len(examples), 'image')}")
    images = DecodedImages(examples, description="reading images")
    for name, error in images.errors.items():
        print(f"left out: {printable(name)}: {printable(error)}", file=sys.stderr)
    if options.split != "all":
        images = select_split(images, options.split, *_split_of(model, options))
    if options.limit and options.limit < len(images):
        images = images.take(np.linspace(0, len(images) - 1, options.limit).astype(int))
    return images


def _split_of(model: str | Path, options: argparse.Namespace) -> tuple[float, int]:
    """Share and seed of the validation split: as asked for, else the model's own, else those of `train`."""
    from deepfake_tf.training.run_directory import split_of

    own = split_of(model)
    fraction, seed = own or (TrainingConfig.validation_fraction, TrainingConfig.split_seed)
    chosen = (
        fraction if options.validation_fraction is None else options.validation_fraction,
        seed if options.split_seed is None else options.split_seed,
    )
    if own and chosen != own and options.split == "validation":
        print(
            f"note: {model} held out another split (--validation-fraction {fraction} --split-seed {seed}): it was "
            "trained on some of these images",
            file=sys.stderr,
        )
    return chosen
