"""Labelled images as one picture, and which answers are shown."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.data.examples import Examples
from deepfake_tf.evaluation.gallery import draw_classes, draw_errors, pick_examples
from tests.images import encode, photograph

LABELS = np.array([0, 0, 0, 1, 1, 1])
PROBABILITIES = np.array([0.1, 0.9, 0.6, 0.99, 0.2, 0.7])  # the second, third and fifth are wrong


def examples(files):
    return Examples([f"{index}.png" for index in range(len(files))], LABELS, files, [""] * len(files))


def test_the_surest_answers_come_first_right_before_wrong():
    assert pick_examples(LABELS, PROBABILITIES, each=2).tolist() == [3, 0, 1, 4]
    assert pick_examples(LABELS, PROBABILITIES, each=9).tolist() == [3, 0, 5, 1, 4, 2]
    assert pick_examples(LABELS, LABELS.astype(float), each=1).tolist() == [0]


@pytest.mark.parametrize("size", [(32, 32), (300, 200)])
def test_pictures_are_drawn_of_paths_and_bytes_of_any_size(size, tmp_path):
    files: list = [encode(photograph(*size, seed), "JPEG") for seed in range(6)]
    (tmp_path / "a.jpg").write_bytes(files[0])
    files[0] = str(tmp_path / "a.jpg")
    for drawn in (draw_classes(examples(files)), draw_errors(examples(files), PROBABILITIES)):
        with Image.open(io.BytesIO(drawn)) as picture:
            assert picture.format == "PNG"
            assert np.asarray(picture.convert("L")).std() > 10


def test_a_model_without_errors_gives_an_empty_sheet():
    files = [encode(photograph(32, 32, seed), "PNG") for seed in range(6)]
    with Image.open(io.BytesIO(draw_errors(examples(files), LABELS.astype(float)))) as picture:
        assert picture.width > 0
