import json
import shutil

import numpy as np
import pytest

from deepfake_tf.config import TrainingConfig
from deepfake_tf.training import averaging
from deepfake_tf.training.averaging import average_runs
from tests.training.jax_training import build_tiny_network

CONFIG = TrainingConfig(weights="none", image_size=32)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two run directories of one split, and their weights."""
    monkeypatch.setattr(averaging, "build_model", build_tiny_network)
    folders, weights = [], []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        model = build_tiny_network(CONFIG.model, CONFIG.image_size)
        model.save_weights(folder / "best.weights.h5")
        (folder / "config.json").write_text(CONFIG.to_json())
        (folder / "train_files.txt").write_text("a.png\nb.png\n")
        (folder / "validation_files.txt").write_text("c.png\n")
        folders.append(folder)
        weights.append(model.get_weights())
    return folders, weights


def test_every_weight_is_on_the_line_between_the_two(runs, tmp_path):
    folders, weights = runs
    file = average_runs(*folders, 0.8, tmp_path / "average")
    model = build_tiny_network(CONFIG.model, CONFIG.image_size)
    model.load_weights(file)
    for first, second, averaged in zip(*weights, model.get_weights()):
        np.testing.assert_allclose(averaged, 0.2 * first + 0.8 * second, rtol=1e-6, atol=1e-7)
    assert TrainingConfig.from_file(tmp_path / "average" / "config.json") == CONFIG
    assert (tmp_path / "average" / "validation_files.txt").read_text() == "c.png\n"
    shares = json.loads((tmp_path / "average" / "average.json").read_text())
    assert list(shares.values()) == pytest.approx([0.2, 0.8])
    with pytest.raises(FileExistsError, match="holds a run already"):
        average_runs(*folders, 0.8, tmp_path / "average")


def test_what_cannot_be_averaged_is_refused(runs, tmp_path):
    (first, second), _ = runs
    target = tmp_path / "average"
    with pytest.raises(ValueError, match="Received: share=1.5"):
        average_runs(first, second, 1.5, target)
    with pytest.raises(FileNotFoundError, match="No run directory"):
        average_runs(first, tmp_path / "nothing", 0.5, target)
    other = tmp_path / "other"
    shutil.copytree(second, other)
    (other / "validation_files.txt").write_text("a.png\n")
    with pytest.raises(ValueError, match="unlike splits"):
        average_runs(first, other, 0.5, target)
    (other / "config.json").write_text(TrainingConfig(weights="none", image_size=64).to_json())
    with pytest.raises(ValueError, match="one network and image size"):
        average_runs(first, other, 0.5, target)
    assert not target.exists()
