"""The mobile model that ships: small, and of one mind with the SavedModel beside it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake_tf.engines.detector import Detector
from deepfake_tf.samples import PHOTOGRAPHS, write_samples

FOLDER = Path(__file__).parents[1] / "saved_model"
FILE = FOLDER / "deepfake" / "network.tflite"
BYTES_AT_MOST = 12e6
REAL_IMAGES = 512

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=f"no mobile model ships: {FILE} does not exist")


@pytest.fixture(scope="module")
def light():
    return Detector(FOLDER / "deepfake", engine="litert")


@pytest.fixture(scope="module")
def full():
    return Detector(FOLDER / "deepfake", engine="saved_model")


def test_it_is_small_and_of_the_same_export(light, full):
    assert FILE.stat().st_size <= BYTES_AT_MOST
    assert light.card == {name: value for name, value in full.card.items() if name != "known_image_logit"}


def test_the_samples_get_the_same_answers(light, full, tmp_path):
    samples = write_samples(tmp_path)
    for here, there in zip(light.predict(samples), full.predict(samples), strict=True):
        assert here.in_domain == there.in_domain
        assert here.probability == pytest.approx(there.probability, abs=0.1)


def test_the_demo_runs_on_it():
    command = [sys.executable, "-m", "deepfake_tf.cli", "demo", "--engine", "litert"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    photographs = [line for line in result.stdout.splitlines() if line.partition(" ")[0] in PHOTOGRAPHS]
    assert len(photographs) == len(PHOTOGRAPHS)
    assert not any("(" in line for line in photographs), "each gets an answer, not one in parentheses"


@pytest.mark.real_data
def test_it_agrees_with_the_saved_model_on_real_images(light, full, cifake_train):
    files = cifake_train.take(np.linspace(0, len(cifake_train) - 1, REAL_IMAGES).astype(int)).files
    here, there = light.predict(list(files)), full.predict(list(files))
    assert np.mean([one.label == other.label for one, other in zip(here, there)]) >= 0.99
    assert np.mean([one.in_domain == other.in_domain for one, other in zip(here, there)]) >= 0.98
