"""From what a network says of an image to a row: probability, label, verdict, and why not.

Written twice, here in NumPy for the light engines and in `tensorflow_verdict` for the exported graph; a test holds the
two together. All that either needs to know is a `Decision`, which travels in the bundle's `detector.json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepfake_tf.contract import (
    FAKE,
    LABEL_INVALID,
    LABEL_NAMES,
    REAL,
    REASON_UNLIKE,
    VERDICT_GENERATED,
    VERDICT_REAL,
    VERDICT_UNCERTAIN,
    reason_for_size,
)


@dataclasses.dataclass(frozen=True)
class Decision:
    """The numbers between a network's outputs and a verdict.

    Attributes:
        temperature: float > 0. P(FAKE) = sigmoid(logit / temperature + intercept).
        intercept: float. What favours FAKE where it is above 0, REAL below.
        threshold: float, 0..1. FAKE at this probability and above.
        band: (low, high) probabilities; strictly between them the verdict is "uncertain".
        sides_accepted: (low, high), pixels. Out of domain: an image whose short side is below `low`, or whose long
            side is above `high`; None: no limit.
        sides_seen: (low, high), pixels. The shortest and the longest side seen in training; None: no limit worth
            telling.
        distance_threshold: float. Out of domain: an image farther than this from the training data.
    """

    temperature: float
    intercept: float
    threshold: float
    band: tuple[float, float]
    sides_accepted: tuple[int, int | None]
    sides_seen: tuple[int, int | None]
    distance_threshold: float

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Decision:
        """Of a bundle's `detector.json`, or of the JSON beside a `.tflite` of an earlier release.

        Raises:
            KeyError: a field is missing.
        """
        decision, domain = description["decision"], description["domain"]
        distances = [name for name in ("distance_threshold", "mahalanobis_threshold") if name in domain]
        low, high = decision["uncertain_band"]
        return cls(
            temperature=float(decision["temperature"]),
            intercept=float(decision.get("intercept", 0.0)),  # earlier releases had it in the network's bias
            threshold=float(decision["threshold"]),
            band=(float(low), float(high)),
            sides_accepted=tuple(domain["sides_accepted"]),
            sides_seen=tuple(domain["sides_seen_in_training"]),
            distance_threshold=float(domain[distances[0] if distances else "distance_threshold"]),
        )

    def to_description(self) -> dict[str, Any]:
        """The two objects `decision` and `domain` of `detector.json`."""
        return {
            "decision": {
                "threshold": self.threshold,
                "temperature": self.temperature,
                "intercept": self.intercept,
                "uncertain_band": list(self.band),
            },
            "domain": {
                "sides_seen_in_training": list(self.sides_seen),
                "sides_accepted": list(self.sides_accepted),
                "distance_threshold": self.distance_threshold,
            },
        }


def probability_of(logit: np.ndarray, temperature: float, intercept: float) -> np.ndarray:
    """P(FAKE): float of any shape -> the same dtype and shape, 0..1."""
    with np.errstate(over="ignore"):  # exp of a very negative logit: the probability is 0
        return 1 / (1 + np.exp(-(logit / temperature + intercept)))


def decide(
    logit: np.ndarray,
    distance: np.ndarray,
    width: np.ndarray,
    height: np.ndarray,
    errors: Sequence[str],
    decision: Decision,
) -> dict[str, np.ndarray]:
    """The rows of the score contract.

    Args:
        logit: float32 [N]. Of FAKE, before calibration.
        distance: float32 [N], 0 and up. From the training data.
        width: int32 [N], pixels. As the header states it.
        height: int32 [N], pixels.
        errors: N texts; empty where there are pixels.
        decision: Decision.

    Returns:
        The outputs of the SavedModel's signature `serving_default`: an array [N] a field, strings as bytes.
    """
    logit = np.asarray(logit, np.float32)
    valid = np.array([not error for error in errors], bool)
    probability = probability_of(logit, decision.temperature, decision.intercept)
    reasons = [
        _reason(w, h, d, decision) if is_valid else "" for w, h, d, is_valid in zip(width, height, distance, valid)
    ]
    in_domain = valid & np.array([not reason for reason in reasons], bool)
    is_fake = probability >= np.float32(decision.threshold)
    low, high = map(np.float32, decision.band)
    verdict = np.where(is_fake, VERDICT_GENERATED, VERDICT_REAL)
    verdict = np.where((probability > low) & (probability < high), VERDICT_UNCERTAIN, verdict)
    zero = np.float32(0)
    return {
        "label": _as_bytes(np.where(valid, np.where(is_fake, LABEL_NAMES[FAKE], LABEL_NAMES[REAL]), LABEL_INVALID)),
        "verdict": _as_bytes(np.where(in_domain, verdict, VERDICT_UNCERTAIN)),
        "reason": _as_bytes(reasons),
        "error": _as_bytes(errors),
        "confidence": np.where(valid, np.where(is_fake, probability, 1 - probability), zero),
        "probability": np.where(valid, probability, np.float32(-1)),
        "logit": np.where(valid, logit, zero),
        "in_domain": in_domain,
        "width": np.asarray(width, np.int32),
        "height": np.asarray(height, np.int32),
    }


def _reason(width: int, height: int, distance: float, decision: Decision) -> str:
    """Why an image is out of domain, or empty."""
    shortest, longest = decision.sides_accepted
    if min(width, height) < shortest or (longest is not None and max(width, height) > longest):
        return reason_for_size(f"{width} x {height}", *decision.sides_seen)
    return REASON_UNLIKE if distance > decision.distance_threshold else ""


def _as_bytes(texts: Any) -> np.ndarray:
    """object [N] of UTF-8 bytes, as TensorFlow hands strings out."""
    return np.array([str(text).encode() for text in texts], object)
