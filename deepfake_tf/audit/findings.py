"""What an audit says: one `Check` a question, and the `Audit` that holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deepfake_tf.data.examples import Examples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OK = "ok"
LOOK = "look"  # somebody should look at it; training can go on
STOP = "stop"  # what is trained on this would not be what was meant
VERDICTS = (OK, LOOK, STOP)  # from the best to the worst


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Pictures for the report.

    Attributes:
        title: str.
        rows: one sequence of positions in the audited examples a row, such as the members of a group.
    """

    title: str
    rows: Sequence[Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Listing:
    """Lines for the report, such as files and what is wrong with them."""

    title: str
    lines: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A figure for the report; `draw` makes it when there is one."""

    title: str
    draw: Callable[[], Figure]


@dataclasses.dataclass(frozen=True)
class Check:
    """The answer to one question about a data set.

    Attributes:
        name: str. What was asked, in two or three words.
        verdict: "ok", "look" or "stop".
        finding: str. What was found, in a sentence or two, with the figures.
        remedy: str. What to do about it; empty where there is nothing to do.
        details: all that was found, as JSON takes it.
        galleries, plots, listings: for the report with pictures.
    """

    name: str
    verdict: str
    finding: str
    remedy: str = ""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    galleries: tuple[Gallery, ...] = ()
    plots: tuple[Plot, ...] = ()
    listings: tuple[Listing, ...] = ()

    def __post_init__(self):
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}. Received: {self.verdict!r}")


@dataclasses.dataclass(frozen=True)
class Audit:
    """All checks of one data set.

    Attributes:
        checks: tuple of Check.
        examples: Examples. What was audited, the second source after the first.
        own: int. How many of them are of the first source.
        seconds: float. How long the audit took.
    """

    checks: tuple[Check, ...]
    examples: Examples
    own: int
    seconds: float

    @property
    def verdict(self) -> str:
        """The worst verdict of all checks."""
        return worst(check.verdict for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The audit as JSON takes it, without pictures and plots."""
        fields = ("name", "verdict", "finding", "remedy", "details")
        return {
            "verdict": self.verdict,
            "images": self.own,
            "images_of_second_source": len(self.examples) - self.own,
            "seconds": round(self.seconds, 1),
            "notes": list(self.examples.notes),
            "checks": [{field: getattr(check, field) for field in fields} for check in self.checks],
        }


def worst(verdicts: Iterable[str]) -> str:
    return max(verdicts, key=VERDICTS.index, default=OK)
