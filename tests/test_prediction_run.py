"""From files to rows, by the light model that ships."""

from __future__ import annotations

import csv
import io

import pytest

from deepfake_tf.engines.detector import Detector
from deepfake_tf.output.row_file import RowFile
from deepfake_tf.output.tables import format_predictions
from deepfake_tf.prediction_run import RowFileRun, provenance_fields, provenance_rows, score, score_into
from deepfake_tf.shipped import shipped_folder
from tests.images import encode, photograph


@pytest.fixture(scope="module")
def detector():
    return Detector(shipped_folder() / "deepfake")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """More than one batch of rows, one of them broken."""
    folder = tmp_path_factory.mktemp("files")
    for index in range(40):
        (folder / f"{index:02}.png").write_bytes(encode(photograph(32, 32, index), "PNG"))
    (folder / "07.png").write_bytes(b"no image")
    return sorted(map(str, folder.iterdir()))


def test_every_file_has_its_prediction_in_order(detector, files):
    predictions = score(detector, files)
    assert [prediction.file for prediction in predictions] == files
    assert [prediction.file for prediction in predictions if prediction.error] == [files[7]]


def test_rows_written_as_they_come_are_those_written_at_once(detector, files, tmp_path):
    done = score_into(RowFile(tmp_path / "rows.csv", "csv"), detector, files, "csv")
    assert done == RowFileRun(scored=40, skipped=0, has_failures=True, unexpected=())
    assert (tmp_path / "rows.csv").read_text() == format_predictions(score(detector, files), "csv")


def test_a_run_that_goes_on_scores_what_is_left_and_remembers_failures(detector, files, tmp_path):
    score_into(RowFile(tmp_path / "rows.jsonl", "jsonl"), detector, files[:10], "jsonl")
    done = score_into(RowFile(tmp_path / "rows.jsonl", "jsonl", resume=True), detector, files, "jsonl")
    assert done == RowFileRun(scored=30, skipped=10, has_failures=True, unexpected=())
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 40


class Cut(Exception):
    pass


def test_a_run_that_is_cut_keeps_its_rows_and_says_where(files, tmp_path, capsys):
    class CutDetector(Detector):
        def predict_iter(self, images, batch_size=32):
            for count, prediction in enumerate(super().predict_iter(images, batch_size)):
                if count == 35:
                    raise Cut
                yield prediction

    rows = RowFile(tmp_path / "rows.jsonl", "jsonl")
    with pytest.raises(Cut):
        score_into(rows, CutDetector(shipped_folder() / "deepfake"), files, "jsonl")
    assert f"the rows so far are kept in {rows.part}: go on with --resume" in capsys.readouterr().err
    assert len(rows.part.read_text().splitlines()) == 32
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize("row_format", ["jsonl", "csv"])
def test_provenance_adds_the_fields_that_the_row_file_was_made_with(detector, files, tmp_path, row_format):
    fields = provenance_fields(row_format)
    rows = RowFile(tmp_path / "rows", row_format, more=fields)
    score_into(rows, detector, files[6:9], row_format, with_provenance=True)
    assert [list(row) for row in provenance_rows(score(detector, files[6:9]), row_format)] == [fields] * 3
    text = (tmp_path / "rows").read_text()
    if row_format == "csv":
        lines = [row["provenance"] for row in csv.DictReader(io.StringIO(text))]
        assert "Pixels: not scored." in lines[1]  # a file without a score has its word, too
        assert [row["conclusion"] for row in csv.DictReader(io.StringIO(text))][1] == "not_scored"
    assert text.count("provenance") >= 1
