"""Trainings in stages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import keras
import pytest

from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.training import loop
from deepfake_tf.training.stages import is_recipe, resume_stages, train_stages
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
        train_stages(examples, STAGES, run_dir, {"sources": ["made up"]})
    assert is_recipe(run_dir)
    assert (run_dir / "stage-1" / "best.weights.h5").exists()
    monkeypatch.setattr(keras.Model, "fit", fit)
    capsys.readouterr()
    assert resume_stages(examples, run_dir) == run_dir / "best.weights.h5"
    assert "stage 2 of 2" in (output := capsys.readouterr().out)
    assert "stage 1 of 2" not in output
    config = TrainingConfig.from_file(run_dir / "config.json")
    assert Path(config.weights) == run_dir / "stage-1" / "best.weights.h5"
    assert config.epochs == 1
    assert json.loads((run_dir / "data.json").read_text()) == {"sources": ["made up"]}
    with pytest.raises(FileExistsError, match=r"run holds a run already.*--resume"):
        train_stages(examples, STAGES, run_dir)
    with pytest.raises(FileNotFoundError, match=r"recipe.json does not exist"):
        resume_stages(examples, tmp_path / "other")
