"""Both notebooks from top to bottom on a small budget, and what may be stored in them."""

import copy
import os

import nbformat
import numpy as np
import pytest
from PIL import Image

from notebooks.execute import HERE, NOTEBOOKS, PICTURES_OF_DATA, execute, find_faults, for_storing
from tests.images import photograph

PER_CLASS = 60


@pytest.fixture
def labelled_folder(request, tmp_path):
    """Images of CIFAKE where it is at hand, else synthetic ones: REAL are smooth, FAKE are noisy."""
    folder = tmp_path / "data"
    for name in ("REAL", "FAKE"):
        (folder / name).mkdir(parents=True)
    try:
        examples = request.getfixturevalue("cifake_train")
    except pytest.skip.Exception:
        generator = np.random.default_rng(0)
        for index in range(PER_CLASS):
            for name, noise in (("REAL", 0), ("FAKE", 60)):
                pixels = np.asarray(photograph(32, 32, index), np.int16)
                pixels = np.clip(pixels + generator.integers(-noise, noise + 1, pixels.shape), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index} ({index % 3 + 1}).png")
    else:
        for label, name in enumerate(("REAL", "FAKE")):
            for index in np.flatnonzero(examples.labels == label)[:PER_CLASS]:
                (folder / name / os.path.basename(examples.names[index])).write_bytes(examples.files[index])
    return folder


def read(name):
    return nbformat.read(HERE / name, as_version=4)


def printed(notebook):
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))


def test_the_training_notebook_runs(labelled_folder, tmp_path):
    small = {"IMAGES": 2 * PER_CLASS, "IMAGE_SIZE": 32, "EPOCHS": 1, "WEIGHTS": "none", "LITERT_DIR": None}
    small |= {"DATA": [str(labelled_folder)], "PRECISION": "float32"}
    done = execute(read("training_notebook.ipynb"), tmp_path, small)
    text = printed(done)
    assert f"taken: {{'REAL': {PER_CLASS}, 'FAKE': {PER_CLASS}}}" in text
    assert "200 {'label': '" in text  # the server's answer
    assert (tmp_path / "runs/notebook/best.weights.h5").is_file()
    assert (tmp_path / "models/deepfake/1/saved_model.pb").is_file()
    assert (tmp_path / "deepfake_models.zip").is_file()
    assert not find_faults(for_storing(done))


def test_the_evaluation_notebook_runs(labelled_folder, tmp_path, exported_model):
    small = {"IMAGES": 40, "ROBUSTNESS_IMAGES": 16, "SECOND_MODEL": str(exported_model.path)}
    done = execute(
        read("evaluation_notebook.ipynb"), tmp_path, small | {"DATA": [str(labelled_folder)], "SPLIT": "all"}
    )
    text = printed(done)
    assert "only_a_right" in text
    assert "out of domain" in text  # the photographs as they are
    assert (tmp_path / "reports/shipped/robustness.json").is_file()
    assert not find_faults(for_storing(done))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_stored_is_a_whole_clean_run(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert not find_faults(notebook)
    assert (HERE / name).stat().st_size < 1_500_000
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_picture_of_the_data_is_marked(name):
    """Each call that draws images of the data stands in a cell whose pictures are not stored."""
    for cell in read(name).cells:
        if any(call in cell.source for call in ("draw_classes(", "draw_errors(", "explain(encoded)")):
            assert PICTURES_OF_DATA in cell.metadata.tags


def notebook_that_printed(text, **more):
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output], **more)])


@pytest.mark.parametrize(
    "text",
    ["Traceback (most recent call last):\n", "wrote /home/anna/x.png", "in '/tmp/tmp123'", "/root/.keras/a", "/work/b"],
)
def test_errors_and_paths_of_a_machine_are_found(text):
    assert find_faults(notebook_that_printed(text))


@pytest.mark.parametrize("text", ["runs/notebook", "http://127.0.0.1:8080/work/x", "models/tmp/1", "1/2 of /predict"])
def test_what_is_no_path_of_a_machine_passes(text):
    assert not find_faults(notebook_that_printed(text))


def test_pictures_of_the_data_are_not_stored():
    picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
    output = nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "x"})
    cell = nbformat.v4.new_code_cell("1", outputs=[output], metadata={"tags": [PICTURES_OF_DATA]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert find_faults(notebook)
    stored = for_storing(copy.deepcopy(notebook))
    assert not find_faults(stored)
    assert "image/png" not in stored.cells[0].outputs[0].data
    cell.metadata.tags.clear()
    assert "image/png" in for_storing(notebook).cells[0].outputs[0].data


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(ValueError, match="EPOCH"):
        execute(read("training_notebook.ipynb"), tmp_path, {"EPOCH": 1})
