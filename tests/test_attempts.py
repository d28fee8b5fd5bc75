"""Ordering what agents did: judges whose order is known, and films made again."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sole.cli import main
from sole.data.attempts import Attempt, save_attempts
from sole.evals.attempt_films import chosen_attempts, film
from sole.evals.selection import select, selection_gain
from sole.sims.registry import make_env

CURVES = st.lists(st.lists(st.integers(-100, 100), min_size=4, max_size=4), min_size=5, max_size=12)


@given(CURVES)
def test_the_truth_selects_perfectly_and_its_opposite_worst(curves):
    true = np.array(curves, float)
    found, opposite = select(true, true), select(-true, true)
    assert found.preferred == pytest.approx(found.best)
    assert opposite.preferred <= found.all + 1e-9
    if found.best > found.all:
        assert found.gain == pytest.approx(1.0)
        assert opposite.gain <= 1e-9


@given(CURVES, st.integers(-100, 100))
def test_who_says_the_same_of_everything_selects_like_chance(curves, said):
    true = np.array(curves, float)
    found = select(np.full_like(true, said), true)
    assert found.preferred == pytest.approx(found.all)
    assert (
        math.isnan(found.return_spearman)
        if np.ptp(true[:, 1:].mean(1)) == 0
        else (found.return_spearman == 0.0)
    )


@given(CURVES)
def test_the_order_of_the_attempts_does_not_matter(curves):
    true = np.array(curves, float)
    judged = np.abs(true)
    one, other = select(judged, true), select(judged[::-1], true[::-1])
    assert one.preferred == pytest.approx(other.preferred)


def test_nothing_to_gain_is_no_gain():
    assert math.isnan(selection_gain(10.0, 10.0, 10.0))
    with pytest.raises(ValueError, match="in pairs"):
        select([], [])


def _run(folder, n=4, steps=5):
    """What `sole rl` keeps of a run, simulated here: random actions, and what came of them."""
    rng = np.random.default_rng(0)
    attempts = []
    n_actions = 4  # of every arm of worlds
    for k in range(n):
        env = make_env("worlds/drawer-close", seed=k, size_px=32)
        env.reset(seed=k)
        actions = rng.uniform(-1, 1, (steps, n_actions)).astype(np.float32)
        true = [env.truth()[0]]
        for action in actions:
            env.step(action)
            true.append(env.truth()[0])
        env.close()
        curve = np.array(true, np.float32)
        attempts.append(Attempt(k, k, k, actions, np.zeros_like(curve), curve))
    save_attempts(folder / "attempts", 0, attempts)
    (folder / "config.json").write_text(json.dumps({"env": "worlds/drawer-close", "task": None}))
    return folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "drawer" / "nano").mkdir(parents=True)
    _run(folder / "drawer" / "nano")
    return folder


def test_attempts_are_chosen_evenly_from_every_run_below_a_folder(sweep):
    chosen = chosen_attempts([sweep], 3)
    assert [one.attempt.episode for one in chosen] == [0, 1, 3]
    assert {one.run for one in chosen} == {"drawer/nano"}
    assert len(chosen_attempts([sweep / "drawer" / "nano"], 99)) == 4


def test_the_films_are_of_what_was_done_and_are_made_once(sweep, tmp_path, monkeypatch):
    tried = chosen_attempts([sweep], 2)
    films = film(tried, tmp_path)
    for one, episode in zip(tried, films, strict=True):
        assert episode.truth is not None
        assert episode.truth.true_progress == pytest.approx(one.attempt.true_progress, abs=0.5)
        assert episode.views["external"].shape == (6, 96, 96, 3)
    monkeypatch.setattr("sole.evals.attempt_films.film_again", None)  # would raise if it were asked
    again = film(tried, tmp_path)
    assert np.array_equal(again[1].views["wrist"], films[1].views["wrist"])


def test_the_command_gives_the_oracle_all_and_a_ramp_nothing(sweep, tmp_path, capsys):
    flags = ["--cache", str(tmp_path / "c"), "--score-every", "1", "--threads", "1", "--json"]
    kept = tmp_path / "kept.parquet"
    figures = tmp_path / "docs" / "figures.json"
    figures.parent.mkdir()
    more = ["--keep", str(kept), "--figures", str(figures), "--prefix", "few"]
    models = ["--models", "oracle", "ramp"]
    assert main(["eval", "attempts", "--runs", str(sweep), *models, *flags, *more]) == 0
    whole = json.loads(capsys.readouterr().out)["models"]
    truth = whole["oracle"]["tasks"]["worlds/drawer-close"]
    assert truth["n"] == 4
    assert truth["preferred"] == pytest.approx(truth["best"])
    ramp = whole["ramp"]["tasks"]["worlds/drawer-close"]
    assert ramp["preferred"] == pytest.approx(ramp["all"])
    recorded = json.loads(figures.read_text())
    assert {f["name"].split(".")[0] for f in recorded} == {"few"}
    assert all(f["low"] is None for f in recorded)  # of one task there is no interval
    # What was kept is judged alike where the run is not.
    assert main(["eval", "attempts", "--runs", str(kept), *models, *flags]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == whole


def test_a_folder_without_runs_is_refused(tmp_path, capsys):
    assert main(["eval", "attempts", "--runs", str(tmp_path)]) == 2
    assert "expected a folder of `sole rl`" in capsys.readouterr().err


def test_an_attempt_that_comes_out_otherwise_is_refused(tmp_path, capsys):
    run = _run(tmp_path / "run", n=1)
    with np.load(run / "attempts" / "000000.npz") as data:
        arrays = dict(data)
    arrays["true_progress"] = arrays["true_progress"] + 30
    np.savez(run / "attempts" / "000000.npz", **arrays)
    flags = ["--models", "oracle", "--cache", str(tmp_path / "c")]
    assert main(["eval", "attempts", "--runs", str(run), *flags]) == 1
    assert "does not come out again" in capsys.readouterr().err
