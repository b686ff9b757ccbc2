"""What the tests share: where real data lies, small data made on the spot, and a home for prepared data sets."""

from __future__ import annotations

import atexit
import dataclasses
import fcntl
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Both are read when the libraries are imported, so before any test module is. No test touches the user's own data.
if "deepfake_tf_tests_" not in os.environ.get("TFDS_DATA_DIR", ""):  # a worker has that of the process that started it
    os.environ["TFDS_DATA_DIR"] = tempfile.mkdtemp(prefix="deepfake_tf_tests_")
    atexit.register(shutil.rmtree, os.environ["TFDS_DATA_DIR"], ignore_errors=True)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_runtest_setup(item):
    """Let no test's random weights depend on which tests ran before it: workers share them out anew each time."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data, beside the project. Tests that use it are marked real_data."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"real data is not at hand: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def cifake_train(shared):
    """Examples of CIFAKE's train split, 100,000 images, prepared once a session, by whichever worker comes first."""
    from deepfake_tf.data.sources import load_examples

    archive = shared / "data" / "cifake-train.tar.xz"
    if not archive.is_file():
        pytest.skip(f"real data is not at hand: {archive} does not exist")
    with open(os.path.join(os.environ["TFDS_DATA_DIR"], "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return load_examples(["cifake"], archive=str(archive))


@pytest.fixture
def predictathon(shared, tmp_path) -> Path:
    """The hackathon's folder, unpacked."""
    archive = shared / "data" / "predictathon.tar.xz"
    if not archive.is_file():
        pytest.skip(f"real data is not at hand: {archive} does not exist")
    with tarfile.open(archive) as stream:
        stream.extraction_filter = getattr(tarfile, "data_filter", None)  # from 3.11.4 on; Debian 12 has 3.11.2
        stream.extractall(tmp_path)
    return next(tmp_path.rglob("real_cifake_images")).parents[1]


@pytest.fixture
def write_images(tmp_path) -> Callable[..., Path]:
    """A function that writes random images, each different, and returns the folder that holds them.

    `write_images({"REAL": 3, "FAKE": 2}, extension=".png", size=(8, 8))` writes REAL/0.png and so on into the
    test's own folder.
    """
    rng = np.random.default_rng(0)

    def write(counts: Mapping[str, int], extension: str = ".png", size: tuple[int, int] = (8, 8)) -> Path:
        for folder, count in counts.items():
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / f"{index}{extension}")
        return tmp_path

    return write


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A SavedModel with random weights, and all that it was made from."""

    path: Path
    keras_model: Any
    calibration: Any
    domain: Any
    card: dict[str, Any]
    warmup_images: list[bytes]


@pytest.fixture(scope="session")
def exported_model(tmp_path_factory) -> ExportedModel:
    """A ResNet-18 with random weights, calibrated so that its answers on small random pictures differ."""
    import keras

    from deepfake_tf.decision.calibration import Calibration
    from deepfake_tf.decision.domain import Domain
    from deepfake_tf.export.savedmodel import exported_of, write_savedmodel
    from deepfake_tf.networks import build_model
    from tests.images import encode, photograph

    keras.utils.set_random_seed(0)
    model = build_model("resnet18")
    pictures = np.stack([np.asarray(photograph(224, 224, seed), np.float32) for seed in range(16)])
    logits = model.predict(pictures / 127.5 - 1.0, verbose=0)[:, 0]
    head = model.get_layer("fc")
    scale = 2.0 / logits.std()
    head.set_weights([head.get_weights()[0] * scale, head.get_weights()[1] - logits.mean() * scale])
    calibration = Calibration(temperature=1.5, threshold=0.5, band=(0.4, 0.6))
    everywhere = Domain(32, 32, np.zeros((2, 512), np.float32), np.eye(512, dtype=np.float32), threshold=1e6)
    card = {"model": "resnet18", "decision": {"threshold": 0.5}}
    warmup_images = [encode(photograph(32, 32, seed), "PNG") for seed in (100, 101)]
    path = tmp_path_factory.mktemp("deepfake") / "1"
    write_savedmodel(exported_of(model, everywhere), calibration, card, path, warmup_images)
    return ExportedModel(path, model, calibration, everywhere, card, warmup_images)


@pytest.fixture(scope="session")
def exported_light_model(exported_model, tmp_path_factory) -> Path:
    """The float32 `.tflite` of the network that `exported_model` holds, and its `.json`, alone in their folder."""
    from deepfake_tf.export.litert import export_litert
    from deepfake_tf.export.savedmodel import exported_of
    from tests.images import photograph

    representative = np.stack([np.asarray(photograph(224, 224, seed)) for seed in range(2)])
    exported = exported_of(exported_model.keras_model, exported_model.domain)
    folder = tmp_path_factory.mktemp("litert")
    calibration, card = exported_model.calibration, exported_model.card
    return export_litert(exported, calibration, card, representative, folder, variants=("float32",))["float32"]


@pytest.fixture(scope="session")
def photograph_arrays() -> dict[str, np.ndarray]:
    """The network of a small photograph detector, whose head is `tests.photograph_models.random_head()`."""
    from tests.networks import reference_vit_b16
    from tests.photograph_models import BLOCKS

    return reference_vit_b16.random_arrays(seed=0, blocks=BLOCKS)


@pytest.fixture(scope="session")
def photograph_weights(photograph_arrays, tmp_path_factory) -> Path:
    """The same as the `.npz` that `write_photograph_bundle` reads."""
    path = tmp_path_factory.mktemp("weights") / "clip.npz"
    np.savez(path, **photograph_arrays)
    return path


@pytest.fixture(scope="session")
def photograph_bundle(photograph_weights, tmp_path_factory) -> Path:
    """Its bundle, without a SavedModel."""
    from deepfake_tf.export.photograph_bundle import write_photograph_bundle
    from tests.photograph_models import DECISION, random_head

    folder = tmp_path_factory.mktemp("bundle")
    return write_photograph_bundle(photograph_weights, random_head(), DECISION, {"kind": "test"}, folder)


@pytest.fixture(scope="session")
def photograph_saved_model(photograph_bundle, tmp_path_factory) -> Path:
    """Its SavedModel, in float32."""
    from deepfake_tf.export.photograph_savedmodel import export_photograph_savedmodel
    from tests.images import encode, photograph

    warmup_images = [encode(photograph(300 + 20 * seed, 260, seed), "PNG") for seed in range(2)]
    path = tmp_path_factory.mktemp("saved") / "photograph" / "1"
    return export_photograph_savedmodel(photograph_bundle, path, warmup_images, "float32")
