"""Progress on the terminal, in one look: a bar with an estimate, on stderr, silent where piped."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress_bar(total: int | None, description: str, unit: str) -> tqdm:
    """A bar that shows itself only where somebody watches: when stderr is a terminal."""
    return tqdm(total=total, desc=description, unit=unit, file=sys.stderr, disable=None, dynamic_ncols=True)
