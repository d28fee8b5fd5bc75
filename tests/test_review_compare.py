"""Two results on the same episodes: paired intervals, and a refusal of anything else."""

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import check_page
from test_review import Talker, change_config, evaluated, measured, saved  # noqa: F401

from sole.cli import main
from sole.errors import ConfigError
from sole.evals import metrics
from sole.evals.figures import load_figures
from sole.evals.quality import QualityConfig, row_settings
from sole.evals.result import UNITS
from sole.review.compare_cases import Pair, most_different
from sole.review.paired import (
    STATISTICS,
    Difference,
    check_same_episodes,
    differences,
    paired_episodes,
    task_difference,
)
from sole.review.saved import SavedRow, read_result


def row(per_task, episodes=()):
    return SavedRow("m", {}, per_task, {}, tuple(episodes) or tuple(
        replace(saved(k, [0, 100 * (k % 2)], [0, 10 * k], bool(k % 2)), env_name=task)
        for k, task in enumerate(per_task)
    ))  # fmt: skip


def of(found, name):
    return next(one for one in found if one.name == name)


def compare(capsys, *argv):
    capsys.readouterr()
    assert main(["report", "compare", *map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# ---- differences -----------------------------------------------------------------------------


def test_a_difference_that_every_task_shares_has_no_width():
    a = row({"x": {"mae": 30.0}, "y": {"mae": 10.0}, "z": {"mae": 50.0}})
    b = row({"x": {"mae": 28.0}, "y": {"mae": 8.0}, "z": {"mae": 48.0}})
    one = of(differences(a, b), "mae")
    assert (one.a, one.b, one.value, one.low, one.high) == (30.0, 28.0, -2.0, -2.0, -2.0)
    assert (one.excludes_zero, one.verdict, one.n_tasks) == (True, "better", 3)


def test_a_difference_of_both_signs_proves_nothing():
    a = row({"x": {"mae": 30.0}, "y": {"mae": 10.0}})
    b = row({"x": {"mae": 20.0}, "y": {"mae": 18.0}})
    one = of(differences(a, b), "mae")
    assert one.low == -10.0
    assert one.high == 8.0
    assert (one.excludes_zero, one.verdict) == (False, "")


def test_only_tasks_that_both_know_are_compared():
    a = row({"x": {"mae": 30.0}, "y": {"mae": 10.0}})
    b = row({"x": {"mae": math.nan}, "y": {"mae": 8.0}})
    one = of(differences(a, b), "mae")
    assert (one.a, one.b, one.n_tasks) == (10.0, 8.0, 1)
    assert math.isnan(one.low), "of one task there is nothing to draw"
    assert not one.excludes_zero


def test_what_nobody_measured_is_not_known():
    found = differences(row({"x": {}, "y": {}}), row({"x": {}, "y": {}}))
    assert math.isnan(of(found, "mae").value)
    assert math.isnan(of(found, "headline").value)
    assert of(found, "headline").verdict == ""


@pytest.mark.parametrize(
    ("name", "low", "high", "verdict"),
    [("auc", 0.1, 0.3, "better"), ("auc", -0.3, -0.1, "worse"), ("mae", 1.0, 2.0, "worse"),
     ("bias_success", 1.0, 2.0, "differs"), ("prm_mp", 0.1, 0.2, "differs"), ("auc", 0.0, 0.2, "")],
)  # fmt: skip
def test_the_verdict_follows_the_direction_of_the_metric(name, low, high, verdict):
    assert Difference(name, 0.0, (low + high) / 2, low, high, 5).verdict == verdict


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=6))
def test_swapping_the_models_turns_the_interval_round(values):
    a = row({f"t{k}": {"mae": x} for k, (x, _) in enumerate(values)})
    b = row({f"t{k}": {"mae": y} for k, (_, y) in enumerate(values)})
    one, two = task_difference("mae", a, b), task_difference("mae", b, a)
    assert one.value == pytest.approx(-two.value)
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low), abs=1e-9)


# ---- real results ----------------------------------------------------------------------------


def test_every_value_is_that_of_the_results_themselves(measured):  # noqa: F811
    a, *_, b = read_result(measured).rows
    for one in differences(a, b):
        for value, written in ((one.a, a.summary[one.name][0]), (one.b, b.summary[one.name][0])):
            assert value == pytest.approx(written, nan_ok=True), one.name
    assert [one.name for one in differences(a, b)] == list(UNITS)


