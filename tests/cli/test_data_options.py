"""Where labelled images come from: what is given, else what a run remembers; the options stay as they were typed."""

import json

import pytest

from deepfake_tf.cli.data_options import DataSource, data_given, data_of_run
from deepfake_tf.cli.parser import build_parser


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
