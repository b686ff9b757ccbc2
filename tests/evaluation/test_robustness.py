"""The battery's changes one by one, and the report over all of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages
from deepfake_tf.evaluation.robustness import CONDITIONS, evaluate_robustness


@pytest.fixture
def photograph() -> np.ndarray:
    """uint8 [24, 32, 3]: smooth shapes with some texture, all three channels different."""
    y, x = np.mgrid[0:24, 0:32] / 32
    waves = np.stack([np.sin(6 * x + 2 * y), np.cos(5 * y - 3 * x), np.sin(9 * x * y)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.05, waves.shape)
    return np.uint8(np.clip(127 + 90 * (waves + noise), 0, 255))


def difference(name: str, image: np.ndarray) -> float:
    """Root mean square change, in grey levels."""
    return float(np.sqrt(np.mean(np.square(CONDITIONS[name](image).astype(float) - image))))


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_changes_pixels_and_is_deterministic(name, photograph):
    before = photograph.copy()
    changed = CONDITIONS[name](photograph)
    np.testing.assert_array_equal(photograph, before)
    assert changed.dtype == np.uint8
    assert changed.shape == ((19, 26, 3) if name == "centre crop 80 %" else photograph.shape)
    assert changed.shape != photograph.shape or (changed != photograph).any()
    np.testing.assert_array_equal(CONDITIONS[name](photograph), changed)
    assert CONDITIONS[name](photograph[:1, :1]).shape == (1, 1, 3)  # the smallest image there is


def test_the_battery_is_complete():
    assert len(CONDITIONS) == 23


@pytest.mark.parametrize(
    "names",
    [
        [f"JPEG quality {quality}" for quality in (90, 70, 50, 30)],
        [f"blur sigma {sigma}" for sigma in ("0.5", "1", "2")],
        [f"noise {sigma}/255" for sigma in (2, 8, 16)],
        [f"resize {factor} and back" for factor in (0.75, 0.5)],
    ],
    ids=["jpeg", "blur", "noise", "resize"],
)
def test_stronger_settings_change_more(names, photograph):
    changes = [difference(name, photograph) for name in names]
    assert changes == sorted(changes)
    assert changes[0] < changes[-1]


def test_noise_has_the_stated_strength_and_differs_between_images():
    grey = np.full((64, 64, 3), 128, np.uint8)
    for sigma in (2, 8, 16):
        assert difference(f"noise {sigma}/255", grey) == pytest.approx(sigma, rel=0.05)
    noise = [CONDITIONS["noise 8/255"](image).astype(int) - image for image in (grey, grey + np.uint8(1))]
    assert not np.array_equal(*noise)


def test_blur_is_a_gaussian_of_the_stated_width():
    edge = np.zeros((1, 40, 3), np.uint8)
    edge[:, 20:] = 255
    for sigma in ("0.5", "1", "2"):
        profile = CONDITIONS[f"blur sigma {sigma}"](edge)[0, :, 0].astype(float)
        positions = np.arange(39) + 0.5  # of the steps between pixels; blurring an edge spreads them as a Gaussian
        spread = np.sqrt(np.average((positions - 19.5) ** 2, weights=np.diff(profile)))
        assert spread == pytest.approx(float(sigma), rel=0.1)


def test_brightness_contrast_grey_flip_and_crop_do_what_they_say(photograph):
    flat = np.full((10, 10, 3), 100, np.uint8)
    assert (CONDITIONS["brightness -20 %"](flat) == 80).all()
    assert (CONDITIONS["brightness +20 %"](flat) == 120).all()
    assert (CONDITIONS["contrast +20 %"](flat) == 100).all()
    low, high = (CONDITIONS[f"contrast {sign}20 %"](photograph).std() / photograph.std() for sign in "-+")
    assert low < 0.85
    assert high > 1.1
    grey = CONDITIONS["greyscale"](photograph)
    assert (grey == grey[:, :, :1]).all()
    np.testing.assert_array_equal(CONDITIONS["horizontal flip"](photograph), photograph[:, ::-1])
    np.testing.assert_array_equal(CONDITIONS["centre crop 80 %"](photograph), photograph[2:21, 3:29])


def test_saturation_and_hue_do_what_they_say(photograph):
    orange = np.full((4, 4, 3), (200, 120, 40), np.uint8)
    luma = 134.8  # .299 R + .587 G + .114 B
    for name, factor in (("saturation -50 %", 0.5), ("saturation +50 %", 1.5)):
        expected = np.clip(luma + factor * (orange[0, 0] - luma), 0, 255)
        np.testing.assert_allclose(CONDITIONS[name](orange)[0, 0], expected, atol=1)
    # Orange lies at 30 degrees of HSV's circle: green halfway between red and blue.
    np.testing.assert_allclose(CONDITIONS["hue +20 degrees"](orange)[0, 0], (200, 40 + 160 * 50 / 60, 40), atol=4)
    np.testing.assert_allclose(CONDITIONS["hue -20 degrees"](orange)[0, 0], (200, 40 + 160 * 10 / 60, 40), atol=4)
    there_and_back = CONDITIONS["hue +20 degrees"](CONDITIONS["hue -20 degrees"](photograph)).astype(int)
    assert np.abs(there_and_back - photograph).mean() < 3


class BlueMeansFake(tf.Module):
    """Stands in for a detector that greyscale fools and nothing else does."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")])
    def from_pixels(self, pixels):
        red, _, blue = tf.unstack(tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2]), axis=1)
        return {"probability": tf.sigmoid((blue - red) / 10)}


@pytest.mark.parametrize("sizes", [[(32, 32)] * 8, [(32, 32), (20, 28)] * 4], ids=["one size", "several sizes"])
def test_report_shows_what_fools_the_model(tmp_path, sizes):
    generator = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    files = []
    for label, (height, width) in zip(labels, sizes):
        pixels = generator.integers(60, 100, (height, width, 3), np.uint8)
        pixels[:, :, 2 * label] += np.uint8(80)
        files.append(tf.io.encode_png(pixels).numpy())
    images = DecodedImages(Examples([str(index) for index in range(8)], labels, files, [""] * 8), image_size=32)
    module = BlueMeansFake()
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"from_pixels": module.from_pixels})

    rows = evaluate_robustness(tmp_path / "model", images, tmp_path / "out", threshold=0.5)

    assert [row["condition"] for row in rows] == ["clean", *CONDITIONS]
    assert rows[0]["accuracy"] == rows[0]["auc"] == rows[0]["tpr_at_1_percent_fpr"] == 1.0
    for row in rows:
        expected = 0.5 if row["condition"] == "greyscale" else 1.0
        assert row["accuracy"] == expected, row["condition"]
        assert row["accuracy_low"] <= expected <= row["accuracy_high"]
        assert row["drop_points"] == 100 * (1 - expected)
    report = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert report["conditions"] == rows
    assert report["worst_condition"] == "greyscale"
    assert report["mean_drop_points"] == pytest.approx(50 / 23)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["robustness.json", "robustness.png"]
    with Image.open(tmp_path / "out" / "robustness.png") as image:
        assert min(image.size) > 500
