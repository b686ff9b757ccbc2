"""Where labelled images come from: what is given, else what a run remembers; the options stay as they were typed."""

import json

import pytest

from deepfake_tf.cli.data_options import DataSource, data_given, data_of_run, load_split
from deepfake_tf.cli.parser import build_parser
from deepfake_tf.training.run_directory import SPLIT_FILES, write_names
from tests.images import encode, photograph


def parsed(*arguments):
    return build_parser().parse_args(["train", "--run-dir", "run", *arguments])


@pytest.fixture
def run_dir(tmp_path):
    remembered = {"sources": ["cifake", "more"], "archive": "there.zip", "swap_labels": True}
    (tmp_path / "data.json").write_text(json.dumps(remembered))
    return tmp_path


def test_data_given_go_before_those_that_a_run_remembers(run_dir):
    options = parsed("--data", "here", "--data", "and-here")
    expected = DataSource(["here", "and-here"], archive=None, swap_labels=False)
    assert data_given(options) == data_of_run(run_dir, options) == expected


@pytest.mark.parametrize(("typed", "archive"), [([], "there.zip"), (["--archive", "moved.zip"], "moved.zip")])
def test_a_run_remembers_its_data_but_the_archive_may_have_moved(run_dir, typed, archive):
    options = parsed(*typed)
    before = dict(vars(options))
    assert data_of_run(run_dir, options) == DataSource(["cifake", "more"], archive, swap_labels=True)
    assert vars(options) == before


def test_a_run_without_data_asks_for_them(tmp_path):
    with pytest.raises(ValueError, match="data.json does not exist: name the data of this run with --data"):
        data_of_run(tmp_path, parsed())


@pytest.mark.parametrize("spelt", ["{}", "{}/", "{}/../data"])
def test_the_same_data_with_labels_the_other_way_round_are_refused(tmp_path, spelt):
    data = tmp_path / "data"
    data.mkdir()
    remembered = {"sources": [str(data)], "archive": None, "swap_labels": True}
    (tmp_path / "data.json").write_text(json.dumps(remembered))
    with pytest.raises(ValueError, match="was trained on these data with --swap-labels: go on with it"):
        data_of_run(tmp_path, parsed("--data", spelt.format(data)))
    assert data_of_run(tmp_path, parsed("--data", spelt.format(data), "--swap-labels")).swap_labels


@pytest.fixture
def split_of_runs(tmp_path):
    """A function: what each run held out of six images -> what `evaluate` measures of them together."""
    for number in range(6):
        file = tmp_path / "data" / ("REAL" if number < 3 else "FAKE") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(photograph(8, 8, number), "PNG"))
    arguments = ["evaluate", "--data", str(tmp_path / "data"), "--output", str(tmp_path)]
    names = load_split(build_parser().parse_args([*arguments, "--split", "all"]), []).examples.names

    def split(*held_out):
        runs = [tmp_path / f"run-{number}" for number in range(len(held_out))]
        for run, held in zip(runs, held_out):
            run.mkdir()
            parts = [name for name in names if name[-5] not in held], [name for name in names if name[-5] in held]
            for file, part in zip(SPLIT_FILES, parts):
                write_names(run / file, part)
        measured = load_split(build_parser().parse_args(arguments), runs)
        return "".join(sorted(name[-5] for name in measured.examples.names))

    return split


def test_several_models_are_measured_on_what_none_was_trained_on(split_of_runs):
    assert split_of_runs("0135", "1245", "145") == "15"


def test_models_that_held_out_other_images_cannot_be_measured_together(split_of_runs):
    with pytest.raises(ValueError, match="share no image that none was trained on.*Received: .*run-0, .*run-1"):
        split_of_runs("03", "14")
