"""The photograph detector's bundle: its light files, and the head's arrays, which its SavedModel is made from.

backbone.tflite   the network, and the one copy of its weights
head.tflite       features -> probability, logit, distance, heat map; a new head changes it alone
head.npz          the head once more, as arrays
detector.json     see `detectors.bundle`
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_tf.decision.known_image import KNOWN_LOGIT, known_image
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors.bundle import DESCRIPTION, write_bundle
from deepfake_tf.detectors.photograph import SPEC
from deepfake_tf.engines.litert import LiteRTEngine
from deepfake_tf.export.photograph_litert import backbone_flatbuffer, head_flatbuffer
from deepfake_tf.networks.clip_weights import read_backbone, read_clip_weights
from deepfake_tf.networks.vit_b16_inference import first_blocks
from deepfake_tf.training.photograph.training_run import TRAINED
from deepfake_tf.writing import write_whole

BACKBONE = "backbone.tflite"
HEAD = "head.tflite"
HEAD_ARRAYS = "head.npz"
VARIANT = "int8 kernels, a scale for each output channel; activations of dense layers int8, a scale for each token"
VIEW = (
    "the picture turned upright (a JPEG by its EXIF orientation), its central square, scaled by an antialiased bicubic "
    "filter (a = -0.5): see detectors/photograph/views.py"
)


def write_photograph_bundle(
    weights: str | Path | None,
    head: Mapping[str, np.ndarray],
    decision: Decision,
    card: Mapping[str, Any],
    output: str | Path,
) -> Path:
    """Write the bundle's files; those of the same names are replaced.

    Args:
        weights: str, Path or None. The network's, as of `clip_weights.read_clip_weights`, with int8 kernels; the head
            says how many blocks are kept. None keeps the backbone that `output` has.
        head: arrays, see `export.photograph_head`.
        decision: Decision.
        card: JSON-able. The model card.
        output: str or Path. A folder, made where missing.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: no weights were given, and the folder has no backbone.
        ValueError: kernels that are not int8, or more blocks in the head than in the network.
    """
    output = Path(output)
    if weights is not None:
        arrays = first_blocks(read_clip_weights(weights), len(head["weight"]))
        backbone = backbone_flatbuffer(arrays)
        _check_arrays(arrays, read_backbone(backbone))
    elif (output / BACKBONE).is_file():
        backbone = (output / BACKBONE).read_bytes()
        arrays = read_backbone(backbone)
    else:
        raise FileNotFoundError(f"{output} has no {BACKBONE} yet: give the network's weights with the first head")
    light = {BACKBONE: backbone, HEAD: head_flatbuffer(head, decision, arrays)}
    description = {
        "detector": SPEC.name,
        "labels": {"REAL": 0, "FAKE": 1},
        "view": {"side": SPEC.view_side, "colours": "RGB", "type": "uint8", "range": [0, 255], "what": VIEW},
        "variant": VARIANT,
        **decision.to_description(),
        "card": dict(card),
    }
    with tempfile.TemporaryDirectory() as folder:  # the known image's logit is that of the files themselves
        write_bundle(Path(folder) / DESCRIPTION, description, light)
        logit = float(LiteRTEngine(folder).predict([known_image()])["logit"][0])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **head)
    write_whole(output / HEAD_ARRAYS, buffer.getvalue())
    write_bundle(output / DESCRIPTION, {**description, KNOWN_LOGIT: logit}, light)
    return output


def read_training(folder: str | Path) -> tuple[dict[str, np.ndarray], Decision, dict[str, Any]]:
    """What `deepfake-tf train --detector photograph` wrote, as `write_photograph_bundle` takes it.

    Args:
        folder: str or Path. Holds `head.npz` and `domain_head.npz`, each with `weight` float32 [blocks, 768] and
            `bias`, and `trained.json` with `calibration`, `threshold`, `band`, `domain` and `view`.

    Returns:
        The head's arrays, the decision, and the card.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    folder = Path(folder)
    head: dict[str, np.ndarray] = {}
    for file, prefix in (("head.npz", ""), ("domain_head.npz", "domain.")):
        with np.load(folder / file) as archive:
            head |= {f"{prefix}{name}": archive[name].astype(np.float32) for name in ("weight", "bias")}
    trained = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    sides = (trained["view"]["smallest_short_side"], None)
    temperature = trained["calibration"]["temperature"]
    low, high = trained["band"]
    decision = Decision(
        temperature=temperature,
        intercept=-trained["calibration"]["offset"] / temperature,
        threshold=trained["threshold"],
        band=(low, high),
        sides_accepted=sides,
        sides_seen=sides,
        distance_threshold=trained["domain"]["limit"],
    )
    return head, decision, trained


def _check_arrays(given: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
    """A converter that folds or rounds what it was given must not pass unseen."""
    changed = [name for name, array in given.items() if name not in found or not np.array_equal(array, found[name])]
    if changed:
        raise ValueError(f"the converter changed {len(changed)} arrays of the network, such as {changed[:3]}")
