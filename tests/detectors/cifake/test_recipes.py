from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deepfake_tf.detectors.cifake import recipes
from deepfake_tf.detectors.cifake.config import RECIPE_NAMES, TrainingConfig


def test_every_recipe_has_a_name_and_its_figures():
    assert tuple(recipes.RECIPES) == RECIPE_NAMES
    for name in RECIPE_NAMES:
        assert f"--recipe {name} --run-dir" in recipes.__doc__


def test_original_is_what_the_defaults_are():
    assert recipes.stages_of("original") == (TrainingConfig(),)


def test_best_is_fast_trained_on_with_damaged_images():
    fast, best = recipes.stages_of("fast"), recipes.stages_of("best")
    assert best[0] == fast[0]
    assert best[1] == dataclasses.replace(fast[1], steps_per_epoch=best[1].steps_per_epoch)
    assert [(stage.image_size, stage.degradation) for stage in best] == [(64, 0), (112, 0), (112, 0.4)]


def test_teacher_begins_with_the_clip_that_ships():
    (stage,) = recipes.stages_of("teacher")
    assert (stage.model, stage.image_size) == ("cifake_vit", 96)
    assert Path(stage.weights).is_file()


def test_changes_are_for_all_stages_but_weights_for_the_first():
    stages = recipes.stages_of("best", {"seed": 7, "weights": "mine.npz"})
    assert {stage.seed for stage in stages} == {7}
    assert [stage.weights for stage in stages] == ["mine.npz", "imagenet", "imagenet"]
    with pytest.raises(ValueError, match="recipe must be one of .*, teacher. Received: recipe='slow'"):
        recipes.stages_of("slow")
