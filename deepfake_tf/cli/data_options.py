"""Labelled images: which ones a command takes, and which split of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.text import plural, printable

if TYPE_CHECKING:
    from deepfake_tf.data.examples import Examples
    from deepfake_tf.data.pipeline import DecodedImages

Images = TypeVar("Images", "Examples", "DecodedImages")
SPLITS = ("validation", "test", "all")
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
    command.add_argument("--split", choices=SPLITS, help=f"default: {SPLITS[0]}")
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
        ValueError: it remembers none, or the same data with labels the other way round.
    """
    file = run_dir / "data.json"
    remembered = DataSource(**json.loads(file.read_text())) if file.is_file() else None
    if options.data:
        given = data_given(options)
        places = lambda source: [*map(os.path.abspath, source.sources)]
        if remembered and places(given) == places(remembered) and given.swap_labels != remembered.swap_labels:
            how = "with" if remembered.swap_labels else "without"
            raise ValueError(f"{run_dir} was trained on these data {how} --swap-labels: go on {how} it")
        return given
    if remembered is None:
        raise ValueError(f"{file} does not exist: name the data of this run with --data")
    return dataclasses.replace(remembered, archive=options.archive or remembered.archive)


def load_split(options: argparse.Namespace, models: Sequence[Path]) -> DecodedImages:
    """The images that `add_data_options` and `add_split_options` asked for; those that cannot be read are named.

    Args:
        options: argparse.Namespace.
        models: Path each. What will be measured: their own splits hold what they were not trained on.

    Raises:
        ValueError: an option is out of range, or the split has no images. Echoes what was received.
        OSError: as `load_examples`.
    """
    split = options.split or SPLITS[0]
    if options.validation_fraction is not None and not 0 < options.validation_fraction < 1:
        raise ValueError(f"--validation-fraction must be between 0 and 1. Received: {options.validation_fraction}")
    from deepfake_tf.data.pipeline import DecodedImages

    examples = data_given(options).load()
    if split == "test" and "test" not in examples.splits:
        raise ValueError(f"The data hold no images that are marked test. Received: {plural(len(examples), 'image')}")
    images = DecodedImages(examples, description="reading images")
    for name, error in images.errors.items():
        print(f"left out: {printable(name)}: {printable(error)}", file=sys.stderr)
    if split != "all":
        parts = [_selected(images, split, options, model) for model in models]
        images = parts[0] if len(parts) == 1 else _common(parts, models)
    return spread(images, options.limit)


def spread(images: Images, limit: int | None) -> Images:
    """So many of the images, evenly spread over them; all where no limit is given, or it is above their number.

    Raises:
        ValueError: limit is below 1.
    """
    import numpy as np

    if limit is not None and limit < 1:
        raise ValueError(f"--limit must be 1 or more. Received: {limit}")
    if limit is None or limit >= len(images):
        return images
    return images.take(np.linspace(0, len(images) - 1, limit).astype(int))


def refuse_split(options: argparse.Namespace, option: str) -> None:
    """
    Raises:
        ValueError: a split was asked for beside an option that takes all images.
    """
    given = {name: getattr(options, name) for name in ("split", "validation_fraction", "split_seed")}
    if found := [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value is not None]:
        raise ValueError(f"{option} takes the images of all splits. Received: {', '.join(found)}")


def _common(parts: Sequence[DecodedImages], models: Sequence[Path]) -> DecodedImages:
    """The images of the first part that are in all others too."""
    import numpy as np

    names = set.intersection(*(set(part.examples.names) for part in parts))
    common = [position for position, name in enumerate(parts[0].examples.names) if name in names]
    if not common:
        raise ValueError(
            "These models share no image that none was trained on: each held out others. "
            f"Received: {', '.join(map(str, models))}"
        )
    return parts[0].take(np.array(common))


def _selected(images: DecodedImages, split: str, options: argparse.Namespace, model: str | Path) -> DecodedImages:
    """The split: as asked for, else the model's own, else that of `train` without options."""
    import numpy as np

    from deepfake_tf.data.examples import select_split
    from deepfake_tf.training.run_directory import held_out, split_of

    asked = (options.validation_fraction, options.split_seed)
    if split == "validation" and asked == (None, None):
        held = held_out(model, images.examples.names)
        if held is not None:
            return images.take(np.array([i for i in held if images.examples.splits[i] != "test"], np.int64))
    own = split_of(model)
    fraction, seed = own or (TrainingConfig.validation_fraction, TrainingConfig.split_seed)
    chosen = (fraction if asked[0] is None else asked[0], seed if asked[1] is None else asked[1])
    if own and chosen != own and split == "validation":
        print(
            f"note: {model} held out another split (--validation-fraction {fraction} --split-seed {seed}): it was "
            "trained on some of these images",
            file=sys.stderr,
        )
    return select_split(images, split, *chosen)
