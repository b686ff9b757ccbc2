"""One answer from all witnesses: the table of its cases, and the figures it gives."""

from __future__ import annotations

import dataclasses
import json

import pytest

from deepfake_tf import provenance
from deepfake_tf.conclusion import CODES, DETECTOR, FIELDS, NONE, SIDES, WITNESSES, conclude
from deepfake_tf.contract import VERDICT_GENERATED, VERDICT_REAL, VERDICT_UNCERTAIN, Prediction
from deepfake_tf.detectors.bundle import read_card
from deepfake_tf.engines.finding import find_models
from deepfake_tf.provenance import Finding, Report
from deepfake_tf.provenance.watermark import FALSE_ALARMS
from tests.provenance.metadata_files import PARAMETERS, png_with

PREDICTIONS = {
    "generated": Prediction("a.png", "photograph", "FAKE", 0.97, 0.97, 3.0, True, VERDICT_GENERATED, "", 640, 480, ""),
    "real": Prediction("a.png", "photograph", "REAL", 0.9, 0.1, -2.0, True, VERDICT_REAL, "", 640, 480, ""),
    "uncertain": Prediction("a.png", "photograph", "REAL", 0.7, 0.3, -1.0, True, VERDICT_UNCERTAIN, "", 640, 480, ""),
    "outside": Prediction(
        "a.png", "photograph", "FAKE", 0.99, 0.99, 5.0, False, VERDICT_UNCERTAIN, "unlike them", 640, 480, ""
    ),
    "error": Prediction("a.png", "", "INVALID", 0.0, -1.0, 0.0, False, VERDICT_UNCERTAIN, "", 0, 0, "empty file"),
}


def credential(says: str, strength: str = "signed") -> Finding:
    status = {"signed": "valid", "declared": "unknown_signer", "hint": "tampered"}[strength]
    return Finding("C2PA", f"Carries a Content Credential that says {says}.", strength, says, "", status)


FINDINGS = {
    "signed generated": credential("generated"),
    "signed edited": credential("ai_edited"),
    "signed captured": credential("captured"),
    "signed nothing": credential("unknown"),
    "unknown signer generated": credential("generated", "declared"),
    "unknown signer edited": credential("ai_edited", "declared"),
    "unknown signer captured": credential("captured", "declared"),
    "broken generated": credential("generated", "hint"),
    "broken edited": credential("ai_edited", "hint"),
    "broken captured": credential("captured", "hint"),
    "prompt": Finding("PNG text 'parameters'", "Holds what ComfyUI writes into images.", "declared", "generated"),
    "declared edited": Finding("XMP", "Declares that the image was edited with AI.", "declared", "ai_edited"),
    "declared captured": Finding("XMP", "Declares that the image was captured.", "declared", "captured"),
    "watermark": Finding("watermark", "The pixels carry a mark.", "watermark", "generated"),
    "names a generator": Finding("EXIF", "Names Midjourney, which generates images.", "hint", "generated"),
    "names a camera": Finding("EXIF camera", "Names a camera: Nikon D3.", "hint", "captured"),
    "names a program": Finding("EXIF", "Names the program GIMP.", "hint", "unknown"),
}
EVERY = tuple(PREDICTIONS)
UNDECIDED = ("uncertain", "outside", "error")
# What the file says, the detector's verdicts, and the code, side and witness that follow; None: as without the file.
CASES = [
    ("signed generated", EVERY, "signed_generated", "generated", "content_credentials"),
    ("signed edited", EVERY, "signed_edited", "generated", "content_credentials"),
    ("signed captured", ("real", *UNDECIDED), "signed_captured", "real", "content_credentials"),
    ("signed captured", ("generated",), "conflict_signed_capture", "conflict", "content_credentials"),
    ("signed captured, watermark", EVERY, "conflict_signed_capture", "conflict", "content_credentials"),
    ("signed captured, prompt", EVERY, "conflict_signed_capture", "conflict", "content_credentials"),
    ("signed captured, declared edited", EVERY, "conflict_signed_capture", "conflict", "content_credentials"),
    ("signed captured, names a generator", ("uncertain",), "signed_captured", "real", "content_credentials"),
    ("signed generated, names a camera", EVERY, "signed_generated", "generated", "content_credentials"),
    ("unknown signer generated", ("generated", *UNDECIDED), "credential_generated", "generated", "content_credentials"),
    ("unknown signer generated", ("real",), "conflict_generated_claim", "conflict", "content_credentials"),
    ("unknown signer edited", EVERY, "credential_edited", "generated", "content_credentials"),
    ("unknown signer captured", UNDECIDED, "claimed_captured", "unknown", "content_credentials"),
    ("unknown signer captured", ("real",), None, "", ""),
    ("unknown signer captured", ("generated",), "conflict_captured_claim", "conflict", "content_credentials"),
    ("prompt", ("generated", *UNDECIDED), "declared_generated", "generated", "declaration"),
    ("prompt", ("real",), "conflict_generated_claim", "conflict", "declaration"),
    ("prompt, watermark", EVERY, "declared_generated", "generated", "declaration"),
    ("prompt, names a camera", ("uncertain",), "declared_generated", "generated", "declaration"),
    ("prompt, declared captured", EVERY, "conflict_in_file", "conflict", "declaration"),
    ("declared captured, names a generator", EVERY, "conflict_in_file", "conflict", "declaration"),
    ("prompt, unknown signer captured", EVERY, "conflict_in_file", "conflict", "content_credentials"),
    ("declared edited", EVERY, "declared_edited", "generated", "declaration"),
    ("declared edited, declared captured", EVERY, "declared_edited", "generated", "declaration"),
    ("declared captured", UNDECIDED, "claimed_captured", "unknown", "declaration"),
    ("declared captured", ("real",), None, "", ""),
    ("declared captured", ("generated",), "conflict_captured_claim", "conflict", "declaration"),
    ("declared captured, watermark", EVERY, "conflict_captured_claim", "conflict", "declaration"),
    ("watermark", EVERY, "watermark_generated", "generated", "watermark"),
    ("watermark, names a camera", EVERY, "watermark_generated", "generated", "watermark"),
    ("names a generator", UNDECIDED, "hint_generated", "generated", "hints"),
    ("names a generator", ("real",), "conflict_generated_claim", "conflict", "hints"),
    ("names a generator", ("generated",), None, "", ""),
    ("broken generated", UNDECIDED, "hint_generated", "generated", "hints"),
    ("broken edited", ("real", *UNDECIDED), "hint_edited", "generated", "hints"),
    ("broken edited", ("generated",), None, "", ""),
    ("names a camera", UNDECIDED, "hint_captured", "unknown", "hints"),
    ("broken captured", UNDECIDED, "hint_captured", "unknown", "hints"),
    ("names a camera", ("real", "generated"), None, "", ""),
    ("names a program", EVERY, None, "", ""),
    ("signed nothing", EVERY, None, "", ""),
    ("", EVERY, None, "", ""),
]
ALONE = {
    "generated": ("likely_generated", "generated", "detector"),
    "real": ("likely_real", "real", "detector"),
    "uncertain": ("uncertain", "unknown", "none"),
    "outside": ("out_of_domain", "unknown", "none"),
    "error": ("not_scored", "unknown", "none"),
}
EXPANDED = [
    (names, verdict, ALONE[verdict] if code is None else (code, side, witness))
    for names, verdicts, code, side, witness in CASES
    for verdict in verdicts
]


