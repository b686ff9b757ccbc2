"""A bundle: the folder of a detector, which export writes and everything else reads.

`detector.json` says what the detector is and how it decides; beside it lie the light model, one or more `.tflite` files
that are run one after the other, and SavedModels in numbered folders, as TensorFlow Serving wants them. A single
`.tflite` with a `.json` of its name beside it is read as a bundle too. docs/architecture.md has the format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_tf.decision.known_image import KNOWN_LOGIT
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.detectors import cifake
from deepfake_tf.detectors.registry import find_detector
from deepfake_tf.detectors.spec import DetectorSpec
from deepfake_tf.writing import part_of, write_together

FORMAT = 1
DESCRIPTION = "detector.json"
LIGHT_SUFFIX = ".tflite"
MODEL_CARD = "assets/model_card.json"  # inside a SavedModel
_MAKE = "make one with: deepfake-tf export RUN_DIR --output DIR/1"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What `detector.json` says, checked.

    Attributes:
        path: the folder, or the `.tflite` that was named.
        spec: DetectorSpec.
        decision: Decision.
        light: the `.tflite` files in order of execution: the first reads `pixels`, uint8 [1, side, side, 3], each next
            one outputs of those before it, by name; the last returns `logit` and `distance`, float32 [1, 1], and
            `heatmap`, float32 [1, h, w], 0..1.
        variant: str. How their numbers are stored, such as "dynamic_int8".
        known_logit: float. What they give for the known image; None: of before it was stated.
        card: dict. The model card.
    """

    path: Path
    spec: DetectorSpec
    decision: Decision
    light: tuple[Path, ...]
    variant: str
    known_logit: float | None
    card: dict[str, Any]


def read_bundle(path: Path) -> Bundle:
    """Read the description of a bundle, and check its light files.

    Where an export was cut, what it had ready counts.

    Args:
        path: Path. A bundle's folder, or a `.tflite` with its `.json` beside it, of this release or an earlier one.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the description is not one of ours or of a later release, or a light file is another one than it
            describes.
    """
    is_file = path.suffix == LIGHT_SUFFIX
    file = _description_file(path)
    candidates = [candidate for candidate in (file, part_of(file)) if candidate.is_file()]
    if not candidates or (is_file and not path.is_file()):
        missing = path if is_file and not path.is_file() else file
        raise FileNotFoundError(
            f"{missing} does not exist. A light model is a bundle's folder, which holds "
            f"{DESCRIPTION}, or a .tflite with its .json beside it; {_MAKE}"
        )
    damaged: Path | None = None
    for candidate in candidates:
        description = _read_json(candidate)
        names = [path.name] if is_file else [entry["file"] for entry in description["light"]]
        digests = [entry["sha256"] for entry in description["light"]]
        light = []
        for name, digest in zip(names, digests, strict=True):
            found = _find(file.parent / name, digest)
            if found is None:
                damaged = file.parent / name
                break
            light.append(found)
        else:
            return Bundle(
                path,
                find_detector(description.get("detector", cifake.SPEC.name)),
                Decision.from_description(description),
                tuple(light),
                description.get("variant", ""),
                description.get(KNOWN_LOGIT),
                description.get("card", {}),
            )
    raise ValueError(
        f"{damaged} is damaged, or not the file that {file.name} describes: its SHA-256 differs. Copy both files "
        f"again, or {_MAKE}"
    )


def write_bundle(description_file: Path, description: Mapping[str, Any], light: Mapping[str, bytes]) -> None:
    """Write the description and the light files beside it: none takes its place before all are complete.

    Args:
        description_file: Path. `detector.json` of a bundle's folder, or the `.json` of a single `.tflite`'s name.
        description: JSON-able: all of the format but `format` and `light`.
        light: file name -> content, in order of execution. SavedModels stay as they are.
    """
    digests = [{"file": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in light.items()]
    described = json.dumps({"format": FORMAT, **description, "light": digests}, indent=2) + "\n"
    files = {description_file.with_name(name): content for name, content in light.items()}
    write_together({**files, description_file: described.encode()})


def has_light(path: Path) -> bool:
    """Whether `read_bundle` has something to read there."""
    return path.is_file() if path.suffix == LIGHT_SUFFIX else (path / DESCRIPTION).is_file()


def find_saved_model(root: Path) -> Path | None:
    """The folder itself, where it is a SavedModel, or the highest of the numbered versions in it."""
    if (root / "saved_model.pb").is_file():
        return root
    versions = [path for path in root.glob("*") if path.name.isdigit() and (path / "saved_model.pb").is_file()]
    return max(versions, key=lambda path: int(path.name), default=None)


def read_card(model: Path) -> dict[str, Any]:
    """The model card of a SavedModel, of a bundle or of a `.tflite`; empty where there is none."""
    if (model / "saved_model.pb").is_file() or not has_light(model):
        file = model / MODEL_CARD
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return read_bundle(model).card


def threshold_and_band(card: Mapping[str, Any]) -> tuple[float | None, tuple[float, float] | None]:
    """From what probability an image counts as generated, and between which the verdict is "uncertain".

    Returns:
        (threshold, (low, high)), 0..1; each None where the card does not have it.
    """
    rules = card.get("decision") or {"threshold": card.get("threshold"), "uncertain_band": card.get("band")}
    band = rules.get("uncertain_band")
    return rules.get("threshold"), (band[0], band[1]) if band else None


def describe_network(card: Mapping[str, Any]) -> str:
    """Which network it is, of which release and when exported; empty where the card does not say."""
    network = card.get("model") or card.get("network", {}).get("name")
    if not network:
        return ""
    version = card.get("versions", {}).get("deepfake_tf")
    release = f", of deepfake-tf {version}" if version else ""
    return f"{network}{release}, exported {card.get('exported') or card.get('date') or 'at no known date'}"


def detector_of(model: Path) -> str:
    """The name of the detector that a SavedModel, a bundle or a `.tflite` belongs to; nothing is checked yet."""
    if (model / "saved_model.pb").is_file() or not has_light(model):
        described = read_card(model)
    else:
        file = _description_file(model)
        described = _read_json(file) if file.is_file() else {}
    return described.get("detector", cifake.SPEC.name)  # earlier releases had that one alone


def _description_file(path: Path) -> Path:
    return path.with_suffix(".json") if path.suffix == LIGHT_SUFFIX else path / DESCRIPTION


def _find(file: Path, digest: str) -> Path | None:
    """The file with that content, or what an export that was cut had ready for its place."""
    for candidate in (file, part_of(file)):
        if candidate.is_file() and hashlib.sha256(candidate.read_bytes()).hexdigest() == digest:
            return candidate
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist, which the description beside it names. Copy it again, or {_MAKE}"
        )
    return None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        if "sha256" in description:  # before there were bundles
            description = {**description, "light": [{"file": "", "sha256": description["sha256"]}]}
        missing = {"decision", "domain", "light"} - set(description)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no JSON object: {error}") from error
    if missing:
        raise ValueError(f"{file} lacks {sorted(missing)}: it was not made by deepfake-tf export")
    if description.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"{file} is of another release: update deepfake-tf. Received: format={description['format']!r}"
        )
    return description
