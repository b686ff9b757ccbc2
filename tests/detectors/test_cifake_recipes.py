from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import keras
import pytest

from deepfake_tf.config import RECIPE_NAMES, TrainingConfig
from deepfake_tf.detectors import cifake_recipes
from deepfake_tf.training import loop
from tests.training.jax_training import build_tiny_network, make_examples

TINY = TrainingConfig(
    weights="none",
    image_size=32,
    epochs=2,
    batch_size=16,
    learning_rate=1e-2,
    validation_fraction=0.25,
    schedule="cosine",
)
STAGES = (TINY, dataclasses.replace(TINY, epochs=1, learning_rate=1e-4))


def test_every_recipe_has_a_name_and_its_figures():
    assert tuple(cifake_recipes.RECIPES) == RECIPE_NAMES
    for name in RECIPE_NAMES:
        assert f"--recipe {name} --run-dir" in cifake_recipes.__doc__


def test_original_is_what_the_defaults_are():
    assert cifake_recipes.stages_of("original") == (TrainingConfig(),)


def test_best_is_fast_trained_on_with_damaged_images():
    fast, best = cifake_recipes.stages_of("fast"), cifake_recipes.stages_of("best")
    assert best[0] == fast[0]
    assert best[1] == dataclasses.replace(fast[1], steps_per_epoch=best[1].steps_per_epoch)
    assert [(stage.image_size, stage.degradation) for stage in best] == [(64, 0), (112, 0), (112, 0.4)]


def test_changes_are_for_all_stages_but_weights_for_the_first():
    stages = cifake_recipes.stages_of("best", {"seed": 7, "weights": "mine.npz"})
    assert {stage.seed for stage in stages} == {7}
    assert [stage.weights for stage in stages] == ["mine.npz", "imagenet", "imagenet"]
    with pytest.raises(ValueError, match="recipe must be one of original, fast, best. Received: recipe='slow'"):
        cifake_recipes.stages_of("slow")


def test_a_cut_recipe_goes_on_in_the_stage_that_was_cut(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "build_model", build_tiny_network)
    examples = make_examples(32)
    fit, calls = keras.Model.fit, []

    def fit_once(*arguments, **options):
        calls.append(options)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    monkeypatch.setattr(keras.Model, "fit", fit_once)
    run_dir = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        cifake_recipes.train_stages(examples, STAGES, run_dir, {"sources": ["made up"]})
    assert cifake_recipes.is_recipe(run_dir)
    assert (run_dir / "stage-1" / "best.weights.h5").exists()
    monkeypatch.setattr(keras.Model, "fit", fit)
    capsys.readouterr()
    assert cifake_recipes.resume_stages(examples, run_dir) == run_dir / "best.weights.h5"
    assert "stage 2 of 2" in (output := capsys.readouterr().out)
    assert "stage 1 of 2" not in output
    config = TrainingConfig.from_file(run_dir / "config.json")
    assert Path(config.weights) == run_dir / "stage-1" / "best.weights.h5"
    assert config.epochs == 1
    assert json.loads((run_dir / "data.json").read_text()) == {"sources": ["made up"]}
    with pytest.raises(FileExistsError, match=r"run holds a run already.*--resume"):
        cifake_recipes.train_stages(examples, STAGES, run_dir)
    with pytest.raises(FileNotFoundError, match=r"recipe.json does not exist"):
        cifake_recipes.resume_stages(examples, tmp_path / "other")
