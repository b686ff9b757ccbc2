"""A folder of photographs by class and source, and a detector that needs no TensorFlow."""

from __future__ import annotations

import pytest

from deepfake_tf.data.folders import load_folders
from deepfake_tf.engines.detector import Detector
from tests.images import encode, photograph


@pytest.fixture(scope="session")
def light_detector():
    return Detector(engine="litert")


@pytest.fixture
def by_source(tmp_path):
    """Two real sources, two generators, and a file that is no image; the folder, and its examples."""
    root = tmp_path / "data"
    for seed, name in enumerate(
        (
            "REAL/phone/1.jpg",
            "REAL/phone/2.png",
            "REAL/scans/3.jpg",
            "FAKE/flux/1.png",
            "FAKE/flux/2.jpg",
            "FAKE/sd/3.png",
        )
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(photograph(256, 240, seed), "PNG" if name.endswith("png") else "JPEG"))
    (root / "REAL" / "broken").mkdir()
    (root / "REAL" / "broken" / "4.jpg").write_bytes(b"no image")
    return root, load_folders(root)
