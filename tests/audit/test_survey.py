import io

import numpy as np
import pytest
from PIL import Image

from deepfake_tf.audit.survey import METADATA, STATISTICS, TRUNCATED, UNREADABLE, perceptual_hash, read_all
from deepfake_tf.data.examples import Examples
from tests.images import encode, photograph


def read(files, thorough=True):
    labels = np.arange(len(files)) % 2
    examples = Examples([str(i) for i in range(len(files))], labels, files, [""] * len(files))
    return read_all(examples, thorough, workers=2)


def feature(readings, name):
    return readings.rows["metadata"][:, METADATA.index(name)].tolist()


def test_metadata_of_formats():
    picture = photograph(40, 24, seed=0)
    files = [
        encode(picture, "JPEG", quality=90, subsampling=0),
        encode(picture, "JPEG", quality=30, subsampling=2, progressive=True),
        encode(picture, "PNG"),
    ]
    readings = read(files)
    assert feature(readings, "format") == [0, 0, 1]
    assert feature(readings, "width") == [40] * 3
    assert feature(readings, "height") == [24] * 3
    assert feature(readings, "chroma subsampling") == [0, 2, -1]
    assert feature(readings, "progressive") == [0, 1, 0]
    fine, coarse, none = feature(readings, "luma quantisation")
    assert none == 0 < fine < coarse
    assert len(set(feature(readings, "quantisation tables"))) == 3
    assert feature(readings, "bytes per pixel") == pytest.approx([len(file) / 960 for file in files])


def test_metadata_beside_the_pixels():
    picture = photograph(16, 16, seed=0)
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    files = [
        encode(picture, "JPEG"),
        encode(picture, "JPEG", exif=exif),
        encode(picture, "JPEG", icc_profile=b"profile"),
        encode(picture, "JPEG", comment=b"a comment"),
    ]
    readings = read(files)
    assert feature(readings, "EXIF") == [0, 1, 0, 0]
    assert feature(readings, "ICC profile") == [0, 0, 1, 0]
    assert feature(readings, "text") == [0, 0, 0, 1]


def test_digest_is_of_the_pixels_and_their_shape():
    picture = photograph(16, 8, seed=0)
    turned = Image.fromarray(np.asarray(picture).reshape(16, 8, 3))  # the same bytes in another shape
    files = [encode(picture, "PNG"), encode(picture, "BMP"), encode(turned, "PNG")]
    digests = read(files).rows["pixel_digest"]
    assert digests[0] == digests[1] != digests[2]
    assert len(set(read(files).rows["file_digest"].tolist())) == 3


def test_statistics_of_known_pictures():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 100
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    rows = read([encode(Image.fromarray(picture), "PNG") for picture in (red, stripes, noise)]).rows["statistics"]
    of = lambda name: rows[:, STATISTICS.index(name)]
    np.testing.assert_allclose(of("red mean")[:2], [200, 50])
    np.testing.assert_allclose(of("saturation")[:2], [1, 0])
    np.testing.assert_allclose(of("horizontal gradient")[:2], [0, 100], rtol=1e-5)
    np.testing.assert_allclose(of("vertical gradient")[:2], [0, 0])
    np.testing.assert_allclose(of("high-frequency energy")[:2], [0, 0], atol=1e-4)
    assert of("high-frequency energy")[2] > 50


def test_perceptual_hash_survives_what_the_web_does():
    picture = photograph(256, 256, seed=0)
    small = lambda image: image.convert("RGB").resize((32, 32), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=40)
    changed = [Image.open(buffer), picture.resize((120, 120)), picture.point(lambda level: min(255, level * 1.1))]
    original = perceptual_hash(small(picture))
    distances = [(original ^ perceptual_hash(small(image))).bit_count() for image in changed]
    assert max(distances) <= 4


def test_broken_file_leaves_its_row_empty_and_the_others_alone():
    good = encode(photograph(32, 32, seed=0), "JPEG")
    readings = read([good, good[: len(good) // 2], good])
    assert readings.rows["readable"].tolist() == [True, False, True]
    assert readings.problems[1].kind == TRUNCATED
    assert readings.rows["pixel_digest"][1] == 0
    assert readings.rows["file_bytes"][1] == len(good) // 2


def test_what_is_no_image_is_told_which_formats_are_read():
    readings = read([b"<html>404</html>", encode(photograph(16, 16, seed=0), "TIFF")])
    assert set(readings.problems.values()) == {(UNREADABLE, "none of JPEG, PNG, GIF, BMP, WEBP")}


def test_a_camera_s_jpeg_with_a_second_picture_behind_it_is_a_jpeg():
    readings = read([encode(photograph(16, 16, seed=0), "MPO", save_all=True, append_images=[photograph(16, 16, 1)])])
    assert feature(readings, "format") == [0]
    assert not readings.rows["animated"].any()


def test_cheap_pass_agrees_with_the_thorough_one():
    files = [encode(photograph(20, 20, seed), "PNG") for seed in range(3)]
    cheap, thorough = read(files, thorough=False), read(files)
    for field in ("pixel_digest", "file_digest", "metadata"):
        np.testing.assert_array_equal(cheap.rows[field], thorough.rows[field])
    assert not cheap.rows["statistics"].any()


def test_sixteen_bits_are_scaled_not_clipped():
    grey = np.full((8, 8), 0x4000, np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    readings = read([buffer.getvalue()])
    assert readings.rows["statistics"][0][STATISTICS.index("red mean")] == 0x40
