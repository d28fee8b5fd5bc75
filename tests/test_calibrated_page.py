"""The page of a calibration has its worst cases as clips, or says why there are none."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_calibration import N_FRAMES, make_episodes
from test_report import check_page

from sole.cli import main
from sole.data.cache import put_episode
from sole.data.episode import EpisodeScore, StepScore, make_facts
from sole.data.lerobot_writer import EpisodeWriter
from sole.evals.calibration_rows import rows_path
from sole.review.calibration_cases import Row, wrong_cases
from sole.rewarders.base import CostCounters
from sole.rewarders.controls import Constant

_NO_COLOURS = pytest.mark.filterwarnings("default")  # matplotlib reads fonts its own way
FITTED = make_episodes()


class Guesser:
    """Reads success off the brightness of one pixel, which is chance; has words when asked."""

    views = ("external",)

    def __init__(self, words=""):
        self.words, self.costs = words, CostCounters()
        self.model_id = "guesser/think" if words else "guesser"

    def thinking(self):
        return Guesser("It looks <done>.")

    def score(self, episodes):
        assert all(e.truth is None for e in episodes), "a model must not see the truth"
        return [EpisodeScore(self._steps(e), self.model_id) for e in episodes]

    def _steps(self, episode):
        said = episode.views["external"][1:, 0, 0, 0] / 255
        steps = (StepScore(100 * v, v, reasoning=self.words) for v in map(float, said))
        return StepScore(0.0, 0.0), *steps


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A calibration of chance, fitted on simulated episodes and checked on a data set."""
    folder = tmp_path_factory.mktemp("calibrated")
    (folder / "cache").mkdir()
    for e in FITTED:
        name = f"{e.env_name.replace('/', '-')}-{e.policy}-{e.seed}-{N_FRAMES}.npz"
        put_episode(folder / "cache" / name, with_facts(e))
    with EpisodeWriter(folder / "set", 10.0) as writer:
        for e in make_episodes(2, 10, seed=5):
            writer.add(with_facts(larger(e)))
    flags = ["--tasks", *sorted({e.env_name for e in FITTED}), "--episodes-per-task", "20",
             "--policies", "expert", "--n-frames", str(N_FRAMES), "--seed", "0", "--threads", "1",
             "--cache", str(folder / "cache"), "--check-data", str(folder / "set")]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sole.evals.calibration.labelled_judge", lambda *_: Guesser())
        patch.setattr("sole.evals.calibration._draw", lambda *_: None)
        assert main(["calibrate", "--model", "m", "--out", str(folder / "c.json"), *flags]) == 0
    return folder / "c.json"


@pytest.fixture
def guesser(monkeypatch):
    monkeypatch.setattr("sole.review.clips.labelled_judge", lambda *_: Guesser())


def with_facts(episode):
    facts = tuple(make_facts() for _ in range(episode.n_frames))
    return replace(episode, truth=replace(episode.truth, facts=facts))


def larger(episode):
    """Video encoders want more than eight pixels."""
    views = {name: np.repeat(np.repeat(f, 4, 1), 4, 2) for name, f in episode.views.items()}
    return replace(episode, views=views)


def page_of(calibration, folder, *argv, n_players):
    page = folder / "page.html"
    argv = ["report", "calibration", str(calibration), "--html", str(page), *map(str, argv)]
    assert main(argv) == 0
    return check_page(page, n_players=n_players)


# ---- rows ------------------------------------------------------------------------------------


def test_every_episode_is_kept_with_what_was_read_and_whether_it_passes(calibrated):
    lines = pq.read_table(rows_path(calibrated)).to_pylist()
    record, found = (json.loads(p.read_text()) for p in
                     (calibrated, calibrated.with_suffix(".measured")))  # fmt: skip
    assert [line["part"] for line in lines] == ["fit"] * 80 + ["check"] * 20
    assert [line["place"] for line in lines] == [*range(80), *range(20)]
    for part in ("fit", "check"):
        mine = [line for line in lines if line["part"] == part]
        passed = [line["true_success"] for line in mine if line["passed"]]
        assert passed.count(False) == found[part]["fpr"]["k"]
        assert passed.count(True) == found[part]["recall"]["k"]
        assert len(mine) - len(passed) > 20 * (part == "fit")
    for line, episode in zip(lines, FITTED, strict=False):
        said = episode.views["external"][1:, 0, 0, 0].max() / 255
        assert line["highest_signal"] == pytest.approx(said)
        assert line["true_success"] == episode.truth.any_success
        assert (line["env_name"], line["seed"]) == (episode.env_name, episode.seed)
        assert line["true_progress"] == episode.truth.true_progress.tolist()
        assert line["passed"] == (line["calibrated"] >= record["success_threshold"])


def row(place, signal, *, done, passed):
    return Row(place, "t", "p", place, "do", done, np.zeros(2), "fit", signal, signal, passed)


def test_failures_that_pass_and_successes_that_do_not_are_the_worst_cases():
    rows = [
        row(0, 0.7, done=False, passed=True), row(1, 0.9, done=False, passed=True),
        row(2, 0.2, done=True, passed=False), row(3, 0.1, done=True, passed=False),
        row(4, 0.8, done=True, passed=True), row(5, 0.0, done=False, passed=False),
    ]  # fmt: skip
    found = wrong_cases(rows, 2)
    assert {kind: [r.place for r in part] for kind, part in found.items()} == {
        "passed": [1, 0], "missed": [3, 2],
    }  # fmt: skip
    assert [r.place for part in wrong_cases(rows, 1).values() for r in part] == [1, 3]


