"""The page of a result: read back, chosen from, drawn, and honest about what it lacks."""

import json
import math
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_browser import check_driven, drive, needs_browser
from test_report import check_page

from sole.cli import main
from sole.data.cache import put_episode
from sole.data.episode import (
    Episode,
    EpisodeScore,
    StepScore,
    Truth,
    make_example_episode,
    make_facts,
)
from sole.data.lerobot_writer import EpisodeWriter
from sole.errors import DataError
from sole.evals.reliability import PROGRESS_BINS, calibration_error
from sole.evals.result import COUNTS, STEPWISE, UNITS
from sole.report.chart import Axis, Dots, scatter_chart
from sole.review.frames import reliability
from sole.review.meanings import MEANINGS
from sole.review.saved import SavedEpisode, read_result
from sole.review.worst import overrating, worst_cases
from sole.rewarders.base import CostCounters

CURVES = {
    "a": {"expert": [0, 20, 60, 100, 100], "undo": [0, 40, 60, 30, 10]},
    "b": {"expert": [0, 10, 20, 40, 100], "undo": [0, -5, -10, -10, 2]},
    "c": {"expert": [0, 50, 50, 90, 100], "undo": [0, 5, 70, 10, 10]},
}


def make_episode(task: str, policy: str, progress, seed: int) -> Episode:
    base = make_example_episode(len(progress), 16, seed=seed)
    true = np.asarray(progress, np.float32)
    facts = tuple(make_facts() for _ in progress)
    return Episode(
        task=f"do {task}", views=base.views, truth=Truth(true, true >= 100, facts),
        env_name=f"fake/{task}", policy=policy, seed=seed, suite="fake",
    )  # fmt: skip


def fill_cache(folder, stretch=1):
    """Episodes where the evaluation looks for them, so that no simulator is asked."""
    folder.mkdir(exist_ok=True)
    for task, curves in CURVES.items():
        for k, (policy, curve) in enumerate(curves.items()):
            made = make_episode(task, policy, np.repeat(curve, stretch), k)
            name = f"fake-{task}-{policy}-{k}-{made.n_frames}.npz"
            put_episode(folder / name, made)
    return folder


def evaluate(folder, model, name="r.json", *flags, n_frames=5):
    """Run ``sole eval quality`` on the episodes in ``folder/cache``."""
    out = folder / name
    tasks = [f"fake/{task}" for task in CURVES]
    code = main(["eval", "quality", "--model", str(model), "--tasks", *tasks,
                 "--policies", "expert", "undo", "--episodes-per-task", "2", "--seed", "0",
                 "--n-frames", str(n_frames), "--cache", str(folder / "cache"), "--threads", "1",
                 "--no-controls", "--out", str(out), *flags])  # fmt: skip
    assert code == 0
    return out


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """A folder with episodes and a result of the random walk and the oracle."""
    folder = tmp_path_factory.mktemp("evaluated")
    fill_cache(folder / "cache")
    evaluate(folder, "random", "r.json", "--against", "oracle")
    return folder


