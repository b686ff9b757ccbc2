"""The four variants: interface, size, agreement with Keras and the SavedModel."""

from __future__ import annotations

import itertools
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from deepfake_tf.benchmark.litert import format_rows
from deepfake_tf.cli import main
from deepfake_tf.data.examples import Examples
from deepfake_tf.data.pipeline import DecodedImages
from deepfake_tf.decision.domain import Domain, feature_distance
from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.engines.detector import Detector
from deepfake_tf.engines.litert import LiteRTEngine
from deepfake_tf.engines.saved_model import SavedModelEngine
from deepfake_tf.export.from_run import export_run
from deepfake_tf.export.litert import OUTPUTS, VARIANTS, export_litert, square_pixels
from deepfake_tf.export.savedmodel import exported_of
from deepfake_tf.export.warmup import WARMUP_FILE
from deepfake_tf.networks import build_model, with_features
from tests.images import encode, photograph

BYTES_AT_MOST = {"float32": 46e6, "float16": 23.2e6, "dynamic_int8": 12e6, "int8": 12e6}
SYNTHETIC, REAL = 64, 512  # images


@pytest.fixture(scope="module")
def domain():
    generator = np.random.default_rng(0)
    means = generator.uniform(0, 1, (2, 512)).astype(np.float32)
    whitening = np.tril(generator.normal(0, 1, (512, 512))).astype(np.float32)
    return Domain(32, 64, means, whitening, threshold=1e6)


@pytest.fixture(scope="module")
def pixels():
    return np.stack([np.asarray(photograph(224, 224, seed)) for seed in range(100, 100 + SYNTHETIC)])


@pytest.fixture(scope="module")
def files(exported_model, domain, tmp_path_factory):
    representative = np.stack([np.asarray(photograph(224, 224, seed)) for seed in range(16)])
    folder = tmp_path_factory.mktemp("variants")
    exported = exported_of(exported_model.keras_model, domain)
    return export_litert(exported, exported_model.calibration, exported_model.card, representative, folder)


@pytest.fixture(scope="module")
def outputs(files, pixels):
    """variant -> the outputs for `pixels`."""
    return {variant: LiteRTEngine(file).run(pixels) for variant, file in files.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_interface(files, variant):
    interpreter = Interpreter(str(files[variant]))
    (images,) = interpreter.get_input_details()
    assert (images["name"], images["shape"].tolist(), images["dtype"]) == ("pixels", [1, 224, 224, 3], np.uint8)
    found = [(output["name"], output["shape"].tolist(), output["dtype"]) for output in interpreter.get_output_details()]
    shapes = ([1, 1], [1, 7, 7], [1, 1], [1, 1])
    assert found == [(name, shape, np.float32) for name, shape in zip(OUTPUTS, shapes)]
    assert files[variant].stat().st_size <= BYTES_AT_MOST[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_can_be_resized(files, outputs, pixels, variant):
    interpreter = Interpreter(str(files[variant]), num_threads=2)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [3, 224, 224, 3])
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[:3])
    interpreter.invoke()
    probability = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(probability, outputs[variant]["probability"][:3], atol=1e-2)


def test_float32_agrees_with_keras(outputs, pixels, exported_model, domain):
    network = with_features(exported_model.keras_model)
    expected = network.predict(pixels.astype(np.float32) / 127.5 - 1.0, verbose=0)
    actual = outputs["float32"]
    probability = 1 / (1 + np.exp(-expected["logit"] / exported_model.calibration.temperature))
    np.testing.assert_allclose(actual["probability"], probability, atol=1e-4)
    np.testing.assert_allclose(actual["logit"], expected["logit"], atol=1e-3)
    distance = feature_distance(expected["features"].mean(axis=(1, 2)), domain)
    np.testing.assert_allclose(actual["distance"][:, 0], distance, rtol=1e-4)


