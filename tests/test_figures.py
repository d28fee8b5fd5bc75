"""Every number that a document quotes is one that a command has measured."""

import json
from pathlib import Path

import pytest

from sole.evals.figures import Figure, check_quotes, fill_quotes, load_figures, record_figures

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_document_quotes_measured_figures(path):
    assert check_quotes(path.read_text(), load_figures(ROOT / "docs" / "figures.json")) == []


def test_figures_say_where_they_come_from():
    for entry in load_figures(ROOT / "docs" / "figures.json").values():
        wanted = {"name", "value", "low", "high", "unit", "command", "commit", "machine", "date"}
        assert set(entry) == wanted, entry["name"]


def test_recording_replaces_by_name_and_keeps_the_rest(tmp_path):
    path = tmp_path / "figures.json"
    record_figures(
        path, [Figure("a", 1.0, "s"), Figure("b", 2.0, "s", 1.5, float("nan"))], "make x"
    )
    record_figures(path, [Figure("a", 3.0, "s")], "make y")
    found = load_figures(path)
    assert (found["a"]["value"], found["a"]["command"]) == (3.0, "make y")
    assert (found["b"]["low"], found["b"]["high"]) == (1.5, None)
    assert isinstance(json.loads(path.read_text()), list)


def test_quotes_show_shares_as_percent_when_they_are_written_so():
    text = "success <!--fig:s-->0%<!--/fig--> of"
    figures = {"s": {"value": 0.654}}
    assert "65%" in fill_quotes(text, figures)
    assert check_quotes(fill_quotes(text, figures), figures) == []
    assert check_quotes(text, figures)
    assert check_quotes(text, {}) == ["s: no such figure"]
