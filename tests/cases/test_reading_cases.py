"""Inputs that were read wrongly, left out, or ended a run: formats, special files, damage, exceptions."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from deepfake_tf import Detector
from deepfake_tf.cli.paths import expand_paths
from deepfake_tf.output.heatmaps import draw_picture
from deepfake_tf.reading import pillow_reader
from deepfake_tf.reading.pictures import open_picture, to_rgb
from deepfake_tf.shipped import shipped_folder
from tests.damaged_files import damaged_files
from tests.images import encode, photograph

pytestmark = pytest.mark.cases

PNG_END_BYTES = 12


@pytest.fixture(scope="module", params=["litert", "saved_model"])
def detector(request):
    return Detector(engine=request.param)


@pytest.fixture(scope="module")
def light():
    return Detector(engine="litert")


def picture(side: int = 32) -> Image.Image:
    y, x = np.mgrid[0:side, 0:side] / side
    channels = (x, y, 0.5 + 0.5 * np.sin(9 * x) * np.cos(7 * y))
    return Image.fromarray((np.stack(channels, -1) * 255).astype(np.uint8))


def grey() -> tuple[np.ndarray, bytes, bytes]:
    """Grey levels uint8, and them in 8 and in 16 bits as PNG."""
    levels = np.asarray(picture().convert("L"))
    return (
        levels,
        encode(Image.fromarray(levels), "PNG"),
        encode(Image.fromarray(levels.astype(np.uint16) * 257), "PNG"),
    )


def run(*arguments, timeout=240):
    command = [sys.executable, "-m", "deepfake_tf.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def wide_png() -> bytes:
    """64 megapixels in one row, in 8 kB."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = zlib.compress(bytes(8_000_001), 9)
    header = struct.pack(">IIBBBBB", 64_000_000, 1, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def bmp_with_height(width: int, height: int) -> bytes:
    return b"BM" + bytes(16) + struct.pack("<ii", width, height) + bytes(6)


# --- 16 bits, and whatever else Pillow and NumPy hand over ------------------------------------


def test_16_bits_are_the_8_that_they_repeat(detector, tmp_path):
    levels, eight, sixteen = grey()
    (tmp_path / "grey16.png").write_bytes(sixteen)
    image = Image.open(io.BytesIO(sixteen))
    assert image.mode == "I;16"
    given = [
        tmp_path / "grey16.png",
        sixteen,
        bytearray(sixteen),
        io.BytesIO(sixteen),
        image,
        image.convert("I"),
        Image.fromarray(levels.astype(np.float32) * 257),
        Image.fromarray(levels).convert("F"),
        Image.fromarray(levels).convert("I"),
        encode(image, "TIFF"),
        levels.astype(np.uint16) * 257,
        levels[:, :, None],
        levels / 255,
        (levels / 255).astype(np.float32),
    ]
    expected = detector.predict(eight).probability
    np.testing.assert_allclose([row.probability for row in detector.predict(given)], expected, atol=1e-6)


def test_every_mode_keeps_its_colours():
    image = picture()
    pixels = np.asarray(image).astype(int)
    dark = np.full((32, 32), 1, np.uint8)  # almost transparent: the colours stay
    tolerances = {"RGBX": 0, "RGBA": 0, "CMYK": 0, "YCbCr": 2, "HSV": 4, "LAB": 4}  # mean; of Pillow's own way there
    for mode, tolerance in tolerances.items():
        assert np.abs(np.asarray(to_rgb(image.convert(mode))) - pixels).mean() <= tolerance, mode
    translucent = image.convert("RGBA")
    translucent.putalpha(Image.fromarray(dark))
    assert np.array_equal(np.asarray(to_rgb(translucent)), pixels)
    levels = np.asarray(image.convert("L"))
    pair = image.convert("LA")
    pair.putalpha(Image.fromarray(dark))
    assert np.array_equal(np.asarray(to_rgb(pair))[..., 0], levels)
    for order in ("<", ">"):
        mode = {"<": "I;16", ">": "I;16B"}[order]
        raw = Image.frombytes(mode, (32, 32), (levels.astype(np.uint16) * 257).astype(f"{order}u2").tobytes())
        assert np.array_equal(np.asarray(to_rgb(raw))[..., 0], levels)
    palette = image.quantize(16)
    palette.info["transparency"] = b"\0" * 3
    assert np.array_equal(np.asarray(to_rgb(palette)), np.asarray(image.quantize(16).convert("RGB")))
    with pytest.raises(ValueError, match="-1 to -1"):
        to_rgb(Image.new("I", (2, 2), -1))


def test_drawings_of_16_bits_are_not_white(light, tmp_path):
    from deepfake_tf.audit.page import thumbnail
    from deepfake_tf.output.heatmaps import draw_sheet, overlay

    levels, _, sixteen = grey()
    for drawn in (
        draw_picture(sixteen),
        open_picture(sixteen, 32),
        overlay(Image.open(io.BytesIO(sixteen)), np.zeros((7, 7))),
    ):
        assert abs(np.asarray(drawn).mean() - levels.mean()) < 3
    sheet = Image.open(io.BytesIO(draw_sheet([light.explain(sixteen)], [sixteen]))).convert("L")
    white = Image.open(io.BytesIO(draw_sheet([light.explain(sixteen)], [encode(Image.new("L", (32, 32), 255), "PNG")])))
    assert np.asarray(sheet).mean() < np.asarray(white.convert("L")).mean() - 1
    (tmp_path / "grey16.png").write_bytes(sixteen)
    assert thumbnail(str(tmp_path / "grey16.png")) == thumbnail(grey()[1])


def test_arrays_of_several_shapes_and_one_batch(detector):
    pixels = np.asarray(picture())
    expected = detector.predict(pixels).probability
    with_alpha = np.dstack([pixels, np.zeros((32, 32), np.uint8)])
    batch = np.stack([pixels, pixels])
    rows = [*detector.predict(batch), *detector.predict(batch / 255), *detector.predict([with_alpha, pixels / 255])]
    assert len(rows) == 6
    np.testing.assert_allclose([row.probability for row in rows], expected, atol=1e-6)
    assert len(detector.explain(batch)) == 2


@pytest.mark.parametrize(
    ("image", "received"),
    [
        (np.zeros((4, 4, 3), np.int32), r"int32 \[4, 4, 3\]"),
        (np.zeros((2, 4, 4, 5), np.uint8), r"uint8 \[4, 4, 5\]"),
        (np.full((4, 4), 255.0), r"float64 \[4, 4\] with values from 255 to 255"),
        (np.full((4, 4), -np.inf), r"from -inf to -inf"),
        (io.StringIO("text"), "gives str"),
        ({}, "dict"),
    ],
)
def test_what_is_not_taken_is_named(light, image, received):
    with pytest.raises((TypeError, ValueError), match=f"Received: .*{received}"):
        light.predict(image)


# --- folders, formats, special files ----------------------------------------------------------


def write_formats(folder) -> tuple[set[str], set[str]]:
    """Files that are scored, and images that are not."""
    large = picture(64)
    scored = {
        "a.jfif": encode(large, "JPEG"),
        "a.jpe": encode(large, "JPEG"),
        "a.JPG": encode(large, "JPEG"),
        "a.tif": encode(large, "TIFF"),
        "a.tiff": encode(large, "TIFF", compression="tiff_lzw"),
        "a.avif": encode(large, "AVIF"),
        "animated.webp": encode(large, "WEBP", save_all=True, append_images=[large.rotate(90)], lossless=True),
        "without_extension": encode(large, "PNG"),
    }
    refused = {"a.svg": b"<svg/>", "a.psd": b"8BPS\0\1", "a.jxl": b"\xff\x0a", "a.nef": b"raw", "a.heif": b"no heif"}
    for name, data in {**scored, **refused, "notes.txt": b"BMW, or a text"}.items():
        (folder / name).write_bytes(data)
    return set(scored), set(refused)


def test_a_folder_gives_a_row_for_every_image_and_each_scored_one_a_score(detector, tmp_path):
    scored, refused = write_formats(tmp_path)
    rows = {os.path.basename(row.file): row for row in detector.predict(expand_paths([str(tmp_path)]))}
    assert set(rows) == scored | refused
    assert {name for name, row in rows.items() if not row.error} == scored
    for name in scored:
        assert (rows[name].width, rows[name].height) == (64, 64)
    for name in refused:
        assert "not an image in a supported format" in rows[name].error
        assert "HEIC" in rows[name].error


def test_the_first_frame_of_an_animation_is_scored(detector):
    first, later = picture(), picture().rotate(90)
    still = detector.predict(first).probability
    for image_format in ("WEBP", "PNG"):
        options = {"lossless": True} if image_format == "WEBP" else {}
        animated = encode(first, image_format, save_all=True, append_images=[later], **options)
        assert detector.predict(animated).probability == pytest.approx(still, abs=1e-6)


@pytest.mark.parametrize("name", ["pillow_heif"])
def test_heic_is_scored(detector, name):
    heif = pytest.importorskip(name)
    heif.register_heif_opener()
    row = detector.predict(encode(picture(64), "HEIF", quality=90))
    assert (row.width, row.height, row.error) == (64, 64, "")
    assert abs(row.logit - detector.predict(picture(64)).logit) < 1.5
    cut = encode(picture(64), "HEIF", quality=90)[:-200]
    assert "damaged" in detector.predict(cut).error


def test_tiff_and_avif_bombs_and_stumps_are_refused(detector):
    wide = Image.new("1", (65_000, 1_000))
    assert "too many pixels" in detector.predict(encode(wide, "TIFF", compression="group4")).error
    for image_format in ("TIFF", "AVIF"):
        encoded = encode(picture(64), image_format)
        assert "damaged" in detector.predict(encoded[: len(encoded) // 2]).error


def test_pipes_and_devices_are_rows(tmp_path):
    picture().save(tmp_path / "good.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe_without_a_name")
    os.symlink("/dev/zero", tmp_path / "zero.jpg")
    os.symlink("/nowhere/at/all", tmp_path / "dangling.png")
    result = run("predict", tmp_path, "--engine", "litert", "--format", "json", timeout=120)
    assert result.returncode == 3, result.stderr
    errors = {os.path.basename(row["file"]): row["error"] for row in json.loads(result.stdout)}
    assert errors == {
        "good.png": "",
        "pipe.jpg": "not a regular file",
        "zero.jpg": "not a regular file",
        "dangling.png": "no such file or directory",
    }
    named = run("predict", "/dev/zero", tmp_path / "pipe.jpg", "--engine", "litert", "--format", "json", timeout=120)
    assert [row["error"] for row in json.loads(named.stdout)] == ["not a regular file"] * 2
    inspected = json.loads(run("inspect", tmp_path, "--format", "json", timeout=120).stdout)
    assert len(inspected) == 4
    assert sum("not a regular file" in report["error"] for report in inspected) == 2


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(-1, -(2**31)), (-(2**31), 1), (0, 5), (5, -(2**31))])
def test_bmp_headers_of_any_sign_are_rows(detector, width, height):
    good, bad = detector.predict([encode(picture(), "PNG"), bmp_with_height(width, height)])
    assert good.error == ""
    assert bad.error
    assert bad.width >= 0
    assert bad.height >= 0


@pytest.mark.parametrize("options", [{"quality": 92}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_missing_end_marker_does_not_matter(detector, options):
    whole = encode(picture(512), "JPEG", **options)
    expected = detector.predict(whole).probability
    for length in (1, 2):
        assert detector.predict(whole[:-length]).probability == pytest.approx(expected, abs=1e-6)
    assert detector.predict(whole + b"what a camera puts behind it").probability == pytest.approx(expected, abs=1e-6)
    assert "damaged" in detector.predict(whole[: len(whole) // 2]).error
    assert "damaged" in detector.predict(whole[: len(whole) // 2].rstrip(b"\xff") + b"\xff").error
    png = encode(picture(), "PNG")
    expected = detector.predict(png).probability
    for length in (1, PNG_END_BYTES):
        assert detector.predict(png[:-length]).probability == pytest.approx(expected, abs=1e-6)
    gif = encode(picture(), "GIF")
    assert detector.predict(gif[:-1]).probability == pytest.approx(detector.predict(gif).probability, abs=1e-6)
    assert draw_picture(whole[:-2]) is not None


def test_damaged_metadata_and_trailing_bytes_do_not_matter(detector):
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    for image_format in ("JPEG", "PNG", "WEBP"):
        plain, noted = (encode(picture(), image_format, **options) for options in ({}, {"exif": exif}))
        at = noted.index(b"Camera")
        broken = noted[:at] + b"\xff" * 6 + noted[at + 6 :]
        rows = detector.predict([plain, broken])
        assert rows[1].probability == pytest.approx(rows[0].probability, abs=1e-6), image_format
    bmp = encode(picture().quantize(20), "BMP")
    rows = detector.predict([bmp, bmp + bytes(77)])
    assert rows[1].probability == pytest.approx(rows[0].probability, abs=1e-6)


def test_a_picture_of_64_million_columns_is_drawn_small_or_not_at_all(light):
    from deepfake_tf.output.heatmaps import draw_sheet

    wide = wide_png()
    drawn = draw_picture(wide)
    assert drawn is None or max(drawn.size) <= 640
    row = light.explain(wide)
    assert (row.prediction.width, row.prediction.height) == (64_000_000, 1)
    assert draw_sheet([row], [wide]).startswith(b"\x89PNG")


def test_engines_refuse_the_same_of_damaged_files():
    files = [data for _, data in damaged_files(290, seed=1)]
    model = shipped_folder() / "deepfake"  # photographs ship without a SavedModel
    rows = {engine: Detector(model, engine=engine).predict(files) for engine in ("litert", "saved_model")}
    for name, a, b in zip(dict(damaged_files(290, seed=1)), *rows.values(), strict=True):
        assert (a.error, a.width, a.height) == (b.error, b.width, b.height), name
        # The shipped .tflite holds 8-bit weights: its own rounding, not the reading, moves the rest.
        assert abs(a.probability - b.probability) < 0.2, name


def test_the_graph_refuses_nearly_the_same_by_itself():
    """For those who ask a server without `Detector`."""
    import tensorflow as tf

    from deepfake_tf.detectors.cifake import SPEC
    from deepfake_tf.reading.tensorflow_batches import read_images

    files = [data for name, data in damaged_files(290, seed=2) if not name.endswith(".gif")]
    _, status, _, _ = read_images(tf.constant(files), SPEC.tensorflow_view, SPEC.view_side)
    refused = [bool(pillow_reader.admit(data)[3]) or bool(pillow_reader.read_image(data).error) for data in files]
    assert np.mean((status.numpy() > 0) != refused) < 0.02


# --- exceptions -------------------------------------------------------------------------------


def test_an_exception_of_one_image_is_its_row(monkeypatch, light):
    """No file is known that raises here any more; what an unknown one would do is put in by hand."""
    detector = Detector(engine="litert")
    engine_call = detector._engine.predict
    poison = encode(photograph(32, 32, seed=9), "PNG")

    def fails_on_poison(encoded):
        if poison in encoded:
            raise OverflowError("an integer does not fit\ninto 32 bits")
        return engine_call(encoded)

    monkeypatch.setattr(detector._engine, "predict", fails_on_poison)
    images = [encode(photograph(32, 32, seed), "PNG") for seed in range(8)]
    rows = list(detector.predict_iter([*images[:4], poison, *images[4:]], batch_size=3))
    assert rows[4].error == "unexpected OverflowError: an integer does not fit into 32 bits"
    assert (rows[4].label, rows[4].probability) == ("INVALID", -1.0)
    del rows[4]
    assert [row.probability for row in rows] == [row.probability for row in light.predict(images)]


def test_how_many_exceptions_there_were_is_one_line():
    from deepfake_tf.contract import count_unexpected, unexpected

    errors = ["", "empty file", unexpected(KeyError("a")), unexpected(MemoryError()), unexpected(KeyError("b"))]
    line = count_unexpected(errors)
    assert "2 KeyError, 1 MemoryError" in line
    assert count_unexpected(errors[:2]) == ""
