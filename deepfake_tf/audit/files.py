"""Whether the files are what they seem to be."""

from __future__ import annotations

import collections
from pathlib import PurePath

import numpy as np

from deepfake_tf.audit.findings import LOOK, OK, STOP, Check, Gallery, Listing, plural
from deepfake_tf.audit.survey import FORMATS, METADATA, PROBLEMS, Readings
from deepfake_tf.config import IMAGE_EXTENSIONS
from deepfake_tf.data.examples import Examples

UNREADABLE_SHARE = 0.05  # above it, stop: something went wrong with the whole set, not with a few files
SMALLEST_SIDE = 8  # pixels
LARGEST_ASPECT_RATIO = 8.0
PICTURED = 12  # images of a fault
LISTED = 50  # files of a fault on the page; audit.json has them all
_FORMAT_OF_EXTENSION = dict(zip(IMAGE_EXTENSIONS, ("JPEG", "JPEG", "PNG", "GIF", "BMP", "WEBP")))


def check_files(examples: Examples, readings: Readings) -> Check:
    """Unreadable, truncated, empty, animated and absurdly shaped files, copies, and extensions that lie.

    Copies of a file, byte by byte, are counted here and weighed by the check of duplicates.
    """
    rows, names = readings.rows, examples.names
    readable = rows["readable"]
    faults: dict[str, list[dict[str, str]]] = collections.defaultdict(list)
    for kind in PROBLEMS:
        for position, problem in readings.problems.items():
            if problem.kind == kind:
                faults[kind].append({"file": names[position], "why": problem.message})
    for position in np.flatnonzero(rows["animated"]).tolist():
        faults["animated"].append({"file": names[position], "why": "only the first frame counts"})
    shorter, longer = np.minimum(rows["width"], rows["height"]), np.maximum(rows["width"], rows["height"])
    absurd = readable & ((shorter < SMALLEST_SIDE) | (longer > LARGEST_ASPECT_RATIO * shorter))
    for position in np.flatnonzero(absurd).tolist():
        faults["absurd shape"].append(
            {"file": names[position], "why": f"{rows['width'][position]} x {rows['height'][position]} pixels"}
        )
    formats = rows["metadata"][:, METADATA.index("format")].astype(int)
    for position in np.flatnonzero(readable).tolist():
        claimed = _FORMAT_OF_EXTENSION.get(PurePath(names[position]).suffix.lower())
        if claimed and claimed != FORMATS[formats[position]]:
            faults["extension lies"].append({"file": names[position], "why": f"is {FORMATS[formats[position]]}"})

    _, counts = np.unique(rows["file_digest"][readable], return_counts=True)
    copies = int(np.sum(counts - 1))
    failed = len(readings.problems)
    said = [
        f"{len(found):,} {kind} ({found[0]['file']}{', ...' if len(found) > 1 else ''})"
        for kind, found in faults.items()
    ]
    finding = f"{plural(len(examples), 'file')}: " + (", ".join(said) if said else "all can be read") + "."
    if copies:
        finding += f" Byte-for-byte copies of another: {copies:,}."
    verdict = OK if not faults else STOP if failed > UNREADABLE_SHARE * len(examples) else LOOK
    return Check(
        name="files",
        verdict=verdict,
        finding=finding,
        remedy=_remedy(faults),
        details={"files": len(examples), "faults": dict(faults), "byte_copies": copies},
        galleries=tuple(
            Gallery(title, [np.flatnonzero(mask)[:PICTURED].tolist()])
            for title, mask in (("Animated", rows["animated"]), ("Of an absurd shape", absurd))
            if mask.any()
        ),
        listings=tuple(
            Listing(
                f"{kind.capitalize()}: {min(len(found), LISTED)} of {plural(len(found), 'file')}",
                [f"{row['file']}: {row['why']}" for row in found[:LISTED]],
            )
            for kind, found in faults.items()
        ),
    )


def _remedy(faults: dict[str, list[dict[str, str]]]) -> str:
    remedies = []
    if any(kind in faults for kind in PROBLEMS):
        remedies.append("Fetch the unreadable files again or remove them; training leaves them out.")
    if "animated" in faults or "absurd shape" in faults:
        remedies.append("Remove what is no photograph: animations, icons, strips.")
    if "extension lies" in faults:
        remedies.append("Rename the files after their format, and ask how they came by the wrong name.")
    return " ".join(remedies)
