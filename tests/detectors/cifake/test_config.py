"""The configuration of a run: what it accepts, and that it comes back from its file as it was."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_tf.contract import FAKE, LABEL_NAMES, REAL
from deepfake_tf.detectors.cifake.config import TrainingConfig


def test_defaults_are_the_originals():
    config = TrainingConfig()
    assert (config.model, config.image_size, config.epochs, config.batch_size) == ("resnet18", 224, 10, 32)
    assert (config.optimizer, config.learning_rate, config.validation_fraction) == ("adam", 1e-4, 0.2)


def test_labels_are_named_by_their_number():
    assert (LABEL_NAMES[REAL], LABEL_NAMES[FAKE]) == ("REAL", "FAKE")


def test_file_gives_back_what_was_written(tmp_path):
    config = TrainingConfig(model="resnet50v2", learning_rate=3e-4, flip=False, steps_per_epoch=7)
    (tmp_path / "config.json").write_text(config.to_json())
    assert TrainingConfig.from_file(tmp_path / "config.json") == config


def test_unknown_field_in_a_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"epochs": 3, "momentum": 0.9}))
    with pytest.raises(
        ValueError, match=r"config.json: unknown configuration fields \['momentum'\]. Known: .*'epochs'"
    ):
        TrainingConfig.from_file(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model": "vgg16"},
            "model must be one of resnet18, resnet50v2, efficientnet_lite0, cifake_vit. Received: model='vgg16'",
        ),
        ({"optimizer": "sgd"}, "optimizer must be one of adam, adamw"),
        ({"schedule": "step"}, "schedule must be one of plateau, cosine"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16"),
        ({"image_size": 16}, "image_size must be from 32 to 1024. Received: image_size=16"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing=-0.1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_values_out_of_range_are_errors_that_show_them(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**fields)


def test_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig().epochs = 3


def test_reading_it_loads_neither_tensorflow_nor_keras():
    program = (
        "import sys, deepfake_tf.detectors.cifake.config; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3]).returncode == 0