def test_the_interval_of_a_pooled_metric_draws_whole_tasks(measured):  # noqa: F811
    a, *_, b = read_result(measured).rows
    tasks = [e.env_name for e in a.episodes]
    scores = np.array([[e.judged_top5 for e in r.episodes] for r in (a, b)])
    done = np.array([e.true_success_ever for e in a.episodes])

    def gap(drawn):
        index = drawn.astype(int)
        one, two = (metrics.roc_auc(s[index], done[index]) for s in scores)
        return two - one

    expected = metrics.bootstrap_interval(np.arange(6), statistic=gap, clusters=tasks)
    one = of(differences(a, b), "auc")
    assert (one.low, one.high) == pytest.approx(expected)
    assert set(STATISTICS) <= set(UNITS)


def test_the_oracle_is_better_than_chance(measured, capsys):  # noqa: F811
    found = compare(capsys, measured, measured, "--row-b", "oracle")
    assert (found["a"]["model_id"], found["b"]["model_id"]) == ("random:0", "oracle")
    assert found["n_episodes"] == 6
    mae = found["metrics"]["mae"]
    assert (mae["b"], mae["excludes_zero"], mae["verdict"]) == (0.0, True, "better")
    assert mae["difference"] == -mae["a"]


def test_a_result_does_not_differ_from_itself(measured, capsys):  # noqa: F811
    found = compare(capsys, measured, measured, "--row-b", "0")["metrics"].values()
    assert all(one["difference"] in {0.0, None} for one in found)
    assert not any(one["excludes_zero"] for one in found)


def test_the_table_and_the_page_show_every_metric(measured, capsys):  # noqa: F811
    page = measured.with_name("c.html")
    argv = [str(measured), str(measured), "--row-b", "oracle", "--html", str(page), "--worst", "0"]
    assert main(["report", "compare", *argv]) == 0
    said = capsys.readouterr()
    assert all(f" {name} " in said.out for name in UNITS)
    assert "better" in said.out
    assert f"wrote {page}" in said.err
    text = check_page(page, n_players=0).text
    assert all(f"<td>{name}" in text for name in UNITS)
    assert 'class="num marked"' in text
    assert "fake/a, undo, seed 1: A " in text


def test_gains_are_recorded_positive_where_b_is_better(measured, tmp_path, capsys):  # noqa: F811
    file = tmp_path / "f.json"
    argv = ["--row-b", "oracle", "--figures", file, "--prefix", "rlvr"]
    said = compare(capsys, measured, measured, *argv)["metrics"]
    figures = load_figures(file)
    assert set(figures) == {"rlvr.mae_gain", "rlvr.falling_f1_gain"}
    mae, falling = figures["rlvr.mae_gain"], figures["rlvr.falling_f1_gain"]
    assert mae["value"] == pytest.approx(said["mae"]["a"], abs=1e-5)
    assert [mae["low"], mae["high"]] == pytest.approx(
        [-said["mae"]["high"], -said["mae"]["low"]], abs=1e-5
    )
    assert falling["value"] == pytest.approx(said["falling_f1"]["difference"], abs=1e-5)
    assert 0 < falling["low"] <= falling["value"] <= falling["high"]
    assert (mae["unit"], falling["unit"]) == ("points", "")
    assert mae["command"].startswith("sole report compare ")


@pytest.mark.parametrize("name", ["bias_success", "mea"])
def test_only_metrics_with_a_direction_are_recorded(measured, tmp_path, capsys, name):  # noqa: F811
    file = tmp_path / "f.json"
    argv = ["report", "compare", str(measured), str(measured), "--figures", str(file)]
    assert main([*argv, "--record", "mae", name]) == 2
    message = capsys.readouterr().err
    assert f"is called {name}; there are: headline, spearman" in message
    assert not file.exists()


def test_an_unknown_row_is_bad_input(measured, capsys):  # noqa: F811
    assert main(["report", "compare", str(measured), str(measured), "--row-b", "x"]) == 2
    assert "there are: 0 random:0, 1 ramp, 2 random:0, 3 oracle" in capsys.readouterr().err