def test_heatmaps_agree_with_the_saved_model(outputs, pixels, exported_model):
    images = [encode_exactly(image) for image in pixels[:8]]
    expected = SavedModelEngine(exported_model.path).explain(images)
    np.testing.assert_allclose(outputs["float32"]["heatmap"][:8], expected["heatmap"], atol=1e-3)
    np.testing.assert_allclose(outputs["float32"]["probability"][:8, 0], expected["probability"], atol=1e-4)


def test_reduced_precision_stays_close(outputs):
    assert_close_enough(outputs)
    for variant in ("float16", "dynamic_int8", "int8"):
        ratio = outputs[variant]["distance"] / outputs["float32"]["distance"]
        np.testing.assert_allclose(ratio, 1.0, atol=0.1)


@pytest.mark.real_data
def test_parity_on_real_images(files, exported_model, cifake_train):
    some = np.linspace(0, len(cifake_train) - 1, REAL).astype(int)
    examples = cifake_train.take(some)
    images = square_pixels(DecodedImages(examples))
    outputs = {variant: LiteRTEngine(file).run(images) for variant, file in files.items()}
    assert_close_enough(outputs)
    full = SavedModelEngine(exported_model.path)
    encoded = [read(file) for file in examples.files]
    expected = [full.predict(encoded[start : start + 32])["probability"] for start in range(0, REAL, 32)]
    np.testing.assert_allclose(outputs["float32"]["probability"][:, 0], np.concatenate(expected), atol=1e-4)


def test_the_description_travels_beside_and_inside(files, exported_model):
    description = json.loads(files["int8"].with_suffix(".json").read_text())
    assert description["variant"] == "int8"
    assert description["labels"] == {"REAL": 0, "FAKE": 1}
    assert description["decision"]["uncertain_band"] == list(exported_model.calibration.band)
    assert description["domain"]["sides_accepted"] == [16, 128]
    assert json.dumps(exported_model.card).encode() in files["int8"].read_bytes()


def test_no_unfinished_files_stay(files):
    names = sorted(path.name for path in files["int8"].parent.iterdir())
    assert names == sorted(f"deepfake_{variant}{suffix}" for variant in VARIANTS for suffix in (".json", ".tflite"))


