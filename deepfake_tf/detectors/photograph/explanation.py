"""Which patches speak for an answer: a map in closed form, from one forward pass.

A head reads the class token, and the class token learns of a patch by attention alone: in each block, each head of the
attention adds weight times value of the patch, through the block's output kernel. The product of that with the head's
gradient is the patch's direct share in the logit. What patches tell one another before is left to the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from deepfake_tf.networks.vit_b16 import HEADS, WIDTH


def patch_evidence(
    attention: tf.Tensor,
    values: tf.Tensor,
    gradient: tf.Tensor,
    output_kernels: Sequence[Callable[[tf.Tensor], tf.Tensor]],
) -> tf.Tensor:
    """The share of each patch in the logit.

    Args:
        attention: float32 [N, blocks, 12, patches], of `vit_b16_inference.compute_features`.
        values: float32 [N, blocks, 12, patches, 64], of the same.
        gradient: float32 [N, blocks, 768], of the logit by the class token after each block.
        output_kernels: a function a block, float32 [N, 768] -> [N, 768]: times the transposed kernel of its layer
            "out".

    Returns:
        float32 [N, patches]; positive speaks for FAKE.
    """
    blocks, patches = values.shape[1], values.shape[3]
    # What a block adds stays in the residual stream: heads on all later blocks read it too.
    later = tf.constant(np.triu(np.ones((blocks, blocks), np.float32)))
    reach = tf.matmul(later, gradient)
    directions = tf.stack([output_kernels[block](reach[:, block]) for block in range(blocks)], axis=1)
    directions = tf.reshape(directions, [-1, 1, WIDTH // HEADS])
    found = tf.reduce_sum(tf.reshape(values, [-1, patches, WIDTH // HEADS]) * directions, axis=-1)
    weights = tf.reshape(attention, [-1, patches])
    # Weights sum to 1: a patch that is looked at takes the place of the others, so what it adds is its difference to
    # what the head finds on average.
    mean = tf.reduce_sum(weights * found, axis=-1, keepdims=True) / tf.reduce_sum(weights, axis=-1, keepdims=True)
    shares = tf.reshape(weights * (found - mean), [-1, blocks * HEADS, patches])
    return tf.reduce_sum(shares, axis=1)


def heatmap(evidence: tf.Tensor, is_fake: tf.Tensor) -> tf.Tensor:
    """What speaks for the label, scaled to the strongest patch.

    Args:
        evidence: float32 [N, patches], of `patch_evidence`.
        is_fake: bool [N]: the label.

    Returns:
        float32 [N, h, w], 0..1.
    """
    side = round(evidence.shape[1] ** 0.5)
    towards_label = tf.nn.relu(evidence * tf.where(is_fake, 1.0, -1.0)[:, None])
    peak = tf.reduce_max(towards_label, axis=1, keepdims=True)
    return tf.reshape(towards_label / tf.maximum(peak, np.finfo(np.float32).tiny), [-1, side, side])
