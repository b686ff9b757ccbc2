"""The teacher as a detector: a run directory that holds what was trained on top of CLIP, exported as any other."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_tf import Detector
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.evaluation.scoring import load_scorer
from deepfake_tf.export.from_run import export_run
from deepfake_tf.networks import cifake_vit
from deepfake_tf.networks.cifake_vit import build_cifake_vit, save_teacher
from deepfake_tf.reading.pillow_reader import decode
from tests.networks import reference_vit_b16 as reference
from tests.training.jax_training import make_examples

PER_CLASS = 24


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run directory of one block, and its SavedModel with its card."""
    folder = tmp_path_factory.mktemp("teacher")
    run_dir = folder / "cifake_vit"
    run_dir.mkdir()
    np.savez(folder / "clip.npz", **reference.random_arrays(seed=0, blocks=1))
    config = TrainingConfig(model="cifake_vit", image_size=96, weights="../clip.npz", validation_fraction=0.25)
    (run_dir / "config.json").write_text(config.to_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifake_vit, "BLOCKS", 1)
        save_teacher(build_cifake_vit(), run_dir / "teacher.npz")
        card = export_run(run_dir, make_examples(PER_CLASS), folder / "teacher" / "1")
        yield run_dir, folder / "teacher", card


def test_the_split_is_that_of_the_configuration(exported):
    _, _, card = exported
    assert sum(card["data"]["validation"].values()) == PER_CLASS // 2
    assert sum(card["data"]["training"].values()) == PER_CLASS * 3 // 2


def test_every_engine_says_what_the_network_says(exported):
    run_dir, bundle, card = exported
    examples = make_examples(4)
    raw = load_scorer(run_dir)(np.stack([decode(file) for file in examples.files]))
    decision = card["decision"]
    scaled = np.log(raw / (1 - raw)) / decision["temperature"] + decision["intercept"]
    expected = 1 / (1 + np.exp(-scaled))
    assert expected.std() > 0.02
    for engine, tolerance in (("saved_model", 0.01), ("litert", 0.05)):
        explained = Detector(bundle, engine=engine).explain(list(examples.files))
        probabilities = [one.prediction.probability for one in explained]
        np.testing.assert_allclose(probabilities, expected, atol=tolerance, err_msg=engine)
        for one in explained:
            assert one.prediction.detector == "cifake"
            assert one.heatmap.shape == (6, 6)
            assert 0 <= one.heatmap.min() <= one.heatmap.max() <= 1


def test_bfloat16_is_refused(exported, tmp_path):
    run_dir, _, _ = exported
    with pytest.raises(ValueError, match="exported in float32 alone. Received: precision='bfloat16'"):
        export_run(run_dir, make_examples(PER_CLASS), tmp_path / "1", precision="bfloat16")
