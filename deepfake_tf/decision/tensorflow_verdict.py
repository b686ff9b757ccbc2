"""`decision.verdict` as a graph: the twin that travels in the SavedModel and, in part, in the `.tflite`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

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
from deepfake_tf.decision.verdict import Decision


def probability_of(logit: tf.Tensor, decision: Decision) -> tf.Tensor:
    """P(FAKE): float32 of any shape -> the same shape, 0..1."""
    return tf.sigmoid(logit / decision.temperature + decision.intercept)


def decide(
    logit: tf.Tensor, distance: tf.Tensor, width: tf.Tensor, height: tf.Tensor, errors: tf.Tensor, decision: Decision
) -> dict[str, tf.Tensor]:
    """See `decision.verdict.decide`: tensors of the same shapes in, of the same names out."""
    valid = errors == ""
    probability = probability_of(logit, decision)
    reason = tf.where(valid, _reasons(width, height, distance, decision), "")
    in_domain = valid & (reason == "")
    is_fake = probability >= decision.threshold
    low, high = decision.band
    verdict = tf.where(is_fake, VERDICT_GENERATED, VERDICT_REAL)
    verdict = tf.where((probability > low) & (probability < high), VERDICT_UNCERTAIN, verdict)
    return {
        "label": tf.where(valid, tf.where(is_fake, LABEL_NAMES[FAKE], LABEL_NAMES[REAL]), LABEL_INVALID),
        "verdict": tf.where(in_domain, verdict, VERDICT_UNCERTAIN),
        "reason": reason,
        "error": errors,
        "confidence": tf.where(valid, tf.where(is_fake, probability, 1.0 - probability), 0.0),
        "probability": tf.where(valid, probability, -1.0),
        "logit": tf.where(valid, logit, 0.0),
        "in_domain": in_domain,
        "width": width,
        "height": height,
    }


def heatmap_of(evidence: tf.Tensor, is_fake: tf.Tensor) -> tf.Tensor:
    """Where the evidence for the label lies.

    Args:
        evidence: float32 [N, h, w]. What each place adds to the logit.
        is_fake: bool [N]. The label.

    Returns:
        float32 [N, h, w], 0..1; all 0 where nothing speaks for the label.
    """
    heatmap = tf.nn.relu(evidence * tf.where(is_fake, 1.0, -1.0)[:, None, None])
    peak = tf.reduce_max(heatmap, axis=[1, 2], keepdims=True)
    return heatmap / tf.maximum(peak, np.finfo(np.float32).tiny)


def _reasons(width, height, distance, decision: Decision):
    """string [N]: why an image is out of domain, or empty."""
    shortest, longest = decision.sides_accepted
    wrong_size = tf.minimum(width, height) < shortest
    if longest is not None:
        wrong_size |= tf.maximum(width, height) > longest
    size = tf.strings.join([tf.strings.as_string(width), " x ", tf.strings.as_string(height)])
    size_reason = tf.strings.join([size, reason_for_size("", *decision.sides_seen)])
    return tf.where(wrong_size, size_reason, tf.where(distance > decision.distance_threshold, REASON_UNLIKE, ""))
