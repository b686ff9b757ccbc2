"""Progress, in one look, on stderr: a bar with an estimate on a terminal, and a line a step everywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(total: int | None, description: str, unit: str, items: Iterable | None = None) -> tqdm:
    """A bar that shows itself only where somebody watches: when stderr is a terminal; with `items`, over them."""
    from tqdm import tqdm  # here: the command line prints its help without it

    return tqdm(items, description, total, unit=unit, file=sys.stderr, disable=None, dynamic_ncols=True)


def say(step: str) -> None:
    """A line that a step begins, for work that takes long: where nobody sees a bar, too."""
    print(f"{step} ...", file=sys.stderr, flush=True)
