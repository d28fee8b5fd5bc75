"""Pages of attacks and calibrations; every kind of page in a real headless browser."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from browsing import browser, needs_browser
from serving import serving
from test_calibration import EPISODES as LABELLED
from test_clips import BAD, GOOD, make_clip
from test_dataset_report import dataset  # noqa: F401  a fixture
from test_redteam import attack
from test_report import check_page, make_score, write_run
from test_review import evaluate, fill_cache
from test_robustness import EPISODES as GREY_ONES
from test_robustness import OnePixel

from sole.cli import main
from sole.data.episode import make_example_episode
from sole.errors import DataError
from sole.evals.figures import Figure, record_figures
from sole.report.page import write_score_page
from sole.report.training import write_training_report
from sole.review.attacked import choose, film_turned, read_attacked
from sole.rewarders.controls import Constant, Oracle

#: The width of the narrowest cell with a name; cut to single letters it would be some 30 px.
_NARROWEST_NAME = (
    "Math.min(999, ...[...document.querySelectorAll('.wide td:first-child')].map("
    "(cell) => cell.offsetWidth))"
)
_NO_COLOURS = pytest.mark.filterwarnings("default")  # matplotlib reads fonts its own way


def attacked(folder, monkeypatch):
    """A result of one pixel's judge under a patch that covers it."""
    for place in ("evals.robustness", "review.attacked"):
        monkeypatch.setattr(f"sole.{place}.labelled_judge", lambda *_: OnePixel())
        monkeypatch.setattr(f"sole.{place}.labelled_episodes", lambda c, split: GREY_ONES)
    out = folder / "attacked.json"
    argv = ["--model", "m", "--attacks", "occlusion", "blur", "--strengths", "0.5", "1"]
    assert main(["eval", "robustness", *argv, "--out", str(out)]) == 0
    return out


def calibrated(folder, monkeypatch):
    """A calibration of the oracle, checked on other episodes."""
    monkeypatch.setattr("sole.evals.calibration.labelled_judge", lambda *_: Oracle())
    monkeypatch.setattr("sole.evals.calibration.labelled_episodes", lambda c, split: LABELLED)
    out = folder / "calibration.json"
    assert main(["calibrate", "--model", "oracle", "--out", str(out)]) == 0
    return out


def test_a_page_of_attacks_shows_every_one_and_the_turned_failures(tmp_path, monkeypatch, capsys):
    out = attacked(tmp_path, monkeypatch)
    assert main(["report", "robustness", str(out), "--worst", "2"]) == 0
    page = check_page(out.with_suffix(".html"), n_players=2)
    assert page.text.count("<td>occlusion</td>") == page.text.count("<td>blur</td>") == 2
    assert "truly failed, judged success score" in page.text
    assert "No failure was turned" not in page.text


