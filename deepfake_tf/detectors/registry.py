"""The detectors that there are, and which of them is asked for an image."""

from __future__ import annotations

from collections.abc import Collection

from deepfake_tf.detectors import cifake, photograph
from deepfake_tf.detectors.spec import DetectorSpec

DETECTORS = {spec.name: spec for spec in (cifake.SPEC, photograph.SPEC)}


def find_detector(name: str) -> DetectorSpec:
    """The detector of a name.

    Raises:
        ValueError: there is none. Echoes the name, and names those that there are.
    """
    if name not in DETECTORS:
        raise ValueError(f"detector must be one of {', '.join(DETECTORS)}. Received: detector={name!r}")
    return DETECTORS[name]


def sees_central_square(name: str) -> bool:
    """Whether the map of a row is of the image's central square alone; `name` is the row's `detector`."""
    return name in DETECTORS and DETECTORS[name].central_square


def sees_upright(name: str) -> bool:
    """Whether the map of a row is of the image as it is shown, and not as its pixels are stored."""
    return name in DETECTORS and DETECTORS[name].upright


def choose_detector(width: int, height: int, names: Collection[str]) -> str:
    """The detector that is asked for an image of this size.

    By size alone, never by which detector is the surer one. An image that no detector accepts goes to the one for
    larger images where it is larger than the others accept, and comes back out of domain, with the reason.

    Args:
        width: int, pixels. 0 where the image's header cannot be read.
        height: int, pixels.
        names: of `DETECTORS`, those at hand; not empty.

    Returns:
        One of `names`.
    """
    by_size = sorted((DETECTORS[name] for name in names), key=lambda spec: spec.shortest_side)
    for spec in by_size:
        if spec.accepts(width, height):
            return spec.name
    larger = [spec for spec in by_size if spec.longest_side is None or max(width, height) <= spec.longest_side]
    return (larger or by_size[-1:])[0].name