def report_of(names: str) -> Report:
    findings = [FINDINGS[name] for name in filter(None, names.split(", "))]
    return Report("a.png", "PNG", 640, 480, tuple(findings), "What the file says.")


@pytest.mark.parametrize(("names", "verdict", "expected"), EXPANDED)
def test_the_table_of_cases(names, verdict, expected):
    conclusion = conclude(PREDICTIONS[verdict], report_of(names))
    assert (conclusion.code, conclusion.side, conclusion.witness) == expected


@pytest.mark.parametrize("verdict", EVERY)
def test_without_the_file_the_detector_is_asked_alone(verdict):
    conclusion = conclude(PREDICTIONS[verdict])
    assert (conclusion.code, conclusion.side, conclusion.witness) == ALONE[verdict]
    assert [statement.witness for statement in conclusion.statements] == [DETECTOR]


def test_the_table_has_every_code_and_every_answer_is_whole():
    met = {}
    for names, verdict, _ in EXPANDED:
        conclusion = conclude(PREDICTIONS[verdict], report_of(names))
        assert conclusion.witness in WITNESSES
        assert conclusion.side in SIDES
        assert all((conclusion.meaning, conclusion.caution, conclusion.advice))
        assert all(statement.witness in WITNESSES for statement in conclusion.statements)
        assert met.setdefault(conclusion.code, conclusion.sentence) == conclusion.sentence
    assert set(met) == set(CODES)
    assert len(set(met.values())) == len(CODES)


def test_statements_stand_in_the_order_of_their_strength():
    names = ["names a camera", "watermark", "prompt", "unknown signer captured"]
    conclusion = conclude(PREDICTIONS["generated"], report_of(", ".join(names)))
    assert [(statement.witness, statement.side) for statement in conclusion.statements] == [
        ("content_credentials", "real"),
        ("declaration", "generated"),
        ("watermark", "generated"),
        ("detector", "generated"),
        ("hints", "real"),
    ]
    assert [statement.contradicts for statement in conclusion.statements] == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("names", "verdict", "words"),
    [
        ("signed captured, watermark", "real", ("says captured", "carry a mark")),
        ("signed captured, prompt", "uncertain", ("says captured", "ComfyUI")),
        ("declared captured, watermark", "outside", ("was captured", "carry a mark")),
        ("prompt, declared captured", "uncertain", ("ComfyUI", "was captured")),
        ("prompt, unknown signer captured", "error", ("ComfyUI", "says captured")),
        ("declared edited, declared captured, names a generator", "uncertain", ("was captured", "Midjourney")),
        ("declared captured", "generated", ("was captured", "takes the picture for generated")),
        ("prompt", "real", ("ComfyUI", "takes the picture for a photograph")),
    ],
)
def test_a_contradiction_names_both_who_contradict_each_other(names, verdict, words):
    conclusion = conclude(PREDICTIONS[verdict], report_of(names))
    assert conclusion.side == "conflict"
    assert all(word in conclusion.meaning for word in words)