# ---- clips -----------------------------------------------------------------------------------


def test_the_worst_cases_are_judged_once_more_with_words(calibrated, guesser, tmp_path):
    page = page_of(calibrated, tmp_path, "--worst", "2", n_players=3)
    lines = pq.read_table(rows_path(calibrated)).to_pylist()
    wrong = [line for line in lines if line["passed"] and not line["true_success"]]
    first = max(wrong, key=lambda line: line["highest_signal"])
    name = f"{first['env_name']}, expert, seed {first['seed']}: truly failed, passes: highest"
    assert name in page.text
    assert page.text.count("truly done, does not pass") == 2
    shown = json.loads(page.scripts[0])["steps"]
    assert [s["true"] for s in shown] == pytest.approx(first["true_progress"], abs=0.01)
    assert max(s["success"] for s in shown) == pytest.approx(first["highest_signal"], abs=0.01)
    assert shown[1]["text"] == "It looks <done>."
    assert "of guesser/think" in page.text


def test_cases_of_the_checked_data_set_are_found_where_it_lies_now(calibrated, guesser, tmp_path):
    (calibrated.parent / "set").rename(tmp_path / "moved")
    try:
        page = page_of(calibrated, tmp_path, "--worst", "99", n_players=0)
        assert "There are no clips: " in page.text
        lines = pq.read_table(rows_path(calibrated)).to_pylist()
        n_wrong = sum(line["passed"] != line["true_success"] for line in lines)
        moved = ["--worst", "99", "--check-data", tmp_path / "moved"]
        page = page_of(calibrated, tmp_path, *moved, n_players=n_wrong)
        n_checked = sum(line["passed"] != line["true_success"] for line in lines[80:])
        assert page.text.count("(of those nothing was chosen on)") == n_checked > 0
    finally:
        (tmp_path / "moved").rename(calibrated.parent / "set")


def test_without_clips_no_model_is_loaded(calibrated, monkeypatch, tmp_path):
    monkeypatch.setattr("sole.review.clips.labelled_judge", pytest.fail)
    page = page_of(calibrated, tmp_path, "--worst", "0", n_players=0)
    assert "There are no clips: --worst 0" in page.text


def test_another_model_or_other_episodes_make_no_clips(
    calibrated, guesser, monkeypatch, tmp_path, capsys
):
    (tmp_path / "cache").mkdir()
    for e in FITTED:
        name = f"{e.env_name.replace('/', '-')}-{e.policy}-{e.seed}-{N_FRAMES}.npz"
        put_episode(tmp_path / "cache" / name, with_facts(FITTED[0]))
    page = page_of(calibrated, tmp_path, "--cache", tmp_path / "cache", n_players=0)
    assert "its true progress is no longer what was measured" in page.text
    assert "no clips: fake/" in capsys.readouterr().err
    monkeypatch.setattr("sole.review.clips.labelled_judge", lambda *_: Constant(50))
    page = page_of(calibrated, tmp_path, n_players=0)
    assert "measured was guesser, but m is now constant:50" in page.text


@pytest.fixture
def copied(calibrated, tmp_path):
    """A calibration and what lies beside it, which may be spoilt."""
    for path in calibrated.parent.glob("c.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / "c.json"


def test_a_calibration_of_before_has_its_page_without_clips(copied, guesser, tmp_path):
    path = copied.with_suffix(".measured")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({part: found[part] for part in ("fit", "check")}))
    rows_path(copied).unlink()
    page = page_of(copied, tmp_path, n_players=0)
    assert "kept no episodes; calibrate again" in page.text
    assert "as the model says" in page.text


def test_rows_that_are_missing_damaged_or_of_another_calibration_cost_the_clips(
    copied, guesser, tmp_path
):
    path = rows_path(copied)
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    page = page_of(copied, tmp_path, n_players=0)
    assert "does not belong to the calibration beside it" in page.text
    path.write_text("no table")
    assert "c.episodes.parquet: cannot be read" in page_of(copied, tmp_path, n_players=0).text
    path.unlink()
    assert "c.episodes.parquet: missing" in page_of(copied, tmp_path, n_players=0).text


def test_settings_of_another_version_make_no_clips(copied, guesser, tmp_path):
    path = copied.with_suffix(".measured")
    whole = json.loads(path.read_text())
    whole["config"]["forgotten"] = 1
    path.write_text(json.dumps(whole))
    assert "c.measured: config.forgotten" in page_of(copied, tmp_path, n_players=0).text


@_NO_COLOURS
def test_the_diagrams_come_as_a_picture_too(calibrated, tmp_path):
    pytest.importorskip("matplotlib")
    png = tmp_path / "c.png"
    page_of(calibrated, tmp_path, "--worst", "0", "--png", png, n_players=0)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_other_thresholds_give(calibrated, tmp_path):
    page = page_of(calibrated, tmp_path, "--worst", "0", n_players=0)
    points = json.loads(calibrated.with_suffix(".measured").read_text())["check"]["points"]
    assert "Other thresholds" in page.text
    for point in points:
        assert f"<td>{100 * point['wanted_fpr']:g}%</td><td>{point['threshold']:.4f}" in page.text
