"""The head in TensorFlow: what the exported files compute from the backbone's features.

Arrays of a head, all float32, as they stand in a bundle's `head.npz`:

    weight, bias                  [blocks, 768], []: the logit of "generated", of the class tokens of all blocks
    domain.weight, domain.bias    the same of "no photograph": a drawing, a document, a screenshot

Logits of a linear head have one gradient for all images, its weight. So the map of the patches is closed form: a head
reads the class token, and the class token learns of a patch by attention alone. In each block, each head of the
attention adds weight times value of the patch, through the block's output kernel; its product with the gradient is the
patch's direct share in the logit. What patches tell one another before is left to the values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from deepfake_tf.decision import tensorflow_verdict
from deepfake_tf.decision.verdict import Decision
from deepfake_tf.networks.vit_b16 import HEADS, WIDTH
from deepfake_tf.networks.vit_b16_inference import dense_kernel


def directions(head: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a value must point to, in each block and head of the attention, to raise the logit.

    Args:
        head: arrays of the head.
        arrays: of the network, see `vit_b16_inference`.

    Returns:
        float32 [blocks * 12, 64].
    """
    # What a block adds stays in the residual stream: the head reads it behind all later blocks too.
    reach = np.cumsum(head["weight"][::-1], axis=0)[::-1]
    found = [dense_kernel(arrays, f"blocks.{block}.out") @ gradient for block, gradient in enumerate(reach)]
    return np.stack(found).reshape(-1, WIDTH // HEADS).astype(np.float32)


def patch_evidence(attention: tf.Tensor, values: tf.Tensor, towards: np.ndarray) -> tf.Tensor:
    """The share of each patch in the logit.

    Args:
        attention: float32 [N, blocks, 12, patches], of `vit_b16_inference.compute_features`.
        values: float32 [N, blocks, 12, patches, 64], of the same.
        towards: of `directions`.

    Returns:
        float32 [N, patches]; positive speaks for FAKE.
    """
    heads, patches = len(towards), values.shape[3]
    found = tf.reduce_sum(tf.reshape(values, [-1, heads, patches, WIDTH // HEADS]) * towards[:, None], axis=3)
    return tf.reduce_sum(tf.reshape(attention, [-1, heads, patches]) * found, axis=1)


def head_outputs(
    head: Mapping[str, np.ndarray], decision: Decision, towards: np.ndarray, features: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """All that an answer needs.

    Args:
        head: arrays of the head.
        decision: Decision.
        towards: of `directions`.
        features: `cls`, `attention` and `values` of `compute_features`, N images.

    Returns:
        `probability`, `logit` and `distance` (the logit of "no photograph"), float32 [N, 1], and `heatmap`, float32
        [N, h, w], 0..1: what speaks for the label, scaled to the strongest patch.
    """
    linear = lambda name: tf.reduce_sum(features["cls"] * head[f"{name}weight"], axis=[1, 2]) + head[f"{name}bias"]
    logit = linear("")[:, None]
    probability = tensorflow_verdict.probability_of(logit, decision)
    evidence = patch_evidence(features["attention"], features["values"], towards)
    side = round(evidence.shape[1] ** 0.5)
    is_fake = probability[:, 0] >= decision.threshold
    return {
        "probability": probability,
        "logit": logit,
        "distance": linear("domain.")[:, None],
        "heatmap": tensorflow_verdict.heatmap_of(tf.reshape(evidence, [-1, side, side]), is_fake),
    }