@pytest.fixture
def measured(evaluated, tmp_path):
    """A copy of the result that may be spoilt."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    change_config(tmp_path / "r.json", cache=str(tmp_path / "cache"))
    return tmp_path / "r.json"


def change_config(path, **changes):
    whole = json.loads(path.read_text())
    whole["config"] |= changes
    path.write_text(json.dumps(whole))


def saved(place, true, judged, done=False):
    """One judged episode; its score is the highest judged value."""
    true, judged = np.asarray(true, float), np.asarray(judged, float)
    return SavedEpisode(
        place, f"t{place % 3}", "p", place, "do", done, true, done, float(judged[-1]),
        float(np.nanmax(judged)), float(np.nanmax(judged)),
        float(np.nanmean(np.abs(true - judged))), judged,
    )  # fmt: skip


# ---- reading ---------------------------------------------------------------------------------


def test_older_results_are_read_under_the_names_of_today(measured):
    whole = measured.read_text().replace("voc_reversed", "vroc_expert")
    measured.write_text(whole.replace("instruction_gap", "wrong_instruction_drop"))
    row = read_result(measured).rows[0]
    assert set(row.summary) == {*UNITS, *STEPWISE}
    assert all("voc_reversed" in found for found in row.per_task.values())


def test_a_result_is_read_back_as_it_was_written(measured):
    result = read_result(measured)
    whole = json.loads(measured.read_text())
    assert [row.model_id for row in result.rows] == ["random:0", "ramp", "random:0", "oracle"]
    for row, written in zip(result.rows, whole["rows"], strict=True):
        assert row.summary["mae"][0] == written["summary"]["mae"]["value"]
        assert set(row.per_task) == {"fake/a", "fake/b", "fake/c"}
    assert math.isnan(result.rows[0].summary["parse_rate"][1])
    undone = result.rows[-1].episodes[1]
    assert (undone.key, undone.place) == (("fake/a", "undo", 1), 1)
    assert undone.judged.tolist() == undone.true.tolist() == [0, 40, 60, 30, 10]


def test_a_failed_read_is_nan(measured):
    path = measured.with_suffix(".episodes.parquet")
    table = pq.read_table(path)
    lines = table.to_pylist()
    lines[0]["judged_progress"][2] = None
    pq.write_table(type(table).from_pylist(lines, table.schema), path)
    assert np.isnan(read_result(measured).rows[0].episodes[0].judged[2])


@pytest.mark.parametrize("text", ["[]", "{}", '{"rows": [{"model_id": 1}], "config": {}}', "no"])
def test_another_json_is_bad_input(measured, capsys, text):
    measured.write_text(text)
    assert main(["report", "quality", str(measured)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("sole report: ")
    assert message.count("\n") == 1


def test_a_missing_table_is_named(measured, capsys):
    measured.with_suffix(".episodes.parquet").unlink()
    assert main(["report", "quality", str(measured)]) == 2
    assert "r.episodes.parquet: missing" in capsys.readouterr().err


def test_the_table_of_another_result_is_noticed(measured):
    whole = json.loads(measured.read_text())
    whole["rows"].reverse()
    measured.write_text(json.dumps(whole))
    with pytest.raises(DataError, match="does not belong"):
        read_result(measured)


def test_every_metric_has_a_meaning():
    assert set(MEANINGS) == {*UNITS, *STEPWISE, *COUNTS}


# ---- choosing --------------------------------------------------------------------------------


def test_the_worst_cases_are_those_that_mislead_most():
    episodes = [
        saved(0, [0, 50], [0, 90]),
        saved(1, [0, 80], [0, 100]),
        saved(2, [0, 100], [0, 30], done=True),
        saved(3, [0, 100], [0, 10], done=True),
        saved(4, [0, 90], [0, 20]),
        saved(5, [0, 10], [0, 10]),
    ]
    found = worst_cases(episodes, 2)
    assert {kind: [e.place for e in part] for kind, part in found.items()} == {
        "overrated": [0, 1], "underrated": [3, 2], "error": [4],
    }  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-100, 99), st.integers(-100, 100), st.booleans()), max_size=20),
    st.integers(0, 5),
)
def test_no_episode_is_a_worst_case_twice(values, n):
    episodes = [
        saved(k, [0, 100 if done else true], [0, judged], done)
        for k, (true, judged, done) in enumerate(values)
    ]
    found = worst_cases(episodes, n)
    places = [e.place for part in found.values() for e in part]
    assert len(places) == len(set(places))
    assert all(len(part) <= n for part in found.values())
    assert all(not e.true_success_ever and overrating(e) > 0 for e in found["overrated"])
    assert all(e.true_success_ever and overrating(e) < 0 for e in found["underrated"])


# ---- drawing ---------------------------------------------------------------------------------


def test_reliability_leaves_out_frame_0_and_failed_reads():
    found = reliability([saved(0, [0, 30, 50], [0, 5, np.nan]), saved(1, [0, 10, 0], [0, 7, 95])])
    assert found.bins.said.tolist() == [6.0, 95.0]
    assert found.bins.true.tolist() == [20.0, 0.0]
    assert found.bins.counts.tolist() == [2, 1]
    assert (found.low[0], found.high[0]) == (10.0, 30.0)
    assert np.isnan(found.low[1]), "one task has no interval"


def test_reliability_has_the_documented_error():
    rng = np.random.default_rng(0)
    true, said = rng.uniform(-100, 100, (2, 40))
    error = calibration_error(said[1:], true[1:], PROGRESS_BINS)
    assert reliability([saved(0, true, said)]).bins.error == pytest.approx(error)


def test_nothing_read_is_no_diagram():
    assert reliability([saved(0, [0, 30], [0, 10])]) is not None
    assert reliability([saved(0, [0], [0])]) is None


def test_a_scatter_chart_escapes_names_and_leaves_out_what_is_not_known():
    dots = Dots("<i>", np.array([1.0, np.nan, 9.0]), np.array([1.0, 1.0, 9.0]), "true",
                ["<b>", "x", "y"])  # fmt: skip
    svg = scatter_chart([dots], Axis("x", 0, 4), Axis("y", 0, 4), title='"t"',
                        diagonal="a & b")  # fmt: skip
    assert svg.count('r="4">') == 2
    assert "&lt;b&gt;" in svg
    assert "&lt;i&gt;" in svg
    assert "<b>" not in svg
    assert 'class="line held"' in svg
    assert ">a &amp; b</text>" in svg


# ---- the page --------------------------------------------------------------------------------


def test_the_page_shows_numbers_tables_plots_and_clips(measured, capsys):
    assert main(["report", "quality", str(measured), "--worst", "1"]) == 0
    said = capsys.readouterr()
    assert f"wrote {measured.with_suffix('.html')}" in said.err
    result = read_result(measured)
    cases = worst_cases(result.rows[0].episodes, 1)
    n_cases = sum(map(len, cases.values()))
    assert n_cases >= 2
    page = check_page(measured.with_suffix(".html"), n_players=n_cases)
    mae, low, high = result.rows[0].summary["mae"]
    assert f"{mae:.1f} <small>[{low:.1f}, {high:.1f}]</small>" in page.text
    assert all(f"<td>{name}" in page.text for name in (*UNITS, *STEPWISE, *COUNTS))
    assert page.text.count("fake/a, expert, seed 0: judged") >= 1
    assert len(re.findall(r'class="dot (success|failure)"[^>]*><title>', page.text)) == 6
    assert "oracle" in page.text
    first = next(e for part in cases.values() for e in part)
    assert first.name in said.out
    shown = [round(float(v), 3) for v in first.judged]
    assert [s["p"] for s in json.loads(page.scripts[0])["steps"]] == pytest.approx(shown, abs=0.01)


def test_without_clips_no_model_is_loaded(measured, monkeypatch):
    monkeypatch.setattr("sole.review.clips.labelled_judge", pytest.fail)
    assert main(["report", "quality", str(measured), "--worst", "0"]) == 0
    page = check_page(measured.with_suffix(".html"), n_players=0)
    assert "There are no clips: --worst 0" in page.text


def test_a_model_that_is_gone_costs_the_clips_only(measured, capsys):
    change_config(measured, model="/no/such/model")
    assert main(["report", "quality", str(measured)]) == 0
    assert "no clips: " in capsys.readouterr().err
    text = measured.with_suffix(".html").read_text()
    assert "/no/such/model" in text
    assert 'class="player"' not in text


def test_another_model_than_the_measured_one_makes_no_clips(measured):
    change_config(measured, model="ramp")
    assert main(["report", "quality", str(measured)]) == 0
    assert "measured was random:0" in measured.with_suffix(".html").read_text()


def test_other_episodes_than_the_measured_ones_make_no_clips(measured):
    for path in (measured.parent / "cache").iterdir():
        put_episode(path, make_episode("a", "expert", [0, 1, 2, 3, 4], 0))
    assert main(["report", "quality", str(measured)]) == 0
    page = check_page(measured.with_suffix(".html"), n_players=0)
    assert "no longer what was measured" in page.text


def test_settings_of_another_version_make_no_clips(measured):
    change_config(measured, forgotten=1)
    assert main(["report", "quality", str(measured)]) == 0
    assert "config.forgotten" in measured.with_suffix(".html").read_text()


def test_clips_come_from_where_the_episodes_lie_now(measured, tmp_path):
    (tmp_path / "cache").rename(tmp_path / "moved")
    change_config(measured, cache="/no/such/cache")
    moved = ["--cache", str(tmp_path / "moved")]
    assert main(["report", "quality", str(measured), "--worst", "1", *moved]) == 0
    assert 'class="player"' in measured.with_suffix(".html").read_text()


def test_clips_of_a_data_set_are_its_own_episodes(tmp_path):
    with EpisodeWriter(tmp_path / "set", 10.0) as writer:
        for k, curve in enumerate(CURVES["a"].values()):
            writer.add(make_episode("a", "any", curve, 7 + k))
    out = tmp_path / "r.json"
    main(["eval", "quality", "--model", "random", "--data", str(tmp_path / "set"), "--threads", "1",
          "--no-controls", "--out", str(out)])  # fmt: skip
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = ["--data", str(tmp_path / "moved")]
    assert main(["report", "quality", str(out), "--worst", "2", *moved]) == 0
    page = check_page(out.with_suffix(".html"), n_players=2)
    truths = {tuple(s["true"] for s in json.loads(t)["steps"]) for t in page.scripts[:2]}
    assert truths == {tuple(map(float, curve)) for curve in CURVES["a"].values()}


class Talker:
    """A reward model that says one sentence when it thinks aloud, and nothing else."""

    views = ()

    def __init__(self, words=""):
        self.words, self.costs = words, CostCounters()
        self.model_id = "talker/think" if words else "random:0"

    def thinking(self):
        return Talker("It moves <away>.")

    def score(self, episodes):
        assert all(e.truth is None for e in episodes), "a model must not see the truth"
        said = StepScore(50.0, reasoning=self.words)
        return [EpisodeScore((said,) * e.n_frames, self.model_id) for e in episodes]


def test_clips_are_judged_once_more_with_words(measured, monkeypatch):
    monkeypatch.setattr("sole.review.clips.labelled_judge", lambda *_: Talker())
    main(["report", "quality", str(measured), "--worst", "1"])
    text = measured.with_suffix(".html").read_text()
    assert "one more verdict on the same episode, of talker/think" in text
    assert "It moves \\u003caway>." in text


def test_what_a_result_says_cannot_become_html(measured):
    whole = json.loads(measured.read_text())
    whole["config"] |= {"suite": "<script>", "tasks": []}
    measured.write_text(json.dumps(whole))
    main(["report", "quality", str(measured), "--worst", "0"])
    check_page(measured.with_suffix(".html"), n_players=0)


def test_the_plots_come_as_a_picture_too(measured, tmp_path):
    pytest.importorskip("matplotlib")
    png = tmp_path / "plots.png"
    assert main(["report", "quality", str(measured), "--worst", "0", "--png", str(png)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_page_of_the_wrong_name_is_refused_before_any_work(measured, capsys):
    assert main(["report", "quality", str(measured), "--html", "page.txt"]) == 2
    assert "expected a name ending in .html" in capsys.readouterr().err


def test_an_unknown_word_is_bad_input(capsys):
    assert main(["report", "qualty"]) == 2
    assert "quality, compare" in capsys.readouterr().err


@needs_browser
@pytest.mark.slow
def test_the_page_plays_in_a_browser_without_complaint(tmp_path, monkeypatch):
    fill_cache(tmp_path / "cache", stretch=2)
    out = evaluate(tmp_path, "random", n_frames=10)
    monkeypatch.setattr("sole.review.clips.labelled_judge", lambda *_: Talker())
    assert main(["report", "quality", str(out), "--worst", "2"]) == 0
    states, console = drive(out.with_suffix(".html"), tmp_path)
    check_driven(states, console, 9)
    assert states[1][2] == "It moves <away>."
