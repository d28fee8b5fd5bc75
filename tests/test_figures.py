"""Every number that a document quotes is one that a command has measured."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sole.errors import BadInputError, ConfigError
from sole.evals.figures import (
    FIGURES,
    Figure,
    check_quotes,
    fill_quotes,
    load_figures,
    main,
    record_figures,
)

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


def test_those_who_record_at_the_same_time_lose_nothing(tmp_path):
    path = tmp_path / "figures.json"
    names = [f"f{k}" for k in range(16)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: record_figures(path, [Figure(n, 1.0, "")], "make x"), names))
    assert sorted(load_figures(path)) == sorted(names)
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]


def test_recording_is_no_change_of_the_code_that_measures(tmp_path):
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    (tmp_path / "docs").mkdir()
    path, code = tmp_path / "docs" / "figures.json", tmp_path / "code.py"
    code.write_text("1")
    git("init", "-q")
    git("add", "code.py")
    git("commit", "-q", "-m", "one")
    for name in ("a", "b"):
        record_figures(path, [Figure(name, 1.0, "")], "measure")
    assert not load_figures(path)["b"]["commit"].endswith("+changes")
    code.write_text("2")
    record_figures(path, [Figure("c", 1.0, "")], "measure")
    assert load_figures(path)["c"]["commit"].endswith("+changes")


def test_quotes_show_shares_as_percent_when_they_are_written_so():
    text = "success <!--fig:s-->0%<!--/fig--> of"
    figures = {"s": {"value": 0.654}}
    assert "65%" in fill_quotes(text, figures)
    assert check_quotes(fill_quotes(text, figures), figures) == []
    assert check_quotes(text, figures)
    assert check_quotes(text, {}) == ["s: no such figure"]


@pytest.mark.parametrize(
    ("text", "figure", "shown"),
    [
        ("?", {"value": 0.454, "unit": ""}, "0.45"),
        ("?", {"value": 5_990_000.0, "unit": "parameters"}, "6.0M"),
        ("?", {"value": 28.83, "unit": "points"}, "28.8"),
        ("0", {"value": 0.0, "unit": "tasks"}, "0"),
        ("0.0", {"value": -0.01, "unit": "points"}, "0.0"),
        ("0%", {"value": 65.4, "unit": "percent"}, "65%"),
        ("0.0", {"value": None, "unit": "points"}, "not measured"),
    ],
)
def test_quote_takes_the_form_it_has_or_that_of_its_unit(text, figure, shown):
    filled = fill_quotes(f"<!--fig:a-->{text}<!--/fig-->", {"a": figure})
    assert filled == f"<!--fig:a-->{shown}<!--/fig-->"
    assert check_quotes(filled, {"a": figure}) == []
    assert fill_quotes(filled, {"a": figure}) == filled


def test_command_line_fills_files_and_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    record_figures(Path("docs/figures.json"), [Figure("a", 0.5, "")], f"x --out {tmp_path}/y")
    assert load_figures(Path("docs/figures.json"))["a"]["command"] == "x --out y"
    page = tmp_path / "p.md"
    page.write_text("<!--fig:a-->?<!--/fig--> <!--fig:b-->?<!--/fig-->")
    assert main(["check", "p.md"]) == 1
    assert main(["fill", "p.md"]) == 1
    assert page.read_text() == "<!--fig:a-->0.50<!--/fig--> <!--fig:b-->?<!--/fig-->"
    assert "p.md: b: no such figure" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="cannot be read"):
        main(["fill", "absent.md"])
    with pytest.raises(ConfigError, match="fill"):
        main([])


def test_figures_of_a_measure_that_is_gone_are_dropped_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    record_figures(FIGURES, [Figure(n, 1.0, "") for n in ("a.old", "a.b.old", "a.new")], "x")
    with pytest.raises(ConfigError, match=r"no figure is called a\.none"):
        main(["forget", "a.old", "a.none"])
    assert set(load_figures(FIGURES)) == {"a.old", "a.b.old", "a.new"}
    assert main(["forget", "a.*old"]) == 0
    assert set(load_figures(FIGURES)) == {"a.new"}
    assert capsys.readouterr().out.split()[-2:] == ["a.b.old", "a.old"]


def test_no_command_of_the_record_names_a_folder_of_one_machine():
    commands = {figure["command"] for figure in load_figures(ROOT / "docs/figures.json").values()}
    assert commands
    assert not [c for c in commands if any(w.startswith("/") for w in re.split(r"[\s=]", c))]
