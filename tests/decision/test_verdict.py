"""The decision in NumPy and in TensorFlow: the same rows, and the right ones."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from deepfake_tf.decision import tensorflow_verdict
from deepfake_tf.decision.verdict import Decision, decide

DECISION = Decision(
    temperature=1.25,
    intercept=-0.5,
    threshold=0.5,
    band=(0.1, 0.9),
    sides_accepted=(16, 64),
    sides_seen=(32, 32),
    distance_threshold=10.0,
)
PHOTOGRAPHS = dataclasses.replace(DECISION, sides_accepted=(200, None), sides_seen=(200, None))


def rows_of(logit, distance=None, width=None, height=None, errors=None, decision=DECISION):
    count = len(logit)
    arguments = (
        np.asarray(logit, np.float32),
        np.asarray([0.0] * count if distance is None else distance, np.float32),
        np.asarray([32] * count if width is None else width, np.int32),
        np.asarray([32] * count if height is None else height, np.int32),
    )
    errors = [""] * count if errors is None else errors
    rows = decide(*arguments, errors, decision)
    graph = tf.function(lambda *tensors: tensorflow_verdict.decide(*tensors, decision))
    twin = {
        name: value.numpy()
        for name, value in graph(*map(tf.constant, arguments), tf.constant(errors, tf.string)).items()
    }
    assert rows.keys() == twin.keys()
    for name, values in rows.items():
        if values.dtype == np.float32:
            np.testing.assert_allclose(twin[name], values, rtol=0, atol=2e-7, err_msg=name)
        else:
            assert values.tolist() == twin[name].tolist(), name
    return rows


def test_label_confidence_and_verdict_follow_the_calibrated_probability():
    rows = rows_of([-100.0, 0.625, 4.0, 100.0])  # 0.625 / 1.25 - 0.5 is 0
    np.testing.assert_allclose(rows["probability"], [0, 0.5, 1 / (1 + np.exp(-2.7)), 1], atol=1e-6)
    assert rows["label"].tolist() == [b"REAL", b"FAKE", b"FAKE", b"FAKE"]
    assert rows["verdict"].tolist() == [b"likely real", b"uncertain", b"likely generated", b"likely generated"]
    np.testing.assert_allclose(rows["confidence"], np.maximum(rows["probability"], 1 - rows["probability"]))


def test_an_image_without_pixels_has_no_score():
    rows = rows_of([3.0, 3.0], width=[0, 32], height=[0, 32], errors=["empty file", ""])
    assert rows["label"].tolist() == [b"INVALID", b"FAKE"]
    assert (rows["probability"][0], rows["confidence"][0], rows["logit"][0]) == (-1, 0, 0)
    assert rows["error"].tolist() == [b"empty file", b""]
    assert rows["verdict"][0] == b"uncertain"
    assert rows["reason"][0] == b""


def test_what_is_far_or_of_another_size_is_uncertain_with_the_reason():
    rows = rows_of([9.0, 9.0, 9.0, 9.0], [10.5, 9.5, 0, 0], [32, 32, 640, 15], [32, 32, 427, 40])
    assert rows["in_domain"].tolist() == [False, True, False, False]
    assert rows["verdict"].tolist() == [b"uncertain", b"likely generated", b"uncertain", b"uncertain"]
    assert rows["reason"].tolist() == [
        b"unlike the images that the model was trained and measured on",
        b"",
        b"640 x 427 pixels: the model was trained and measured on sides of 32 pixels",
        b"15 x 40 pixels: the model was trained and measured on sides of 32 pixels",
    ]


def test_a_detector_without_a_longest_side_takes_any_larger_image():
    rows = rows_of([9.0, 9.0], width=[199, 8000], height=[6000, 200], decision=PHOTOGRAPHS)
    assert rows["in_domain"].tolist() == [False, True]
    assert rows["reason"][0] == (
        b"199 x 6000 pixels: the model was trained and measured on sides of 200 and more pixels"
    )


def test_an_empty_batch_has_empty_columns():
    assert {len(values) for values in rows_of([]).values()} == {0}


@pytest.mark.parametrize("decision", [DECISION, PHOTOGRAPHS])
def test_the_numbers_survive_the_bundle(decision):
    assert Decision.from_description(decision.to_description()) == decision
