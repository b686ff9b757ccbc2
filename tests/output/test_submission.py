"""The hackathon's forms: every file there, in natural order, and one answer each."""

import json

import pytest

from deepfake_tf.contract import Prediction
from deepfake_tf.output.submission import FORMATS, check_names, format_submission, prior_label
from tests.cli.running import run
from tests.images import encode, photograph


def prediction(file, label="REAL", error=""):
    return Prediction(file, "" if error else "cifake", label, 0.9, 0.1, -2.0, True, "likely real", "", 32, 32, error)


ROWS = [
    prediction("test/10.png", "FAKE"),
    prediction("test/2.png"),
    prediction("test/1.png", "INVALID", "damaged"),
    prediction("test/100.png"),
]


def test_one_object_of_file_names_in_natural_order():
    text = format_submission(ROWS, "predictathon", "FAKE")
    assert list(json.loads(text).items()) == [
        ("1.png", "fake"),
        ("2.png", "real"),
        ("10.png", "fake"),
        ("100.png", "real"),
    ]
    assert text.endswith("}\n")


def test_a_list_by_index_in_the_form_of_the_training_labels():
    assert json.loads(format_submission(ROWS, "predictathon-index", "REAL")) == [
        {"index": 1, "prediction": "real"},
        {"index": 2, "prediction": "real"},
        {"index": 10, "prediction": "fake"},
        {"index": 100, "prediction": "real"},
    ]


def test_names_of_text_and_numbers_sort_by_their_numbers():
    names = ["b1.png", "a10.png", "a2.png", "10.png", "9.png", "a.png", "a2b.png", "ü3.png", "02.png", "2.png"]
    text = format_submission([prediction(name) for name in names], "predictathon", "FAKE")
    assert list(json.loads(text)) == [
        *("02.png", "2.png", "9.png", "10.png"),
        *("a2.png", "a2b.png", "a10.png", "a.png", "b1.png", "ü3.png"),
    ]
    assert "ü3.png" in text


@pytest.mark.parametrize("output_format", FORMATS)
def test_two_files_of_one_name_are_refused(output_format):
    with pytest.raises(ValueError, match="a/1.png and b/1.png"):
        check_names(["a/1.png", "a/2.png", "b/1.png"], output_format)


def test_the_form_by_index_takes_numbers_alone():
    check_names(["a/1.png", "cat.png"], "predictathon")
    with pytest.raises(ValueError, match="Received: cat.png"):
        check_names(["1.png", "cat.png"], "predictathon-index")
    with pytest.raises(ValueError, match="1.png and 01.png"):
        check_names(["1.png", "01.png"], "predictathon-index")


@pytest.mark.parametrize(
    ("card", "label"),
    [
        ({}, "FAKE"),  # nothing is known: at a threshold of one half FAKE begins at one half
        ({"decision": {"threshold": 0.6}}, "REAL"),
        ({"data": {"training": {"REAL": 300, "FAKE": 100}}, "decision": {"threshold": 0.5}}, "REAL"),
        ({"data": {"training": {"REAL": 300, "FAKE": 100}}, "decision": {"threshold": 0.2}}, "FAKE"),
    ],
)
def test_the_prior_goes_by_the_training_data_and_the_threshold(card, label):
    assert prior_label(card) == label


@pytest.fixture
def test_images(tmp_path):
    folder = tmp_path / "test" / "test_images"
    folder.mkdir(parents=True)
    for index in (1, 2, 10):
        (folder / f"{index}.png").write_bytes(encode(photograph(32, 32, index), "PNG"))
    return folder


def test_predict_writes_the_submission(test_images, exported_model, tmp_path):
    (test_images / "3.png").write_bytes(b"no image")
    output = tmp_path / "outputs" / "teamname_prediction.json"
    options = ["--format", "predictathon", "--output", output, "--model", exported_model.path]
    result = run("predict", test_images, *options)
    assert result.returncode == 3, result.stderr
    answers = json.loads(output.read_text())
    assert list(answers) == ["1.png", "2.png", "3.png", "10.png"]
    assert set(answers.values()) <= {"real", "fake"}
    assert answers["3.png"] == "fake"
    assert f"{test_images / '3.png'}: not an image" in result.stderr
    assert "answered by the prior: fake" in result.stderr
    assert list(output.parent.iterdir()) == [output]  # nothing temporary is left


def test_predict_prints_the_form_by_index(test_images, exported_model):
    result = run("predict", test_images, "--format", "predictathon-index", "--model", exported_model.path)
    assert result.returncode == 0, result.stderr
    assert [row["index"] for row in json.loads(result.stdout)] == [1, 2, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--provenance"], "--provenance"), (["--resume", "--output", "rows.json"], "--resume")],
)
def test_what_the_form_has_no_place_for_is_refused(test_images, tmp_path, options, message):
    output = [str(tmp_path / option) if option.endswith(".json") else option for option in options]
    result = run("predict", test_images, "--format", "predictathon", *output)
    assert result.returncode == 2
    assert message in result.stderr


def test_files_of_one_name_are_refused_before_a_model_is_loaded(test_images):
    other = test_images.parent / "more"
    other.mkdir()
    (other / "1.png").write_bytes((test_images / "1.png").read_bytes())
    result = run("predict", test_images.parent, "--format", "predictathon", "--model", test_images)
    assert result.returncode == 2
    assert "names each file once" in result.stderr
