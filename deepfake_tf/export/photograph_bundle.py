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
from deepfake_tf.writing import write_whole


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
    np.savez(buffer, allow_pickle=False, **head)
    files[HEAD_ARRAYS] = buffer.getvalue()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    # Last, since it states the others' digests: a bundle that was cut off halfway is refused, not misread.
    files[DESCRIPTION] = (json.dumps({**description, "sha256": digests}, indent=2) + "\n").encode()
    if weights is None:
        del files[BACKBONE]
    for name, content in files.items():
        write_whole(output / name, content)
    return output


LARGEST_SIDE = 65_535  # pixels: of no limit; what is too large is refused by its number of pixels


def read_training(folder: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What training wrote, as `write_bundle` takes it.

    Args:
        folder: str or Path. Holds `head.npz` and `domain_head.npz`, each with `weight` float32 [blocks, 768] and
            `bias`, and `detector.json` with `calibration`, `threshold`, `band`, `domain` and `view`.

    Returns:
        The head's arrays, and the description.
    """
    folder = Path(folder)
    head: dict[str, np.ndarray] = {}
    for file, prefix in (("head.npz", ""), ("domain_head.npz", "domain.")):
        with np.load(folder / file) as archive:
            head |= {f"{prefix}{name}": archive[name].astype(np.float32) for name in ("weight", "bias")}
    trained = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    sides = [trained["view"]["smallest_short_side"], LARGEST_SIDE]
    decision = {
        "threshold": trained["threshold"],
        "temperature": trained["calibration"]["temperature"],
        "offset": trained["calibration"]["offset"],
        "uncertain_band": trained["band"],
    }
    domain = {
        "sides_seen_in_training": sides,
        "sides_accepted": sides,
        "mahalanobis_threshold": trained["domain"]["limit"],
    }
    return head, {"decision": decision, "domain": domain, "card": trained}


def _check_arrays(given: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
    """A converter that folds or rounds what it was given must not pass unseen."""
    changed = [name for name, array in given.items() if name not in found or not np.array_equal(array, found[name])]
    if changed:
        raise ValueError(f"the converter changed {len(changed)} arrays of the network, such as {changed[:3]}")
