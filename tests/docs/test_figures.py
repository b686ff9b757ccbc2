"""The figures in the documents are those of the JSON that the commands wrote."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, name_of

specification = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
figures = importlib.util.module_from_spec(specification)
specification.loader.exec_module(figures)


@pytest.mark.parametrize("page", figures.pages(), ids=name_of)
def test_no_figure_is_out_of_date(page):
    text = page.read_text(encoding="utf-8")
    assert figures.render(text) == text, "run: python docs/figures.py"


def test_no_committed_measurement_names_a_folder_of_the_machine():
    for file in sorted((ROOT / "saved_model").rglob("*.json")):
        assert not re.search(r'"/\w+/', file.read_text(encoding="utf-8")), file


def test_every_table_of_figures_stands_somewhere():
    text = "".join(page.read_text(encoding="utf-8") for page in DOCUMENTS)
    assert set(re.findall(r"<!-- figures: (\S+) -->", text)) == set(figures.FIGURES)


def test_a_stale_figure_is_named_and_renewed(tmp_path, monkeypatch, capsys):
    for path in (figures.MODEL_CARD, figures.ROBUSTNESS, figures.SPEED, figures.PHOTOGRAPH):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    card = json.loads((ROOT / figures.MODEL_CARD).read_text())
    card["validation_metrics"]["accuracy"] = {"value": 0.51234, "low": 0.5, "high": 0.525}
    (tmp_path / figures.MODEL_CARD).write_text(json.dumps(card))
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text())
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    assert figures.main(["--check"]) == 1
    assert "README.md" in capsys.readouterr().out
    assert "51.23 %" not in page.read_text()
    assert figures.main([]) == 0
    assert "51.23 %" in page.read_text()
    assert figures.main(["--check"]) == 0


@pytest.mark.parametrize(
    "text", ["<!-- figures: nothing -->\n\n<!-- end -->\n", "<!-- figures: load -->\n\nno end\n"], ids=["name", "end"]
)
def test_a_wrong_marker_is_said(text):
    with pytest.raises(ValueError, match="figures"):
        figures.render(text)