@pytest.mark.parametrize("names", ["watermark", "signed captured, watermark", "declared captured, watermark"])
def test_how_sure_a_watermark_is_follows_from_the_bound_of_its_decoder(names):
    for verdict in EVERY:
        certainty = conclude(PREDICTIONS[verdict], report_of(names)).certainty
        assert f"fewer than 1 in {round(1 / FALSE_ALARMS):,} pictures" in certainty


def test_a_file_that_says_nothing_is_said_to():
    report = dataclasses.replace(report_of(""), summary="The file says nothing.")
    last = conclude(PREDICTIONS["uncertain"], report).statements[-1]
    assert (last.witness, last.side, last.sentence) == (NONE, "unknown", "The file says nothing.")


def test_a_credential_and_its_claim_are_one_statement():
    claim = Finding("C2PA claim", "Its claim was written by a program.", "signed", "generated", "", "valid")
    report = dataclasses.replace(report_of(""), findings=(FINDINGS["signed generated"], claim))
    assert [statement.witness for statement in conclude(PREDICTIONS["real"], report).statements] == [
        "content_credentials",
        "detector",
    ]


def test_a_real_file_with_parameters_of_a_generator():
    report = provenance.inspect(png_with(parameters=PARAMETERS))
    conclusion = conclude(PREDICTIONS["uncertain"], report)
    assert conclusion.code == "declared_generated"
    assert "Stable Diffusion WebUI" in conclusion.explanation
    assert "cannot tell" in conclusion.explanation


def test_the_figures_are_those_of_the_card():
    card = {
        "out_of_fold": {
            "real": {"likely_generated": 0.012, "likely_real": 0.41, "uncertain": 0.578},
            "generated": {"likely_generated": 0.33, "likely_real": 0.004, "uncertain": 0.666},
        }
    }
    generated = conclude(PREDICTIONS["generated"], card=card)
    assert "about 97 are generated" in generated.certainty
    assert "took 1 of 100 photographs for generated, and recognised 33 of 100 generated" in generated.certainty
    real = conclude(PREDICTIONS["real"], card=card)
    assert "about 90 are photographs" in real.certainty
    assert "took 4 of 1,000 generated pictures for photographs, and recognised 41 of 100" in real.certainty
    open_answer = conclude(PREDICTIONS["uncertain"], card=card).certainty
    assert "left 67 of 100 generated pictures open, and 58 of 100 photographs" in open_answer
    conflict = conclude(PREDICTIONS["real"], report_of("prompt"), card)
    assert "4 of 1,000 generated pictures" in conflict.explanation
    conflict = conclude(PREDICTIONS["generated"], report_of("signed captured"), card)
    assert "1 of 100 photographs" in conflict.explanation
    of_validation = conclude(PREDICTIONS["real"], card={"decision": {"validation_accuracy_outside_band": 0.9969}})
    assert "3 of 1,000 verdicts were wrong" in of_validation.certainty
    assert "In its test" not in conclude(PREDICTIONS["real"]).certainty


def test_cards_that_ship_have_figures_for_each_verdict():
    for model in find_models(engine="auto").values():
        for verdict in ("generated", "real", "uncertain"):
            assert "In its test" in conclude(PREDICTIONS[verdict], card=read_card(model)).certainty


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.055, "leans towards a photograph, but of 100 pictures that it rates like this one about 6 are generated"),
        (0.001, "about 1 are generated"),
        (0.5, "about half are generated"),
        (0.9, "leans towards generated, but of 100 pictures that it rates like this one about 10 are photographs"),
    ],
)
def test_an_uncertain_picture_is_told_which_way_it_leans(probability, words):
    prediction = dataclasses.replace(PREDICTIONS["uncertain"], probability=probability)
    assert words in conclude(prediction).certainty


def test_the_file_never_changes_the_prediction():
    before = dataclasses.replace(PREDICTIONS["real"])
    conclude(PREDICTIONS["real"], report_of("prompt, watermark"))
    assert PREDICTIONS["real"] == before


def test_words_of_a_file_hold_nothing_that_steers_a_terminal():
    hostile = Finding("XMP\x1b[31m", "Declares\x1b[2J that\u202e it was generated.", "declared", "generated")
    for verdict in EVERY:
        report = dataclasses.replace(report_of(""), findings=(hostile,))
        text = json.dumps(conclude(PREDICTIONS[verdict], report).to_dict(), ensure_ascii=False)
        assert "\x1b" not in json.loads(text)["meaning"]
        assert "\u202e" not in text


def test_as_a_row_and_as_json():
    conclusion = conclude(PREDICTIONS["real"], report_of("watermark"))
    row = conclusion.to_row()
    assert tuple(row) == FIELDS
    assert row["conclusion"] == "watermark_generated"
    assert row["witness"] == "watermark"
    assert json.loads(json.dumps(conclusion.to_dict()))["statements"][0]["witness"] == "watermark"
