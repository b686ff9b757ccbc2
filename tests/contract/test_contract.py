"""What every engine must answer, whichever detector it runs: see the table in conftest.py."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from deepfake_tf.contract import (
    ERROR_DAMAGED,
    ERROR_EMPTY,
    ERROR_NO_SIZE,
    ERROR_TOO_LARGE,
    ERROR_UNKNOWN,
    Prediction,
    Rows,
)
from deepfake_tf.decision.known_image import KNOWN_LOGIT
from deepfake_tf.detectors import registry
from deepfake_tf.engines.finding import engine_class
from deepfake_tf.engines.names import ENGINE_CLASSES
from tests.contract.conftest import DETECTORS, IN_PROCESS, OVER_A_SERVER, PICTURES, SAME_GRAPH
from tests.images import broken_images, png_that_claims

TEXTS = ("detector", "label", "verdict", "reason", "error")
NUMBERS = ("confidence", "probability", "logit")
DTYPES = {
    **dict.fromkeys(TEXTS, np.dtype(object)),
    **dict.fromkeys(NUMBERS, np.dtype(np.float32)),
    "in_domain": np.dtype(bool),
    **dict.fromkeys(("width", "height"), np.dtype(np.int32)),
}
REFUSED = {
    b"": ERROR_EMPTY,
    b"this is no image": ERROR_UNKNOWN,
    png_that_claims(0, 0): ERROR_NO_SIZE,
    png_that_claims(30_000, 30_000): ERROR_TOO_LARGE,
    broken_images()["cut.jpg"][0]: ERROR_DAMAGED,
    broken_images()["cut.webp"][0]: ERROR_DAMAGED,
}


def test_the_table_has_every_detector_and_every_engine():
    assert set(DETECTORS) == set(registry.DETECTORS)
    assert set(IN_PROCESS) == set(ENGINE_CLASSES)


def test_rows_have_the_fields_and_types_of_a_prediction(engine, pictures):
    rows = engine.predict([pictures[0], b"this is no image"])
    assert {name: values.dtype for name, values in rows.items()} == DTYPES
    assert set(rows) == {field.name for field in dataclasses.fields(Prediction)} - {"file"}
    assert {values.shape for values in rows.values()} == {(2,)}
    assert {type(text) for name in TEXTS for text in rows[name]} == {bytes}


def test_rows_are_those_of_the_saved_model(explained, expected, decision, tolerance, engine_name):
    scored = expected["error"] == b""
    assert set(explained) == set(expected)
    edges = np.array([decision.threshold, *decision.band])
    clear = np.abs(expected["probability"][:, None] - edges).min(axis=1) > tolerance.probability
    assert set(expected["label"][clear]) == {b"FAKE", b"REAL", b"INVALID"}  # else what follows shows little
    assert set(expected["in_domain"][scored]) == {True, False}
    for name in ("label", "verdict"):  # nearer to an edge, a rounding decides
        assert explained[name][clear].tolist() == expected[name][clear].tolist(), name
    for name in ("detector", "reason", "error", "in_domain"):
        assert explained[name].tolist() == expected[name].tolist(), name
    told = scored if engine_name == "gateway" else slice(None)  # it says of a refused image why, and not its size
    for name in ("width", "height"):
        assert explained[name][told].tolist() == expected[name][told].tolist(), name
    np.testing.assert_allclose(explained["probability"], expected["probability"], atol=tolerance.probability)
    np.testing.assert_allclose(_maps(explained)[clear], _maps(expected)[clear], atol=tolerance.heatmap)


def test_a_row_follows_from_its_logit(explained, decision, detector):
    scored = explained["error"] == b""
    rows = {name: values[scored] for name, values in explained.items()}
    probability = 1 / (1 + np.exp(-(rows["logit"] / decision.temperature + decision.intercept)))
    np.testing.assert_allclose(rows["probability"], probability, atol=1e-5)
    is_fake = rows["probability"] >= decision.threshold
    assert rows["label"].tolist() == np.where(is_fake, b"FAKE", b"REAL").tolist()
    np.testing.assert_allclose(rows["confidence"], np.where(is_fake, probability, 1 - probability), atol=1e-5)
    low, high = decision.band
    is_sure = rows["in_domain"] & ~((rows["probability"] > low) & (rows["probability"] < high))
    sure = np.where(is_fake, b"likely generated", b"likely real")
    assert rows["verdict"].tolist() == np.where(is_sure, sure, b"uncertain").tolist()
    assert rows["in_domain"].tolist() == (rows["reason"] == b"").tolist()
    assert set(rows["detector"]) == {detector.encode()}


def test_what_cannot_be_read_says_why_in_the_same_words(engine):
    rows = engine.predict(list(REFUSED))
    assert [text.decode() for text in rows["error"]] == list(REFUSED.values())
    no_score = {"detector": b"", "label": b"INVALID", "verdict": b"uncertain", "reason": b"", "in_domain": False}
    for name, value in {**no_score, "confidence": 0.0, "probability": -1.0, "logit": 0.0}.items():
        assert rows[name].tolist() == [value] * len(REFUSED), name


def test_a_broken_image_disturbs_no_other_and_the_order_is_kept(engine, explained, pictures, case):
    among_others = {name: values[:PICTURES] for name, values in explained.items()}
    batch = [image for pair in zip(REFUSED, reversed(pictures), strict=True) for image in pair]
    rows = {name: values[::-2] for name, values in engine.explain(batch).items()}
    assert rows["width"].tolist() == [case.side + index for index in range(PICTURES)]
    assert np.ptp(rows["probability"]) > 100 * SAME_GRAPH.probability  # so a row in another's place would show
    for name in ("probability", "confidence"):
        np.testing.assert_allclose(rows[name], among_others[name], atol=SAME_GRAPH.probability, err_msg=name)
    np.testing.assert_allclose(_maps(rows), _maps(among_others), atol=SAME_GRAPH.heatmap)
    for name in (*TEXTS, "in_domain", "height"):
        assert rows[name].tolist() == among_others[name].tolist(), name


def test_each_row_has_a_map_of_its_detector(explained, case):
    maps = _maps(explained)
    assert (maps.shape[1:], maps.dtype) == (case.heatmap, np.float32)
    assert maps.min() >= 0
    strongest = maps.max(axis=(1, 2))
    assert not strongest[explained["error"] != b""].any()
    is_scaled = np.isclose(strongest, 1, atol=1e-6)
    assert (is_scaled | (strongest == 0)).all()  # 0 too where nothing in the image speaks for the label
    assert is_scaled.sum() >= PICTURES


def test_predict_is_explain_without_the_map(engine, pictures):
    batch = [pictures[0], b"this is no image", pictures[1]]
    predicted, explained = engine.predict(batch), engine.explain(batch)
    assert set(explained) - set(predicted) == {"heatmap"}
    for name, values in predicted.items():
        if name in NUMBERS:
            np.testing.assert_allclose(values, explained[name], atol=SAME_GRAPH.probability, err_msg=name)
        else:
            assert values.tolist() == explained[name].tolist(), name


@pytest.mark.parametrize("engine_name", IN_PROCESS, indirect=True, scope="module")
def test_no_images_give_no_rows(engine, case):
    assert {name: (values.dtype, len(values)) for name, values in engine.predict([]).items()} == {
        name: (dtype, 0) for name, dtype in DTYPES.items()
    }
    assert engine.explain([])["heatmap"].shape == (0, *case.heatmap)


@pytest.mark.parametrize("engine_name", OVER_A_SERVER, indirect=True, scope="module")
@pytest.mark.parametrize("method", ["predict", "explain"])
def test_a_server_is_not_asked_for_no_images(engine, method):
    with pytest.raises(ValueError, match="At least one encoded image is needed. Received: none"):
        getattr(engine, method)([])


@pytest.mark.parametrize("name", IN_PROCESS)
def test_a_model_that_is_computed_wrongly_is_not_used(name, saved_model, light_model, tmp_path):
    model = _with_another_logit(saved_model if name == "saved_model" else light_model, tmp_path / "copy")
    with pytest.raises(ValueError, match=r"computes .* wrongly on this machine and is not used.* known image"):
        engine_class(name)(model)


def _with_another_logit(model: Path, folder: Path) -> Path:
    """The same files, but for the logit of the known image that is stated beside them."""
    source = model if model.is_dir() else model.parent
    shutil.copytree(source, folder, copy_function=os.symlink)
    for file in folder.rglob("*.json"):
        description = json.loads(file.read_text())
        file.unlink()  # and not what it links to
        file.write_text(json.dumps({**description, KNOWN_LOGIT: description[KNOWN_LOGIT] + 1}))
    return folder / model.relative_to(source)


def _maps(rows: Rows) -> np.ndarray:
    """float32 [N, h, w], also where a gateway gives maps one by one."""
    return np.stack(list(rows["heatmap"]))