# ---- where they differ most ------------------------------------------------------------------


def test_the_largest_differences_come_first_and_no_episode_is_in_two_kinds():
    """True 0; what A and B say at the second frame decides the mean error and the score."""
    said = [(0, 40), (0, 80), (60, 10), (30, 30), (50, -50)]
    pairs = [
        Pair(saved(k, [0, 0], [0, x]), saved(k, [0, 0], [0, y])) for k, (x, y) in enumerate(said)
    ]
    found = most_different(pairs, 2)
    assert {kind: [p.a.place for p in part] for kind, part in found.items()} == {
        "a_nearer": [1, 0], "b_nearer": [2], "success": [4],
    }  # fmt: skip
    assert not any(most_different(pairs[3:4], 2).values())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-100, 100), st.integers(-100, 100)), max_size=12),
       st.integers(0, 4))  # fmt: skip
def test_swapping_the_models_swaps_who_is_nearer(values, n):
    a, b = ([saved(k, [0, 50], [0, v[m]]) for k, v in enumerate(values)] for m in (0, 1))
    one = most_different([Pair(*both) for both in zip(a, b, strict=True)], n)
    two = most_different([Pair(*both) for both in zip(b, a, strict=True)], n)
    places = {k: [p.a.place for p in part] for k, part in one.items()}
    swapped = {k: [p.a.place for p in part] for k, part in two.items()}
    assert (places["a_nearer"], places["b_nearer"]) == (swapped["b_nearer"], swapped["a_nearer"])
    assert set(places["success"]) == set(swapped["success"])
    every = [place for part in places.values() for place in part]
    assert len(every) == len(set(every))


@pytest.fixture
def no_metrics(monkeypatch):
    """Intervals take seconds and are tested above."""
    monkeypatch.setattr("sole.review.compare.differences", lambda a, b: [])


def page_of(measured, *argv):  # noqa: F811
    page = measured.with_name("c.html")
    files = [str(measured), str(measured)]
    assert main(["report", "compare", *files, "--html", str(page), *map(str, argv)]) == 0
    return page


def test_both_models_judge_the_same_pictures_once_more(measured, no_metrics):  # noqa: F811
    page = check_page(page_of(measured, "--row-b", "oracle", "--worst", "1"), n_players=4)
    rows = [read_result(measured).row(name) for name in ("random:0", "oracle")]
    pairs = [Pair(*both) for both in paired_episodes(*rows)]
    pair = most_different(pairs, 1)["b_nearer"][0]
    chance, oracle = (json.loads(text) for text in page.scripts[:2])
    assert chance["frames"] == oracle["frames"]
    assert [s["p"] for s in oracle["steps"]] == [s["true"] for s in oracle["steps"]]
    assert [s["p"] for s in chance["steps"]] == pytest.approx(list(pair.a.judged), abs=0.01)
    assert [s["true"] for s in chance["steps"]] == list(pair.a.true)
    assert f"A: {pair.words}" in page.text
    assert f"B: {pair.words}" in page.text
    assert "measured progress by frame" in page.text
    assert "of random:0 (A) and oracle (B)" in page.text


def test_each_model_says_its_own_words(measured, no_metrics, monkeypatch):  # noqa: F811
    def judge_of(config, calibration=None):
        model = Talker()
        model.model_id = {"random": "random:0"}.get(config.model, config.model)
        model.thinking = lambda: Talker(f"I am {config.model}.")
        return model

    monkeypatch.setattr("sole.review.clips.labelled_judge", judge_of)
    page = check_page(page_of(measured, "--row-b", "oracle", "--worst", "1"), n_players=4)
    said = [json.loads(text)["steps"][1]["text"] for text in page.scripts[:2]]
    assert said == ["I am random.", "I am oracle."]


def test_what_is_missing_costs_the_clips_only(measured, no_metrics, monkeypatch):  # noqa: F811
    change_config(measured, model="ramp")
    page = page_of(measured, "--row-b", "oracle", "--worst", "1")
    text = check_page(page, n_players=0).text
    assert "There are no clips: measured was random:0" in text
    assert "measured progress by frame" in text
    change_config(measured, model="random", against=[])
    text = page_of(measured, "--row-b", "oracle").read_text()
    assert "There are no clips: " in text  # whose rows they are is not known any more
    monkeypatch.setattr("sole.review.clips.labelled_judge", pytest.fail)
    text = page_of(measured, "--row-b", "0").read_text()
    assert "There are no clips: no episode was judged differently" in text
    without = page_of(measured, "--row-b", "oracle", "--worst", "0").read_text()
    assert "--worst 0 asked" in without
    assert "nearer to the truth" not in without


