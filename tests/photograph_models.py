"""A small photograph detector: two blocks and a head of random weights."""

from __future__ import annotations

import numpy as np

from deepfake_tf.decision.verdict import Decision

BLOCKS = 2
DECISION = Decision(
    temperature=1.5,
    intercept=-2.2,  # between the logits, near 4, of pictures and those of plain red and black
    threshold=0.5,
    band=(0.45, 0.55),
    sides_accepted=(100, 1200),
    sides_seen=(200, 600),
    distance_threshold=50.0,
)


def random_head(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "weight": generator.normal(0, 0.05, (BLOCKS, 768)).astype(np.float32),
        "bias": np.float32(0.25),
        "domain.weight": generator.normal(0, 0.05, (BLOCKS, 768)).astype(np.float32),
        "domain.bias": np.float32(-1),
    }
