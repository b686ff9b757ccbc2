import pytest

from deepfake_tf.detectors.cifake.config import TrainingConfig
from deepfake_tf.text import printable
from deepfake_tf.training.run_directory import check_new, check_resumable, load_network, read_names, write_names


def test_a_name_is_a_line_whatever_it_holds(tmp_path):
    names = [
        "a.png",
        "two\nlines.png",
        "cr\r.png",
        "a\x85b.png",
        "a\u2028b.png",
        "a\x1cb.png",
        "latin1_\udce9.png",
        "ü.png",
    ]
    write_names(tmp_path / "names.txt", names)
    assert read_names(tmp_path / "names.txt") == [printable(name) for name in names]
    assert (tmp_path / "names.txt").read_bytes().count(b"\n") == len(names)
    write_names(tmp_path / "names.txt", [])
    assert read_names(tmp_path / "names.txt") == []


@pytest.mark.parametrize("file", ["config.json", "recipe.json"])
def test_a_run_is_known_by_its_configuration(tmp_path, file):
    check_new(tmp_path / "new")
    with pytest.raises(FileNotFoundError, match="Nothing to resume.*without --resume"):
        check_resumable(tmp_path)
    (tmp_path / file).write_text("{}")
    check_resumable(tmp_path)
    with pytest.raises(FileExistsError, match="holds a run already. Go on with it by --resume, or name another"):
        check_new(tmp_path)
    with pytest.raises(FileExistsError, match="already. Name another --run-dir"):
        check_new(tmp_path, resumable=False)
    with pytest.raises(NotADirectoryError, match="--run-dir"):
        check_new(tmp_path / file)


def test_a_run_without_weights_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(TrainingConfig().to_json())
    with pytest.raises(FileNotFoundError, match=r"holds none of best.weights.h5, teacher.npz"):
        load_network(tmp_path)
