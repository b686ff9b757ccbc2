"""A small bundle: two blocks and a head of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_tf.decision.verdict import Decision
from deepfake_tf.export.photograph_bundle import write_photograph_bundle
from tests.networks import reference_vit_b16 as reference

BLOCKS = 2
DECISION = Decision(
    temperature=1.5,
    intercept=-0.1,
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
    return write_photograph_bundle(
        weights, random_head(), DECISION, {"kind": "test"}, tmp_path_factory.mktemp("bundle")
    )