def test_every_row_has_the_settings_it_was_judged_with():
    config = QualityConfig(
        model="m", calibration="c.json", against=("other=x:y",), variants=True, controls=True
    )
    found = [(c.model, c.from_zero_weight, c.think, c.calibration) for c in row_settings(config)]
    assert (found[0][0], str(found[0][3])) == ("m", "c.json")
    assert [one[0] for one in found[1:5]] == ["ramp", "random", "constant:0", "oracle"]
    assert found[5:] == [
        ("m", 1.0, False, None), ("m", 0.0, False, None), ("m", 0.25, True, None),
        ("x:y", 0.25, False, None),
    ]  # fmt: skip


def test_paired_episodes_come_as_a_table(measured, no_metrics, tmp_path, capsys):  # noqa: F811
    path = tmp_path / "pairs.parquet"
    argv = ["report", "compare", str(measured), str(measured), "--row-b", "oracle", "--parquet"]
    assert main([*argv, str(path)]) == 0
    assert f"wrote {path}" in capsys.readouterr().err
    lines = pq.read_table(path).to_pylist()
    a, b = (read_result(measured).row(name) for name in ("random:0", "oracle"))
    assert len(lines) == len(a.episodes) == 6
    for line, (x, y) in zip(lines, paired_episodes(a, b), strict=True):
        assert (line["env_name"], line["policy"], line["seed"]) == x.key
        assert (line["a_model_id"], line["b_model_id"]) == ("random:0", "oracle")
        assert (line["a_mae"], line["b_mae"]) == (x.mae, y.mae)
        assert line["a_judged_progress"] == list(x.judged)
        assert line["b_judged_progress"] == line["true_progress"] == list(x.true)
    table = measured.with_suffix(".episodes.parquet")
    assert main([*argv, str(table)]) == 2
    assert "is the table of a result" in capsys.readouterr().err
    assert main([*argv, "pairs.csv"]) == 2


@pytest.mark.filterwarnings("default")  # matplotlib reads fonts its own way
def test_a_comparison_comes_as_a_picture_too(measured, no_metrics, tmp_path):  # noqa: F811
    pytest.importorskip("matplotlib")
    png = tmp_path / "c.png"
    files = [str(measured), str(measured), "--row-b", "oracle"]
    assert main(["report", "compare", *files, "--png", str(png)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")


# ---- refusals --------------------------------------------------------------------------------


def test_other_episodes_are_refused(measured, tmp_path, capsys):  # noqa: F811
    table = measured.with_suffix(".episodes.parquet")
    lines = pq.read_table(table)
    changed = [{**line, "seed": line["seed"] + 6} for line in lines.to_pylist()]
    other = tmp_path / "o.json"
    other.write_text(measured.read_text())
    pq.write_table(type(lines).from_pylist(changed, lines.schema), tmp_path / "o.episodes.parquet")
    assert main(["report", "compare", str(measured), str(other)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "6 only in A" in message
    assert "(first: fake/a, expert, seed 6)" in message


def test_fewer_episodes_are_refused():
    a = row({"x": {}, "y": {}})
    with pytest.raises(ConfigError, match=r"1 only in A \(first: y, p, seed 1\), 0 only in B"):
        check_same_episodes(a, replace(a, episodes=a.episodes[:1]), ("A", "B"))


def test_the_same_episodes_with_another_truth_are_refused():
    a = row({"x": {}, "y": {}})
    last = replace(a.episodes[1], true=a.episodes[1].true + 1.0)
    with pytest.raises(ConfigError, match=r"truth of 1 of 2 episodes differs .*first: y, p"):
        check_same_episodes(a, replace(a, episodes=(a.episodes[0], last)), ("A", "B"))


def test_the_order_of_the_episodes_does_not_matter():
    a = row({"x": {}, "y": {}})
    check_same_episodes(a, replace(a, episodes=a.episodes[::-1]), ("A", "B"))
