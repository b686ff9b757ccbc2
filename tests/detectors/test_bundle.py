"""The folder of a detector: written whole, read with every doubt, in the forms of earlier releases too."""

import hashlib
import json

import pytest

from deepfake_tf.detectors.bundle import DESCRIPTION, detector_of, read_bundle, read_card, write_bundle
from deepfake_tf.engines import finding
from deepfake_tf.engines.finding import find_model, find_models

DESCRIBED = {
    "detector": "photograph",
    "variant": "int8",
    "decision": {"threshold": 0.5, "temperature": 1.25, "intercept": -0.5, "uncertain_band": [0.1, 0.9]},
    "domain": {"sides_seen_in_training": [200, None], "sides_accepted": [200, None], "distance_threshold": 3.0},
    "known_image_logit": 1.5,
    "card": {"detector": "photograph"},
}
LIGHT = {"backbone.tflite": b"first", "head.tflite": b"second"}


@pytest.fixture
def folder(tmp_path):
    write_bundle(tmp_path / "photograph" / DESCRIPTION, DESCRIBED, LIGHT)
    return tmp_path / "photograph"


def write_old(folder, name="deepfake"):
    """As releases before bundles wrote a light model."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.tflite").write_bytes(b"network")
    decision = {"threshold": 0.5, "temperature": 2.0, "uncertain_band": [0.25, 0.75]}
    domain = {"sides_seen_in_training": [32, 32], "sides_accepted": [16, 64], "mahalanobis_threshold": 34.5}
    described = {"decision": decision, "domain": domain, "card": {"model": "resnet18"}, "variant": "float16"}
    described["sha256"] = hashlib.sha256(b"network").hexdigest()
    (folder / f"{name}.json").write_text(json.dumps(described))
    return folder / f"{name}.tflite"


def write_saved_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def test_what_is_written_is_read(folder):
    bundle = read_bundle(folder)
    assert bundle.light == (folder / "backbone.tflite", folder / "head.tflite")
    assert (bundle.spec.name, bundle.variant, bundle.known_logit, bundle.card) == (
        "photograph",
        "int8",
        1.5,
        DESCRIBED["card"],
    )
    assert bundle.decision.to_description() == {name: DESCRIBED[name] for name in ("decision", "domain")}
    assert (detector_of(folder), read_card(folder)) == ("photograph", DESCRIBED["card"])
    assert sorted(path.name for path in folder.iterdir()) == ["backbone.tflite", DESCRIPTION, "head.tflite"]


def test_a_damaged_a_missing_and_a_foreign_file_are_named(folder):
    (folder / "head.tflite").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"head\.tflite is damaged"):
        read_bundle(folder)
    (folder / "head.tflite").unlink()
    with pytest.raises(FileNotFoundError, match=r"head\.tflite does not exist"):
        read_bundle(folder)
    description = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**description, "format": 2}))
    with pytest.raises(ValueError, match="update deepfake-tf. Received: format=2"):
        read_bundle(folder)
    (folder / DESCRIPTION).write_text("{}")
    with pytest.raises(ValueError, match=r"lacks \['decision', 'domain', 'light'\]"):
        read_bundle(folder)
    with pytest.raises(FileNotFoundError, match=r"nowhere/detector\.json does not exist"):
        read_bundle(folder / "nowhere")


@pytest.mark.parametrize("renamed", [0, 1, 2, 3])
def test_an_export_that_was_cut_leaves_the_new_bundle_or_the_old_one(folder, tmp_path, renamed):
    write_bundle(
        tmp_path / "new" / DESCRIPTION, {**DESCRIBED, "variant": "new"}, {"backbone.tflite": b"1", "head.tflite": b"2"}
    )
    for index, name in enumerate(("backbone.tflite", "head.tflite", DESCRIPTION)):
        place = name if index < renamed else f".{name}.part"
        (tmp_path / "new" / name).replace(folder / place)
    bundle = read_bundle(folder)
    contents = [file.read_bytes() for file in bundle.light]
    assert (bundle.variant, contents) in (("int8", [b"first", b"second"]), ("new", [b"1", b"2"]))


def test_a_light_model_of_an_earlier_release_is_read(tmp_path):
    bundle = read_bundle(write_old(tmp_path))
    assert (bundle.spec.name, bundle.variant, bundle.known_logit) == ("cifake", "float16", None)
    assert (bundle.decision.intercept, bundle.decision.distance_threshold) == (0.0, 34.5)
    assert read_card(tmp_path / "deepfake.tflite") == {"model": "resnet18"}


def test_each_detector_at_hand_is_found(folder, tmp_path, monkeypatch):
    old = write_old(tmp_path)
    version = write_saved_model(tmp_path / "deepfake" / "1")
    # Of the photograph detector there is no SavedModel: its light model, where TensorFlow is installed too.
    assert find_models(tmp_path, "auto") == {"cifake": version, "photograph": folder}
    assert find_models(tmp_path, "litert") == {"cifake": old, "photograph": folder}
    assert find_models(tmp_path, "saved_model") == {"cifake": version}
    assert find_models(folder, "auto") == {"photograph": folder}
    assert find_model(tmp_path, "auto") == version
    write_bundle(tmp_path / "deepfake" / DESCRIPTION, {**DESCRIBED, "detector": "cifake"}, {"network.tflite": b"light"})
    assert find_models(tmp_path, "litert") == {"cifake": tmp_path / "deepfake", "photograph": folder}
    assert find_model(version, "litert") == tmp_path / "deepfake"
    monkeypatch.setattr(finding, "_is_installed", lambda package: package != "tensorflow")
    assert find_models(tmp_path, "auto") == {"cifake": tmp_path / "deepfake", "photograph": folder}


def test_what_is_missing_is_said(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No SavedModel in .*the light model .*photograph is there"):
        find_model(folder, "saved_model")
    with pytest.raises(FileNotFoundError, match="No LiteRT model .*nowhere"):
        find_model(tmp_path / "nowhere", "litert")
    with pytest.raises(ValueError, match="Received: engine='onnx'"):
        find_model(folder, "onnx")