@_NO_COLOURS
def test_attacks_and_clips_come_as_pictures_too(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    out, png = attacked(tmp_path, monkeypatch), tmp_path / "attacks.png"
    assert main(["report", "robustness", str(out), "--worst", "0", "--png", str(png)]) == 0
    clips, dots = recorded(tmp_path), tmp_path / "dots.png"
    assert main(["report", "clips", str(clips), "--worst", "0", "--png", str(dots)]) == 0
    said = capsys.readouterr().err
    for path in (png, dots):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"wrote {path}" in said
    assert main(["report", "clips", str(clips), "--png", "dots.txt"]) == 2
    assert "expected a name ending in .png" in capsys.readouterr().err


def test_no_clips_were_asked_for_or_the_model_is_another_one(tmp_path, monkeypatch, capsys):
    out = attacked(tmp_path, monkeypatch)
    assert main(["report", "robustness", str(out), "--worst", "0"]) == 0
    check_page(out.with_suffix(".html"), n_players=0)
    monkeypatch.setattr("sole.review.attacked.labelled_judge", lambda *_: Oracle())
    assert main(["report", "robustness", str(out)]) == 0
    assert "measured was one-pixel, the model is now oracle" in capsys.readouterr().err
    assert "There are no clips" in check_page(out.with_suffix(".html"), n_players=0).text


def test_one_failure_of_each_attack_comes_before_a_second_of_the_same(tmp_path, monkeypatch):
    turned = read_attacked(attacked(tmp_path, monkeypatch)).turned
    assert {one.attack for one in turned} == {"occlusion"}  # a blurred grey stays grey
    assert len({one.key for one in choose(turned, 2)}) >= 1
    assert choose(turned, 1)[0].after == max(one.after for one in turned)


def test_episodes_that_share_a_seed_are_told_apart(tmp_path, monkeypatch):
    """Those of a data set may: the last one here is taken for a success before any attack."""
    bright = replace(GREY_ONES[4], views={n: f + 1 for n, f in GREY_ONES[4].views.items()})
    ones = [replace(e, seed=7) for e in (*GREY_ONES, bright)]
    monkeypatch.setattr("sole.evals.robustness.labelled_judge", lambda *_: OnePixel())
    for place in ("evals.robustness", "review.attacked"):
        monkeypatch.setattr(f"sole.{place}.labelled_episodes", lambda c, split: ones)
    out = tmp_path / "r.json"
    argv = ["--model", "m", "--data", "d", "--attacks", "occlusion", "--strengths", "1"]
    assert main(["eval", "robustness", *argv, "--out", str(out)]) == 0
    turned = read_attacked(out).turned
    assert sorted(one.place for one in turned) == [1, 3, 4]
    monkeypatch.setattr("sole.review.attacked.labelled_judge", lambda *_: OnePixel())
    clips, missing = film_turned(read_attacked(out), turned, None)
    assert missing == ""
    same = [e.truth is ones[one.place].truth for one, e, _ in clips]
    assert same == [True] * 3


@pytest.mark.parametrize("text", ["[]", "{}", "no"])
def test_another_json_is_no_result_of_attacks(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match="not what sole eval robustness"):
        read_attacked(tmp_path / "r.json")


@_NO_COLOURS
def test_a_page_of_a_calibration_shows_both_curves(tmp_path, monkeypatch, capsys):
    out = calibrated(tmp_path, monkeypatch)
    assert main(["report", "calibration", str(out)]) == 0
    text = check_page(out.with_suffix(".html"), n_players=0).text
    assert "as the model says" in text
    assert "7.2%" in text
    out.with_suffix(".measured").unlink()
    assert main(["report", "calibration", str(out)]) == 2
    assert "calibration.measured: cannot be read" in capsys.readouterr().err


def recorded(folder):
    """A result on two recorded clips."""
    make_clip(folder / "clips" / "good" / "14", GOOD)
    make_clip(folder / "clips" / "bad" / "00", BAD, task="lift <it>")
    out = folder / "clips.json"
    argv = [str(folder / "clips"), "--model", "constant:40", "--out", str(out)]
    assert main(["eval", "clips", *argv]) == 0
    return out


def test_a_page_of_clips_shows_the_worst_and_refuses_other_clips(tmp_path, capsys):
    out = recorded(tmp_path)
    assert main(["report", "clips", str(out), "--worst", "1"]) == 0
    page = check_page(out.with_suffix(".html"), n_players=1)
    assert "<td>pooled_spearman</td>" in page.text
    assert "clips/good/14: off by " in page.text
    make_clip(tmp_path / "clips" / "bad" / "01", BAD)
    assert main(["report", "clips", str(out)]) == 2
    assert "are others than those that were measured" in capsys.readouterr().err


def pages(folder, dataset_folder, monkeypatch) -> list[Path]:
    """One page of every command that writes one."""
    made = [folder / f"{name}.html" for name in ("score", "training", "dataset", "compare")]
    episode = make_example_episode(10, 32, seed=1)
    write_score_page(made[0], [episode], [make_score(episode, "says <b>this</b>.")], "t")
    write_training_report(write_run(folder / "run"), made[1])
    assert main(["data", "inspect", str(dataset_folder), "--html", str(made[2])]) == 0
    fill_cache(folder / "cache")
    quality = evaluate(folder, "random", "q.json", "--against", "oracle")
    assert main(["report", "quality", str(quality)]) == 0
    assert main(["report", "compare", str(quality), str(quality), "--row-b", "1",
                 "--html", str(made[3])]) == 0  # fmt: skip
    attack(folder / "redteam", optimisers=("random",))
    attacks = attacked(folder, monkeypatch)
    assert main(["report", "robustness", str(attacks)]) == 0
    record, clips = calibrated(folder, monkeypatch), recorded(folder)
    assert main(["report", "calibration", str(record)]) == 0
    assert main(["report", "clips", str(clips)]) == 0
    results = [p.with_suffix(".html") for p in (quality, attacks, record, clips)]
    return [*made, *results, folder / "redteam" / "report.html"]


@needs_browser
@pytest.mark.slow
@_NO_COLOURS
def test_every_kind_of_page_opens_without_a_complaint_and_loads_nothing(
    tmp_path, dataset, monkeypatch  # noqa: F811
):  # fmt: skip
    """With SOLE_FIGURES=docs/figures.json the number of pages is recorded as pages.opened."""
    made = pages(tmp_path, dataset, monkeypatch)
    with serving(Constant(50)) as running, browser() as tab:
        for url in [*(page.as_uri() for page in made), running.url + "/"]:
            before = len(tab.loaded)
            tab.open(url)
            tab.until("document.querySelector('h1') !== null")
            assert tab.complaints == [], url
            outside = [u for u in tab.loaded[before:] if not u.startswith((url, "data:", "blob:"))]
            assert outside == [], url
            tab.look(dark=True)
            assert len(tab.screenshot()) > 5000
            tab.look(width=400)
            assert tab.run("document.documentElement.scrollWidth") <= 400, url
            assert tab.run(_NARROWEST_NAME) > 45, url
    if figures := os.environ.get("SOLE_FIGURES"):
        command = "SOLE_FIGURES=docs/figures.json pytest -m slow tests/test_pages.py"
        record_figures(Path(figures), [Figure("pages.opened", len(made) + 1, "pages")], command)
        assert json.loads(Path(figures).read_text())
