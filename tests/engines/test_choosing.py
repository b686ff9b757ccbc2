"""Several detectors behind one engine."""

import io

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.engines.choosing import ChoosingEngine


class EchoEngine:
    """Answers with the length of each file, and with a map of its own size."""

    def __init__(self, side: int):
        self.side = side
        self.calls: list[int] = []

    def predict(self, encoded):
        self.calls.append(len(encoded))
        return {
            "logit": np.array([len(image) for image in encoded], np.float32),
            "label": np.array([b"FAKE" if image else b"INVALID" for image in encoded], object),
            "error": np.array([b"" if image else b"empty file" for image in encoded], object),
        }

    def explain(self, encoded):
        return {**self.predict(encoded), "heatmap": np.zeros((len(encoded), self.side, self.side), np.float32)}


def encode(width, height):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def engines():
    return {"cifake": EchoEngine(7), "photograph": EchoEngine(14)}


@pytest.fixture
def choosing(engines):
    return ChoosingEngine({name: lambda name=name: engines[name] for name in engines})


def test_rows_come_back_in_order_and_say_who_judged(choosing, engines):
    images = [encode(640, 480), encode(32, 32), b"", encode(300, 200), encode(32, 31)]
    rows = choosing.predict(images)
    assert rows["logit"].tolist() == [len(image) for image in images]
    assert rows["detector"].tolist() == [b"photograph", b"cifake", b"", b"photograph", b"cifake"]
    assert rows["label"][2] == b"INVALID"
    assert [engine.calls for engine in engines.values()] == [[3], [2]]


def test_each_map_has_its_detectors_size(choosing):
    heatmaps = choosing.explain([encode(640, 480), encode(32, 32)])["heatmap"]
    assert [heatmap.shape for heatmap in heatmaps] == [(14, 14), (7, 7)]


def test_a_detector_is_loaded_when_an_image_for_it_comes_and_once():
    loaded = []

    def loader(name):
        def load():
            loaded.append(name)
            return EchoEngine(7)

        return load

    choosing = ChoosingEngine({name: loader(name) for name in ("cifake", "photograph")})
    assert not loaded
    for _ in range(2):
        choosing.predict([encode(32, 32)])
    assert loaded == ["cifake"]
    choosing.predict([encode(500, 500)])
    assert loaded == ["cifake", "photograph"]