def test_a_run_with_smaller_squares_is_exported_whole(write_images, tmp_path_factory):
    made = tmp_path_factory.mktemp("made")  # beside the images, whose folder may hold nothing else
    folder = write_images({"REAL": 16, "FAKE": 16}, size=(32, 32))
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.png"))]
    labels = np.array([int(name.startswith("FAKE")) for name in names])
    examples = Examples(names, labels, [str(folder / name) for name in names], [""] * len(names))
    run_dir = made / "run"
    run_dir.mkdir()
    (run_dir / "config.json").write_text(TrainingConfig(image_size=112, degradation=0.5).to_json())
    network = build_model("resnet18", 112)
    network.save_weights(run_dir / "best.weights.h5")
    for file, parity in (("train_files.txt", 0), ("validation_files.txt", 1)):
        (run_dir / file).write_text("".join(f"{name}\n" for name in names[parity::2]))
    card = export_run(run_dir, examples, made / "deepfake" / "1", litert=made / "variants")
    assert len(list((made / "variants").glob("*.tflite"))) == len(VARIANTS)
    graph = (made / "deepfake" / "1" / "saved_model.pb").read_bytes()
    assert len(zlib.compress(graph)) < 0.65 * len(graph)  # unrounded weights: 0.93
    warmup = (made / "deepfake" / "1" / WARMUP_FILE).read_bytes()  # a model is passed on: no image goes with it
    assert not any(Path(file).read_bytes() in warmup for file in examples.files)
    full = Detector(made / "deepfake").explain(list(examples.files[:4]))
    squares = square_pixels(DecodedImages(examples.take(np.arange(4)))) / np.float32(127.5) - 1
    logits = network.predict_on_batch(squares.reshape(4, 112, 2, 112, 2, 3).mean(axis=(2, 4)))[:, 0]
    assert [one.prediction.logit for one in full] == pytest.approx(logits, rel=2e-2, abs=2e-2)
    temperature, intercept = card["decision"]["temperature"], card["decision"]["intercept"]
    probabilities = [1 / (1 + np.exp(-one.prediction.logit / temperature - intercept)) for one in full]
    assert [one.prediction.probability for one in full] == pytest.approx(probabilities, abs=1e-5)
    for variant, tolerance in (("float32", 1e-3), ("int8", 0.1)):
        light = Detector(made / "variants" / f"deepfake_{variant}.tflite")
        assert light.card == json.loads(json.dumps(card))
        for here, there in zip(light.explain(list(examples.files[:4])), full):
            assert here.heatmap.shape == there.heatmap.shape == (4, 4)
            assert here.prediction.probability == pytest.approx(there.prediction.probability, abs=tolerance)
    # The SavedModel holds all that it takes to make them again.
    again = ["export", str(made / "deepfake" / "1"), "--litert", str(made / "again"), "--data", str(folder)]
    assert main([*again, "--verbose"]) == 0
    pixels = square_pixels(DecodedImages(examples.take(np.arange(4))))
    for variant in ("float32", "dynamic_int8"):
        first, second = (
            LiteRTEngine(made / folder_of / f"deepfake_{variant}.tflite").run(pixels)
            for folder_of in ("variants", "again")
        )
        for name, values in first.items():
            np.testing.assert_allclose(second[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
    for arguments in (["--litert", str(made / "x")], ["--data", str(folder)], ["--output", str(made / "x")]):
        with pytest.raises(ValueError, match="is a SavedModel already"):
            main([*again[:2], "--verbose", *arguments])
    # It is calibrated anew without the run, here in its own place: the file lists' split is not the card's.
    with pytest.raises(ValueError, match=r"not the data .* Received: \{'REAL': 3, 'FAKE': 3\}"):
        main([*again[:2], "--verbose", "--data", str(folder), "--output", str(made / "deepfake" / "1")])


def test_depthwise_kernels_are_float_in_dynamic_int8_and_eight_bits_in_int8(exported_model, pixels, tmp_path):
    """XNNPACK has no dynamic eight-bit kernel for them: the file would be slower than float32."""
    network = build_model("efficientnet_lite0", 56)
    domain = Domain(32, 64, np.zeros((2, 1280), np.float32), np.eye(1280, 4, dtype=np.float32), threshold=1e6)
    arguments = exported_of(network, domain), exported_model.calibration, {}, pixels[:8], tmp_path
    logits = {}
    for variant, file in export_litert(*arguments, ("float32", "dynamic_int8", "int8")).items():
        logits[variant] = LiteRTEngine(file).run(pixels[:8])["logit"]
        interpreter = Interpreter(str(file))
        tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        kernels = [
            tensors[operator["inputs"][1]]
            for operator in interpreter._get_ops_details()
            if operator["op_name"] == "DEPTHWISE_CONV_2D"
        ]
        assert len(kernels) == 16
        assert {kernel["dtype"] for kernel in kernels} == {np.int8 if variant == "int8" else np.float32}
    spread = np.ptp(logits["float32"])
    assert np.abs(logits["dynamic_int8"] - logits["float32"]).max() < 0.25 * spread


def test_wrong_arguments_are_refused(exported_model, domain, tmp_path):
    exported = exported_of(exported_model.keras_model, domain)
    make = lambda representative, variants=VARIANTS: export_litert(
        exported, exported_model.calibration, {}, representative, tmp_path, variants
    )
    with pytest.raises(ValueError, match=r"Received: \['int4'\]"):
        make(np.zeros((1, 224, 224, 3), np.uint8), ("int4",))
    with pytest.raises(ValueError, match=r"Received: float32 \[1, 32, 32, 3\]"):
        make(np.zeros((1, 32, 32, 3), np.float32))


def test_square_pixels_are_what_the_network_reads(pixels):
    files = [encode(photograph(32, 32, seed), "PNG") for seed in range(3)]
    labels = np.array([0, 1, 0])
    images = DecodedImages(Examples(["a", "b", "c"], labels, files, [""] * 3))
    squares = square_pixels(images)
    assert (squares.dtype, squares.shape) == (np.uint8, (3, 224, 224, 3))
    np.testing.assert_array_equal(squares[:, 3::7, 3::7], images.pixels)  # 224 = 7 x 32: the middles are kept


def test_the_benchmark_command_measures_every_variant(files, write_images, tmp_path, capsys):
    data = write_images({"REAL": 4, "FAKE": 4}, size=(32, 32))
    command = ["benchmark", "--litert", str(files["int8"].parent), "--data", str(data), "--split", "all"]
    assert main([*command, "--limit", "6", "--quick", "--verbose", "--output", str(tmp_path / "report")]) == 0
    table = capsys.readouterr().out
    rows = json.loads((tmp_path / "report" / "litert.json").read_text())
    pairs = list(itertools.product(VARIANTS, ("LiteRT", "OpenVINO engine")))
    assert [(row["variant"], row["engine"]) for row in rows] == pairs
    assert (tmp_path / "report" / "litert.md").read_text() == table == format_rows(rows)
    assert rows[0]["probability_difference_max"] == rows[0]["accuracy_drop"] == 0
    for row in rows:
        assert row["images"] == 6
        assert row["bytes"] == files[row["variant"]].stat().st_size
        assert row["peak_memory_mib"] > row["bytes"] / 2**20
        assert all(milliseconds > 0 for milliseconds in row["latency_ms"].values())
        assert row["images_per_second"] > 0


def test_the_benchmark_leaves_out_what_an_engine_cannot_use(files, write_images, tmp_path, capsys):
    data = write_images({"REAL": 4, "FAKE": 4}, size=(32, 32))
    for variant in ("float32", "int8"):
        shutil.copy(files[variant], tmp_path)
        shutil.copy(files[variant].with_suffix(".json"), tmp_path)
    (tmp_path / "deepfake_int8.tflite").write_bytes(b"damaged")
    command = ["benchmark", "--litert", str(tmp_path), "--data", str(data), "--split", "all", "--limit", "2", "--quick"]
    assert main([*command, "--verbose"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("| float32 |") == 2
    assert "| int8 |" not in captured.out
    assert "left out: int8 by LiteRT: " in captured.err
    assert "left out: int8 by OpenVINO engine: " in captured.err


def test_the_benchmark_says_what_it_lacks(tmp_path, write_images):
    data = write_images({"REAL": 4, "FAKE": 4})
    for arguments, complaint in (
        (["--litert", str(tmp_path)], "--data"),
        (["--litert", str(tmp_path), "--data", str(data), "--split", "all"], "deepfake_float32.tflite does not exist"),
        (["--litert", str(tmp_path), "--data", str(data), "--split", "all", "--limit", "0"], "Received: 0"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=complaint):
            main(["benchmark", "--verbose", *arguments])


def assert_close_enough(outputs: dict[str, dict[str, np.ndarray]]) -> None:
    expected = outputs["float32"]["probability"]
    np.testing.assert_allclose(outputs["float16"]["probability"], expected, atol=5e-3)
    decided = np.abs(expected - 0.5) > 0.05  # random weights, unlike trained ones, leave most images near the threshold
    assert decided.sum() >= len(expected) / 4
    for variant in ("dynamic_int8", "int8"):
        agrees = (outputs[variant]["probability"] >= 0.5) == (expected >= 0.5)
        assert agrees[decided].mean() >= 0.99, variant


def encode_exactly(pixels: np.ndarray) -> bytes:
    return encode(Image.fromarray(pixels), "PNG")


def read(file: str | bytes) -> bytes:
    return Path(file).read_bytes() if isinstance(file, str) else file
