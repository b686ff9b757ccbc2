"""Pictures that stand in the data more than once: in a class, across classes, across splits, across sources."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepfake_tf.audit.findings import LOOK, OK, STOP, Check, Gallery, worst
from deepfake_tf.audit.neighbours import near_pairs
from deepfake_tf.audit.survey import Readings
from deepfake_tf.contract import LABEL_NAMES
from deepfake_tf.data.examples import Examples
from deepfake_tf.text import plural

LEAKED_SHARE = 0.01  # of the test images also seen in training: above it their score means little
CONTRADICTING_SHARE = 0.01  # of the images: below it, they are few enough to be removed by hand
NEAR_SHARE = 0.01  # of the images: below it, near-duplicates are mentioned, no more
MIN_CORRELATION = 0.97  # of the thumbnails of near-duplicates, which hashes alone confuse
PICTURED_GROUPS, PICTURED_MEMBERS = 12, 4
PAIRS_AT_A_TIME = 100_000


@dataclasses.dataclass(frozen=True)
class Leak:
    """Pictures that were held out for measuring and stand on the other side, too.

    Attributes:
        into: "the test split", which the train split should not hold, or "the second source", for the first.
        groups: groups on both sides.
        images: int. Those of them that were held out.
        held_out: int. All images held out.
    """

    into: str
    groups: list[np.ndarray]
    images: int
    held_out: int


@dataclasses.dataclass(frozen=True)
class Groups:
    """Groups of images that show the same, by what is wrong with them; a group may stand in several lists.

    Attributes:
        inside: class name -> groups that lie inside this class.
        across_classes: groups that hold both classes.
        leaks: those that there are: across the first source's own split, and from it into the second source.
    """

    inside: dict[str, list[np.ndarray]]
    across_classes: list[np.ndarray]
    leaks: tuple[Leak, ...]


def check_exact_duplicates(examples: Examples, readings: Readings, is_second: np.ndarray) -> Check:
    """Images whose decoded pixels are equal.

    Args:
        examples: Examples; the second source's after the first's.
        readings: Readings of them.
        is_second: bool [N]. Which belong to the second source.
    """
    readable = np.flatnonzero(readings.rows["readable"])
    found = _sort_groups(_equal(readings.rows["pixel_digest"], readable), examples, is_second)
    verdicts = [
        LOOK if any(found.inside.values()) else OK,
        _contradiction_verdict(found, len(examples)),
        *map(_leak_verdict, found.leaks),
    ]
    return Check(
        name="exact duplicates",
        verdict=worst(verdicts),
        finding=_finding(found, "equal pixels"),
        remedy=_remedy(found),
        details=_details(found, examples),
        galleries=_galleries(found),
    )


def check_near_duplicates(examples: Examples, readings: Readings, is_second: np.ndarray) -> Check:
    """Images that look alike: their 64-bit perceptual hashes agree but for 4 bits, and their thumbnails correlate.

    Of images with equal pixels only the first takes part. Arguments as above.
    """
    rows = readings.rows
    readable = np.flatnonzero(rows["readable"])
    _, first = np.unique(rows["pixel_digest"][readable], return_index=True)
    different = readable[np.sort(first)]
    pairs = near_pairs(rows["hash"][different])
    pairs = different[pairs[_correlation(rows["thumbnail"][different], pairs) >= MIN_CORRELATION]]
    found = _sort_groups(_connected(pairs, len(rows)), examples, is_second)
    involved = sum(len(group) for groups in found.inside.values() for group in groups)
    verdicts = [
        LOOK if involved > NEAR_SHARE * len(rows) else OK,
        LOOK if found.across_classes else OK,
        LOOK if found.leaks else OK,
    ]
    verdict = worst(verdicts)
    return Check(
        name="near-duplicates",
        verdict=verdict,
        finding=_finding(found, "almost the same picture"),
        remedy="Look at the groups in the report: crops, copies and series belong on one side of a split, and in one "
        "class."
        if verdict != OK
        else "",
        details=_details(found, examples),
        galleries=_galleries(found),
    )


def _equal(digests: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
    """Groups of two positions and more with the same digest."""
    ordered = positions[np.argsort(digests[positions], kind="stable")]
    starts = np.flatnonzero(np.diff(digests[ordered])) + 1
    return [group for group in np.split(ordered, starts) if len(group) > 1]


def _connected(pairs: np.ndarray, count: int) -> list[np.ndarray]:
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    return _equal(component, np.unique(pairs))


def _correlation(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Of the two thumbnails of each pair, float32 [P], -1..1; 0 for two flat ones."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    correlations = [np.zeros(0, np.float32)]
    for start in range(0, len(pairs), PAIRS_AT_A_TIME):
        one, other = (flat[pairs[start : start + PAIRS_AT_A_TIME, side]].astype(np.float32) for side in (0, 1))
        one -= one.mean(1, keepdims=True)
        other -= other.mean(1, keepdims=True)
        spread = np.sqrt((one**2).mean(1) * (other**2).mean(1))
        correlations.append((one * other).mean(1) / (spread + 1.0))  # 1: a grey level, or noise would correlate
    return np.concatenate(correlations)


def _sort_groups(groups: Sequence[np.ndarray], examples: Examples, is_second: np.ndarray) -> Groups:
    inside: dict[str, list[np.ndarray]] = {name: [] for name in LABEL_NAMES}
    across_classes = []
    for group in groups:
        labels = examples.labels[group]
        if len(set(labels.tolist())) > 1:
            across_classes.append(group)
        else:
            inside[LABEL_NAMES[labels[0]]].append(group)
    splits = np.array(examples.splits)
    leaks = (
        _leak("the test split", groups, ~is_second & (splits == "test"), ~is_second & (splits == "train")),
        _leak("the second source", groups, is_second, ~is_second),
    )
    return Groups(inside, across_classes, tuple(leak for leak in leaks if leak.groups))


def _leak(into: str, groups: Sequence[np.ndarray], held_out: np.ndarray, seen: np.ndarray) -> Leak:
    leaked = [group for group in groups if held_out[group].any() and seen[group].any()]
    return Leak(into, leaked, sum(int(held_out[group].sum()) for group in leaked), int(held_out.sum()))


def _contradiction_verdict(found: Groups, images: int) -> str:
    if not found.across_classes:
        return OK
    return STOP if sum(map(len, found.across_classes)) > CONTRADICTING_SHARE * images else LOOK


def _leak_verdict(leak: Leak) -> str:
    return STOP if leak.images > LEAKED_SHARE * leak.held_out else LOOK


def _finding(found: Groups, what: str) -> str:
    said = [f"{plural(len(groups), 'group')} inside {name}" for name, groups in found.inside.items() if groups]
    if found.across_classes:
        said.append(f"{plural(len(found.across_classes), 'group')} in both classes: the labels contradict each other")
    said += [
        f"leakage into {leak.into}: {leak.images:,} of {plural(leak.held_out, 'image')} held out "
        f"({leak.images / leak.held_out:.1%})"
        for leak in found.leaks
    ]
    return f"{what[0].upper()}{what[1:]}: {'; '.join(said) if said else 'none'}."


def _remedy(found: Groups) -> str:
    remedies = []
    if found.across_classes:
        remedies.append("Find out which label is right, and remove the other copy.")
    if found.leaks:
        remedies.append("Remove the copies from the training side, or measure without them.")
    if any(found.inside.values()):
        remedies.append("Split by content, as `train` does: a random split puts copies on both sides.")
    return " ".join(remedies)


def _details(found: Groups, examples: Examples) -> dict:
    named = lambda groups: [[examples.names[i] for i in group] for group in groups]
    return {
        "groups_inside": {name: len(groups) for name, groups in found.inside.items()},
        "groups_across_classes": len(found.across_classes),
        "groups_leaked": sum(len(leak.groups) for leak in found.leaks),
        "held_out_images_leaked": sum(leak.images for leak in found.leaks),
        "inside": {name: named(groups) for name, groups in found.inside.items()},
        "across_classes": named(found.across_classes),
        "leaked": named([group for leak in found.leaks for group in leak.groups]),
    }


def _galleries(found: Groups) -> tuple[Gallery, ...]:
    titled = {"In both classes": found.across_classes}
    titled |= {f"Leaked into {leak.into}": leak.groups for leak in found.leaks}
    titled |= {f"Inside {name}": groups for name, groups in found.inside.items()}
    return tuple(
        Gallery(
            f"{title}: {min(len(groups), PICTURED_GROUPS)} of {plural(len(groups), 'group')}",
            [group[:PICTURED_MEMBERS].tolist() for group in groups[:PICTURED_GROUPS]],
        )
        for title, groups in titled.items()
        if groups
    )
