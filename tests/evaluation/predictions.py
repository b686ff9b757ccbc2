"""Made-up predictions."""

from __future__ import annotations

import numpy as np
from scipy.special import expit


def random_predictions(count: int, seed: int = 0, decimals: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a fair detector; few decimals make ties."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    return labels, np.round(expit(generator.normal(3 * labels - 1.5, 1.5)), decimals)
