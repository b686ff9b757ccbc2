"""A small bundle: two blocks and a head of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_tf.export.photograph_bundle import write_bundle
from tests.networks import reference_vit_b16 as reference

BLOCKS = 2
DESCRIPTION = {
    "decision": {"threshold": 0.5, "temperature": 1.5, "offset": 0.1, "uncertain_band": [0.45, 0.55]},
    "domain": {"sides_seen_in_training": [200, 600], "sides_accepted": [100, 1200], "mahalanobis_threshold": 50.0},
}


def random_head(seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        "weight": generator.normal(0, 0.05, (BLOCKS, 768)).astype(np.float32),
        "bias": np.float32(0.25),
        "domain.weight": generator.normal(0, 0.05, (BLOCKS, 768)).astype(np.float32),
        "domain.bias": np.float32(-1),
    }


@pytest.fixture(scope="session")
def arrays():
    return reference.random_arrays(seed=0, blocks=BLOCKS)


@pytest.fixture(scope="session")
def weights(arrays, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "clip.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def bundle(weights, tmp_path_factory) -> Path:
    return write_bundle(weights, random_head(), DESCRIPTION, tmp_path_factory.mktemp("bundle"))
