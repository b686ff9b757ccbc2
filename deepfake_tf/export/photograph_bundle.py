"""The photograph detector's light files: what is committed, and what its SavedModel is made from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf.engines.photograph import BACKBONE, DESCRIPTION, HEAD, HEAD_ARRAYS
from deepfake_tf.export.photograph_litert import (
    backbone_flatbuffer,
    head_flatbuffer,
    read_arrays,
)
from deepfake_tf.networks.vit_b16_inference import first_blocks
from deepfake_tf.output.tables import write_whole


def write_bundle(
    weights: str | Path | None,
    head: Mapping[str, np.ndarray],
    description: Mapping[str, Any],
    output: str | Path,
) -> Path:
    """Write the bundle's files; those of the same names are replaced.

    Args:
        weights: str, Path or None. The network's, an `.npz` as `vit_b16.load_clip_weights` reads with int8 kernels;
            the head says how many blocks are kept. None keeps the backbone that `output` has.
        head: arrays, see `detectors.photograph.head_graph`.
        description: JSON-able: `decision` with `threshold`, `temperature`, `offset` and `uncertain_band`; `domain`
            with `sides_seen_in_training`, `sides_accepted` and `mahalanobis_threshold`, the logit of "no photograph"
            above which an image is out of domain; and what else is to be told.
        output: str or Path. A folder, made where missing.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: no weights were given, and the folder has no backbone.
        ValueError: kernels that are not int8, or more blocks in the head than in the network.
    """
    output = Path(output)
    files: dict[str, bytes] = {}
    if weights is not None:
        with np.load(weights) as archive:
            arrays = first_blocks(dict(archive), len(head["weight"]))
        files[BACKBONE] = backbone_flatbuffer(arrays)
        _check_arrays(arrays, read_arrays(files[BACKBONE]))
    elif (output / BACKBONE).is_file():
        files[BACKBONE] = (output / BACKBONE).read_bytes()
        arrays = read_arrays(files[BACKBONE])
    else:
        raise FileNotFoundError(f"{output} has no {BACKBONE} yet: give the network's weights with the first head")
    files[HEAD] = head_flatbuffer(head, description["decision"], arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **head)
    files[HEAD_ARRAYS] = buffer.getvalue()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    # Last, since it states the others' digests: a bundle that was cut off halfway is refused, not misread.
    files[DESCRIPTION] = (json.dumps({**description, "sha256": digests}, indent=2) + "\n").encode()
    if weights is None:
        del files[BACKBONE]
    for name, content in files.items():
        write_whole(output / name, content)
    return output


def _check_arrays(given: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
    """A converter that folds or rounds what it was given must not pass unseen."""
    if changed := [name for name, array in given.items() if not np.array_equal(array, found.get(name))]:
        raise ValueError(f"the converter changed {len(changed)} arrays of the network, such as {changed[:3]}")
