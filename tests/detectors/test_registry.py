"""Which detector is asked for an image."""

import pytest

from deepfake_tf.detectors.registry import DETECTORS, choose_detector, find_detector


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (32, 32, "cifake"),
        (64, 16, "cifake"),
        (200, 200, "photograph"),
        (4000, 3000, "photograph"),
        (200, 9000, "photograph"),
        (65, 65, "photograph"),  # neither accepts it: it comes back out of domain
        (199, 640, "photograph"),
        (15, 15, "cifake"),
        (0, 0, "cifake"),  # the header cannot be read
    ],
)
def test_the_size_alone_chooses(width, height, expected):
    assert choose_detector(width, height, DETECTORS) == expected


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_that_is_alone_takes_every_image(name):
    assert {choose_detector(*size, [name]) for size in ((32, 32), (100, 100), (640, 480), (0, 0))} == {name}


def test_between_the_two_neither_accepts():
    assert not any(spec.accepts(side, side) for spec in DETECTORS.values() for side in (65, 128, 199))


def test_an_unknown_name_is_echoed():
    with pytest.raises(ValueError, match=r"one of cifake, photograph. Received: detector='fotos'"):
        find_detector("fotos")
