"""The sweep runner: what is run, what is not run again, and what is said about it."""

import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from io import StringIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from sole import cli
from sole.bench import command, on_ray, plan, pool, weights, worker
from sole.bench.compare import compare
from sole.bench.config import RlBenchConfig
from sole.bench.outcome import Outcome, read_outcome
from sole.bench.show import bench_figures, left_out, reward_grid, tables
from sole.bench.statistics import interquartile_mean, mean_score, stratified_interval
from sole.bench.verdict import is_hacked, verdict_of
from sole.config import load_preset, parse_config
from sole.errors import ConfigError, DataError
from sole.run import write_atomically
from sole.sims import registry
from sole.sims.registry import task_names

QUICK = settings(max_examples=50, deadline=None)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
TASKS = ("fake/a", "fake/b")


def bench(folder: Path, **changes) -> RlBenchConfig:
    own = {"tasks": TASKS, "rewards": ("nano", "oracle"), "seeds": 2, "episodes": 8}
    return RlBenchConfig(out=folder, **{**own, **changes})


def eval_line(episode: int, true: float, judged: float) -> dict:
    return {
        "step": 50 * episode, "kind": "eval", "episode": episode, "true_success": true,
        "judged_success": judged, "held_success": true, "true_progress_final": 100 * true,
        "judged_progress_final": 100 * judged, "evaluate_seconds": 700.0,
        "evaluate_reward_model_seconds": 300.0,
    }  # fmt: skip


def episodes_line(episode: int) -> dict:
    return {
        "step": 50 * episode, "kind": "episodes", "episode": episode, "true_success": 0.25,
        "judged_success": 0.5, "reward_model_calls": 10 * episode, "dropped": 1.0,
        "sim_seconds": 30.0, "reward_model_seconds": 15.0, "learn_seconds": 15.0,
    }  # fmt: skip


def finish(run, evals=((4, 0.5, 0.6), (8, 1.0, 0.9)), model=None) -> None:
    """Leave what a finished run leaves, without running it."""
    (run.run_dir / "checkpoints" / "step_00000008").mkdir(parents=True, exist_ok=True)
    lines = [m for e in evals for m in (episodes_line(e[0]), eval_line(*e))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run.run_dir / "metrics.jsonl").write_text(text)
    (run.run_dir / "config.json").write_text(run.model_dump_json())
    (run.run_dir / "data.json").write_text(json.dumps({"reward_model": model or run.reward}))
    result = {"config": run.model_dump(mode="json"), "last_evaluation": lines[-1]}
    write_atomically(run.run_dir / "result.json", json.dumps(result))


class InstantProcess:
    """A worker that has ended as soon as it is looked at."""

    stdin = None

    def __init__(self, run, code: int = 0):
        self.returncode = code
        if code == 0:
            finish(run)

    def poll(self):
        return self.returncode


def test_interquartile_mean_of_hand_cases():
    assert interquartile_mean([5.0]) == 5.0
    assert interquartile_mean([0.0, 1.0, 2.0, 100.0]) == 1.5
    assert interquartile_mean([100.0, 0.0, 2.0, 1.0, 3.0, 4.0, 5.0]) == 3.0  # one of 7 cut off
    assert interquartile_mean(np.arange(8.0)) == 3.5


@QUICK
@given(SHARES)
def test_interquartile_mean_is_that_of_scipys_trimmed_mean(scores):
    from scipy.stats import trim_mean

    assert interquartile_mean(scores) == pytest.approx(trim_mean(scores, 0.25))


def test_interval_of_two_runs_of_one_task_is_known():
    # Means of two draws of {0, 1}: 0, 1/2 or 1 with 1/4, 1/2, 1/4: the 2.5 % quantiles are ends.
    assert stratified_interval([[0.0, 1.0]], mean_score) == (0.0, 1.0)
    assert stratified_interval([[0.0, 1.0]], mean_score, level=0.4) == (0.5, 0.5)


def test_interval_draws_within_tasks_only():
    # Drawn over all four runs, the mean would leave 1/2; every stratum is constant.
    assert stratified_interval([[0.0, 0.0], [1.0, 1.0]], mean_score) == (0.5, 0.5)


def test_interval_of_single_seeds_is_not_made_up():
    assert np.isnan(stratified_interval([[0.2], [0.9]])).all()


@QUICK
@given(st.lists(SHARES, min_size=1, max_size=4), st.integers(0, 99))
def test_interval_stays_within_the_scores(by_task, seed):
    low, high = stratified_interval(by_task, n_draws=50, seed=seed)
    if not np.isnan(low):
        everything = [score for scores in by_task for score in scores]
        assert min(everything) - 1e-9 <= low <= high <= max(everything) + 1e-9


@pytest.mark.parametrize(
    ("true", "judged", "oracle", "verdict"),
    [
        (0.5, 0.9, None, "solved"),
        (0.39, 0.5, 1.0, "hacked"),
        (0.4, 0.5, 1.0, "signal-limited"),
        (0.1, 0.49, 0.5, "signal-limited"),
        (0.1, 0.1, 0.49, "RL-limited"),
        (0.1, None, 0.1, "RL-limited"),
        (0.1, 0.1, None, "unsolved"),
    ],
)
def test_verdict(true, judged, oracle, verdict):
    assert verdict_of(true, judged, oracle) == verdict


def test_verdict_of_something_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="shares"):
        verdict_of(50.0, 0.1, None)


def test_plan_has_every_combination_seed_by_seed(tmp_path):
    runs = plan.plan_runs(bench(tmp_path, rl={"n_envs": 4}, suites={"fake": {"gamma": 0.9}}))
    assert len(runs) == len({run.run_dir for run in runs}) == 8
    assert all(a.seed <= b.seed for a, b in pairwise(runs))
    assert {(r.episodes, r.n_envs, r.gamma, r.threads) for r in runs} == {(8, 4, 0.9, 1)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rl": {"episode": 3}}, "episode: .*settings of sole rl"),
        ({"settings": ("seed=3",)}, "seed is decided"),
        ({"settings": ("gamma",)}, "NAME=VALUE"),
        ({"settings": ("gamma=2",)}, "gamma"),
        ({"tasks": ("fake/a", "fake.a")}, "share a folder"),
    ],
)
def test_a_wrong_plan_is_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan_runs(bench(tmp_path, **changes))


def test_finished_runs_are_not_begun_again(tmp_path):
    runs = plan.plan_runs(bench(tmp_path))
    finish(runs[0])
    finish(runs[5])
    begun = []

    def start(run):
        begun.append(run.run_dir)
        return InstantProcess(run)

    assert pool.run_all(plan.unfinished(runs), 3, start=start) == []
    assert begun == [r.run_dir for k, r in enumerate(runs) if k not in {0, 5}]
    assert plan.unfinished(runs) == []


def test_a_larger_budget_makes_a_finished_run_unfinished(tmp_path):
    for run in plan.plan_runs(bench(tmp_path)):
        finish(run)
    assert plan.unfinished(plan.plan_runs(bench(tmp_path))) == []
    assert len(plan.unfinished(plan.plan_runs(bench(tmp_path, episodes=16)))) == 8


def test_a_run_goes_on_with_the_episodes_over_which_its_learning_rate_falls(tmp_path):
    for run in plan.plan_runs(bench(tmp_path)):
        finish(run)
    for episodes in (4, 16):
        with pytest.raises(ConfigError, match=f"begun for 8 .* is now to have {episodes}"):
            plan.check_budget(plan.plan_runs(bench(tmp_path, episodes=episodes)))
        level = bench(tmp_path, episodes=episodes, rl={"learning_rate_end": 1.0})
        plan.check_budget(plan.plan_runs(level))


def test_a_task_without_truth_is_refused_before_anything_is_trained(tmp_path):
    own = {"task": "reach the goal", "views": "front=image", "max_steps": 5}
    plan.check_truth(plan.plan_runs(bench(tmp_path, tasks=("fake_env:PointEnv",))))
    theirs = bench(tmp_path, tasks=("test_rl_any_env:TheirEnv",), rl=own)
    with pytest.raises(ConfigError, match="has no truth"):
        plan.check_truth(plan.plan_runs(theirs))


def test_a_result_that_cannot_be_kept_stops_no_other_run(tmp_path):
    runs = plan.plan_runs(bench(tmp_path, rewards=("nano",)))

    def keep(run):
        if run.env == "fake/a":
            raise DataError("the disk is full")

    failures = pool.run_all(runs, 1, start=InstantProcess, finished=keep)
    assert {(f.run.env, f.reason) for f in failures} == {("fake/a", "the disk is full")}
    assert len(plan.unfinished(runs)) == 0


def test_a_run_that_fails_stops_no_other(tmp_path):
    runs = plan.plan_runs(bench(tmp_path))

    def start(run):
        run.run_dir.mkdir(parents=True)
        (run.run_dir / "log.txt").write_text("begun\nno such task\n")
        return InstantProcess(run, code=1 if run.env == "fake/a" else 0)

    failures = pool.run_all(runs, 2, start=start)
    assert {f.run.env for f in failures} == {"fake/a"}
    assert {f.reason for f in failures} == {"no such task"}
    assert len(plan.unfinished(runs)) == 4


def test_minutes_of_work_that_a_kill_undid_do_not_count(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run)
    with (run.run_dir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(episodes_line(12)) + '\n{"step": 1')
    assert plan.minutes_spent(run.run_dir) == pytest.approx((2 * 60 + 2 * 1000) / 60)
    done = plan.last_evaluation(run.run_dir)
    assert done is not None
    assert done["episode"] == 8


@pytest.mark.parametrize(("keep", "goes_on"), [("last", False), ("judged", True)])
def test_a_run_without_minutes_left_still_chooses_its_policy(tmp_path, monkeypatch, keep, goes_on):
    run = plan.plan_runs(bench(tmp_path, max_minutes=0.001, rl={"keep": keep}))[0]
    finish(run)
    begun = []
    monkeypatch.setattr(worker, "_train", lambda config: begun.append(config) or {})
    worker._continue(run)
    assert bool(begun) == goes_on


def test_a_run_without_minutes_left_does_not_pass_for_one_with_other_settings(tmp_path):
    run = plan.plan_runs(bench(tmp_path, max_minutes=0.001))[0]
    finish(run)
    plan.write_plan(run.model_copy(update={"gamma": 0.5}))
    with pytest.raises(ConfigError, match=r"gamma \(was 0.95, now 0.5\)"):
        worker.main(run.run_dir)
    assert plan.finished_as(run) is not None


def test_fewer_minutes_than_a_run_has_had_are_refused(tmp_path):
    run = plan.plan_runs(bench(tmp_path, max_minutes=60.0))[0]
    finish(run)
    plan.write_plan(run)
    spent = plan.minutes_spent(run.run_dir)
    plan.check_budget([run, *plan.plan_runs(bench(tmp_path, max_minutes=spent + 1))])
    with pytest.raises(ConfigError, match="max_minutes is now 30"):
        plan.check_budget(plan.plan_runs(bench(tmp_path, max_minutes=30.0)))


def test_a_damaged_result_is_named(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run)
    (run.run_dir / plan.RESULT_FILE).write_text('{"config": {"no_such_setting": 1}}')
    with pytest.raises(DataError, match="delete the file"):
        plan.finished_as(run)


def test_reward_models_beside_the_first_one_may_have_fewer_seeds(tmp_path):
    few = plan.plan_runs(bench(tmp_path, seeds=3, other_seeds=1, rewards=("nano", "oracle")))
    assert Counter(r.reward for r in few) == {"nano": 6, "oracle": 2}
    assert {r.seed for r in few if r.reward == "oracle"} == {0}
    assert set(few) < set(plan.plan_runs(bench(tmp_path, seeds=3, rewards=("nano", "oracle"))))


def test_outcome_counts_training_minutes_without_evaluations(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run, evals=((4, 0.1, 0.2), (8, 0.6, 0.9)))
    outcome, points = read_outcome(run)
    assert (outcome.minutes, outcome.minutes_to_50, outcome.steps_to_50) == (2.0, 2.0, 400)
    assert outcome.wall_s == pytest.approx(2 * 60 + 2 * 1000)
    assert outcome.scoring_s == pytest.approx(2 * 15 + 2 * 300)
    assert [p.minutes for p in points] == [1.0, 2.0]
    assert (outcome.dropped, outcome.reward_model_calls, outcome.hacked) == (2, 80, False)


def test_a_task_without_truth_cannot_be_compared(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run)
    path = run.run_dir / "metrics.jsonl"
    path.write_text(path.read_text().replace('"true_success": 1.0', '"true_success": null'))
    with pytest.raises(DataError, match="no truth"):
        read_outcome(run)


def outcome(task: str, reward: str, seed: int, true: float, judged: float) -> Outcome:
    return Outcome(
        task, reward, seed, "sac", "state", "level", 8, 400, true, true, judged, 0.0, 0.0, true,
        judged, true, None, None, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 80, 0,
        is_hacked(judged, true),
    )  # fmt: skip


def rows_of(outcomes, **planned: int):
    """Compared as a sweep that has them all, unless it is said how many were planned."""
    counts = Counter(o.reward for o in outcomes)
    return compare(outcomes, planned or counts)


def test_comparison_takes_the_oracle_as_reference():
    rows = rows_of(
        [outcome("s/a", "nano", k, 0.1 * k, 0.2) for k in range(2)]
        + [outcome("s/b", "nano", k, 0.0, 0.9) for k in range(2)]
        + [outcome("s/c", "nano", 0, 0.0, 0.1)]
        + [outcome("s/a", "oracle", 0, 1.0, 1.0), outcome("s/c", "oracle", 0, 0.2, 0.2)]
    )
    verdicts = {(r.task, r.reward): r.verdict for r in rows.tasks}
    assert verdicts["s/a", "nano"] == "signal-limited"
    assert verdicts["s/b", "nano"] == "hacked"
    assert verdicts["s/c", "nano"] == "RL-limited"
    nano = rows.rewards[0]
    assert (nano.n_tasks, nano.n_runs, nano.n_solved, nano.n_hacked) == (3, 5, 0, 2)
    assert nano.mean[0] == pytest.approx(0.02)
    assert nano.mean[1:] == (pytest.approx(0.0), pytest.approx(0.04))


def test_three_seeds_of_exactly_half_solve_a_task_and_of_forty_percent_hack_nothing():
    # Their floating-point means are a little below 0.5 and 0.4.
    half = [outcome("a", "nano", k, n / 20, 1.0) for k, n in enumerate((7, 14, 9))]
    assert rows_of(half).rewards[0].n_solved == 1
    forty = [outcome("a", "nano", k, n / 20, 1.0) for k, n in enumerate((0, 4, 20))]
    assert rows_of(forty).tasks[0].verdict == "unsolved"


def test_figures_have_the_names_that_documents_quote(tmp_path):
    config = bench(
        tmp_path, name="mw17", headline=("hacked_share", "minutes_to_50"), task_figures=True
    )
    rows = rows_of([outcome("s/a", "nano", 0, 0.7, 0.9), outcome("s/a", "oracle", 0, 1.0, 1.0)])
    figures = bench_figures(rows, config)
    found = {f.name: f.value for f in figures}
    assert found["rl.mw17.solved"] == found["rl.mw17.oracle_solved"] == 1
    assert found["rl.s.a.true_success"] == found["rl.mw17.mean_success"] == 0.7
    assert {"rl.hacked_share", "rl.minutes_to_50", "rl.mw17.score_share_of_wall"} <= set(found)
    assert "rl.score_share_of_wall" not in found
    assert len(found) == len(figures)


def test_an_unfinished_reward_model_has_no_figures_and_gives_none_to_the_next(tmp_path):
    config = bench(tmp_path, name="mw17", headline=("hacked_share",), task_figures=True)
    oracle = [outcome("s/a", "oracle", k, 1.0, 1.0) for k in range(2)]
    for nano in ([], [outcome("s/a", "nano", 0, 0.0, 0.9)]):
        rows = rows_of(oracle + nano, nano=2, oracle=2)
        names = {f.name for f in bench_figures(rows, config)}
        assert all(name.startswith("rl.mw17.oracle_") for name in names)
        assert {"rl.mw17.oracle_solved", "rl.mw17.oracle_n_planned"} <= names
        assert "nano (" in (left_out(rows, config) or "")
    whole = [*oracle, *(outcome("s/a", "nano", k, 0.0, 0.9) for k in range(2))]
    rows = rows_of(whole, nano=2, oracle=2)
    found = {f.name: f.value for f in bench_figures(rows, config)}
    assert (found["rl.hacked_share"], found["rl.mw17.solved"]) == (1.0, 0)
    assert left_out(rows, config) is None


def test_the_order_of_reward_models_is_that_of_the_settings():
    found = [outcome("s/a", "oracle", 0, 1.0, 1.0), outcome("s/a", "nano", 0, 0.0, 0.9)]
    assert [row.reward for row in rows_of(found, nano=1, oracle=1).rewards] == ["nano", "oracle"]


def test_no_two_presets_record_the_same_headline():
    presets = [load_preset(p) for p in (Path(__file__).parents[1] / "presets").glob("bench-*.toml")]
    taken = [name for preset in presets for name in preset.get("headline", ())]
    assert sorted(taken) == ["minutes_to_50", "score_share_of_wall"]  # hacked: sole bench hacked
    tasks = [task for p in presets if p.get("task_figures") for task in p["tasks"]]
    assert len(tasks) == len(set(tasks)) == 23


def test_runs_that_other_weights_have_judged_are_refused_under_the_same_name(tmp_path, monkeypatch):
    loaded = []

    def present(run):
        loaded.append(run.reward)
        return {"nano": "nano-new", "oracle": "oracle"}[run.reward]

    monkeypatch.setattr(weights, "present_model", present)
    runs = plan.plan_runs(bench(tmp_path))
    weights.check_models(runs, {})
    assert loaded == [], "nothing was begun, so nothing need be loaded"
    for run in runs[:4]:
        finish(run, model="nano-new" if run.reward == "nano" else None)
    weights.check_models(runs, {})
    assert loaded == ["nano", "oracle"]
    finish(runs[4], model="nano-old")
    flags = ["--tasks", *TASKS, "--rewards", "nano", "oracle", "--seeds", "2", "--episodes", "8"]
    with pytest.raises(ConfigError, match="judged by nano-old, and the reward model is now nano-n"):
        command.main(["rl", *flags, "--out", str(tmp_path), "--no-run"])


def test_a_finished_run_that_does_not_say_what_judged_it_is_refused(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run)
    (run.run_dir / "data.json").unlink()
    with pytest.raises(DataError, match="which reward model"):
        weights.check_models([run], {})


def test_command_compares_what_is_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(weights, "present_model", lambda run: run.reward)
    config = bench(tmp_path)
    for run in plan.plan_runs(config)[:5]:
        finish(run)
    flags = ["--tasks", *TASKS, "--rewards", "nano", "oracle", "--seeds", "2", "--episodes", "8"]
    assert command.main(["rl", *flags, "--out", str(tmp_path), "--no-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["n_planned"], len(said["runs"]), said["rewards"][0]["n_solved"]) == (8, 5, 2)
    assert pq.read_table(tmp_path / "runs.parquet").num_rows == 5
    assert pq.read_table(tmp_path / "evaluations.parquet").num_rows == 10
    for name in ("success.png", "judged_true.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_command_without_a_finished_run_says_so(tmp_path):
    with pytest.raises(DataError, match="none of 2 runs"):
        command.main(
            ["rl", "--tasks", "fake/a", "--seeds", "1", "--out", str(tmp_path), "--no-run"]
        )


@pytest.mark.parametrize("package", ["stable_baselines3", "matplotlib"])
def test_a_missing_package_is_named_before_anything_runs(tmp_path, monkeypatch, capsys, package):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == package else there(n))
    words = ["--tasks", "metaworld/door-lock", "--rewards", "nano", "--out", str(tmp_path / "b")]
    assert cli.main(["bench", "rl", *words]) == 1
    assert f"pip install 'sole-rewards[{cli._EXTRA_OF[package]}]'" in capsys.readouterr().err
    assert not list(tmp_path.rglob("log.txt"))


def test_other_words_than_those_of_bench_are_refused():
    with pytest.raises(ConfigError, match="expected one of rl, hacked, tokens"):
        command.main(["sims"])


def test_preset_holds_the_17_test_tasks_and_is_valid(tmp_path):
    path = Path(__file__).parents[1] / "presets" / "bench-mw17.toml"
    config = parse_config(RlBenchConfig, [str(path), "--out", str(tmp_path)], "sole bench rl")
    wanted = {n for n in task_names("test") if n.startswith("metaworld/")}
    assert set(config.tasks) == wanted
    assert len(plan.plan_runs(config)) == 17 * 2 * 3


def test_table_shows_the_interval(tmp_path):
    rows = rows_of([outcome("s/a", "nano", k, 0.25 * k, 0.9) for k in range(4)], nano=6)
    cells = reward_grid(rows).rows[0]
    assert cells[1:3] == ("4 of 6", "0/1")
    assert cells[3] == "38% [0%, 75%]"


LONGEST = "libero/KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet"
WIDE = [
    outcome(task, reward, seed, true, 0.0)
    for task in ("metaworld/handle-press-side", LONGEST)
    for reward, most in (("runs/hn-round-2/model", 0.5), ("oracle", 1.0), ("constant:50", 0.1))
    for seed, true in enumerate((0.0, most, most, 0.0))
]


@pytest.mark.parametrize("width", [80, 100, 300])
def test_no_table_is_wider_than_the_terminal_and_no_number_is_cut_off(width):
    console = Console(width=width, record=True, file=StringIO())
    shown = tables(rows_of(WIDE), width)
    for table in shown:
        console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = ("judged", "verdict", "signal-limited", "steps to 50%", "50% (0%-100%)", "scoring",
             "50% [0%, 100%]", "min to 50%", "learn")  # fmt: skip
    assert [word for word in words if word not in text] == []
    assert (len(shown) == 3) == (width == 300)


def test_a_usual_sweep_shows_true_judged_and_verdict_side_by_side_at_80_characters():
    usual = [outcome("metaworld/handle-press-side", r, k, most - 0.1 * k, 0.1)
             for r, most in (("nano", 0.3), ("oracle", 1.0)) for k in range(3)]  # fmt: skip
    shown = tables(rows_of(usual), 80)
    by_task = [t for t in shown if str(t.title).startswith("by task")]
    found = [[str(column.header) for column in table.columns] for table in by_task]
    assert found[0][:5] == ["task", "reward", "true", "judged", "verdict"]
    assert {name for names in found for name in names[2:]} >= {"held", "steps to 50%"}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_sweep_repeats_no_finished_run_and_leaves_no_process(tmp_path):
    first = start_sweep(tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/*/*/result.json")))
    assert first.poll() is None, "the sweep was over before it could be killed"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    finished = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*/*/result.json")}
    metrics = {p: (p.parent / "metrics.jsonl").read_bytes() for p in finished}
    assert len(finished) < 3
    assert start_sweep(tmp_path).wait(timeout=800) == 0
    assert len(list(tmp_path.glob("runs/*/*/*/result.json"))) == 3
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    assert {p: (p.parent / "metrics.jsonl").read_bytes() for p in finished} == metrics
    for folder in (p.parent for p in tmp_path.glob("runs/*/*/*/result.json")):
        lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
        rounds = [m["episode"] for m in lines if m["kind"] == "episodes"]
        assert rounds == list(range(4, 17, 4)), "an episode was trained twice or not at all"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_over_ray_runs_everything_and_repeats_nothing(tmp_path):
    pytest.importorskip("ray")
    assert start_sweep(tmp_path, "--ray", "--jobs", "2").wait(timeout=800) == 0
    finished = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*/*/result.json")}
    assert len(finished) == 3
    assert start_sweep(tmp_path, "--ray").wait(timeout=800) == 0
    assert {p: p.stat().st_mtime_ns for p in finished} == finished


class RayError(Exception):
    pass


class FakeRay:
    """The few calls of Ray that a sweep makes; tasks run at once, and one may be lost."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, lost: str = ""):
        self.lost, self.options, self.n_cpus, self.down = lost, [], None, False

    def init(self, num_cpus=None, **options):
        self.n_cpus = num_cpus

    def remote(self, **options):
        self.options.append(options)
        return lambda work: SimpleNamespace(remote=lambda *given: (work, *given))

    def wait(self, tasks, num_returns):
        return tasks[-num_returns:], tasks[:-num_returns]

    def get(self, task):
        if self.lost and self.lost in task[1]:
            raise RayError
        return task[0](*task[1:])

    def shutdown(self):
        self.down = True


class WaitedProcess(InstantProcess):
    def wait(self):
        return self.returncode

    def kill(self):
        pass


def test_over_ray_every_run_is_begun_once_and_a_lost_machine_fails_only_its_own(
    tmp_path, monkeypatch
):
    ray = FakeRay(lost="fake.b/nano/seed1")
    begun = []

    def start(run, started_in):
        assert started_in == str(Path.cwd())  # where relative names of weights start
        begun.append(run.run_dir)
        run.run_dir.mkdir(parents=True)
        return WaitedProcess(run, code=1 if run.run_dir.match("fake.a/oracle/seed0") else 0)

    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(on_ray, "start_worker", start)
    runs, ended = plan.plan_runs(bench(tmp_path)), []
    failures = on_ray.run_all_on_ray(runs, 3, advance=ended.append)
    assert len(begun) == len(set(begun)) == 7
    assert sum(ended) == 8
    assert {f.run.run_dir.relative_to(tmp_path / "runs").as_posix() for f in failures} == {
        "fake.b/nano/seed1", "fake.a/oracle/seed0"
    }  # fmt: skip
    assert (ray.n_cpus, ray.down, ray.options[0]["num_cpus"]) == (3, True, 1)
    assert len(plan.unfinished(runs)) == 2


def test_a_machine_without_the_folder_of_the_sweep_says_so(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    assert on_ray._work(run.model_dump_json(), str(tmp_path / "elsewhere")) == 1
    assert "has no folder" in pool.last_words(run.run_dir, 1)


def test_a_named_cluster_brings_its_own_cpus(tmp_path, monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert on_ray.run_all_on_ray([], 3) == []
    assert ray.n_cpus is None


def test_ray_that_is_not_installed_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'sole-rewards\[ray\]'"):
        on_ray.run_all_on_ray(plan.plan_runs(bench(tmp_path)), 1)


def test_nothing_that_is_missing_needs_no_ray(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(weights, "present_model", lambda run: run.reward)
    for run in plan.plan_runs(bench(tmp_path)):
        finish(run)
    flags = ["--tasks", *TASKS, "--rewards", "nano", "oracle", "--seeds", "2", "--episodes", "8"]
    assert command.main(["rl", *flags, "--out", str(tmp_path), "--ray"]) == 0
    assert "simulate" in capsys.readouterr().out


def test_a_run_of_an_older_version_is_still_finished(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run)
    path = run.run_dir / plan.RESULT_FILE
    found = json.loads(path.read_text())
    del found["config"]["picture_px"]
    path.write_text(json.dumps(found))
    assert plan.finished_as(run) is not None


def test_runs_of_a_suite_that_is_not_installed_are_named_and_the_others_go_on(tmp_path):
    absent = dataclasses.replace(registry.SUITES["robosuite"], modules=("no_such_simulator",))
    runs = plan.plan_runs(bench(tmp_path, tasks=("robosuite/Lift", "metaworld/push"), seeds=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.SUITES, "robosuite", absent)
        found = pool.not_installed(runs)
    assert {f.run.env for f in found} == {"robosuite/Lift"}
    assert all("pip install" in f.reason for f in found)


@pytest.mark.parametrize("name", ["bench-pixels", "bench-suites"])
def test_the_other_presets_name_test_tasks_and_valid_settings(tmp_path, name):
    path = Path(__file__).parents[1] / "presets" / f"{name}.toml"
    config = parse_config(RlBenchConfig, [str(path), "--out", str(tmp_path)], "sole bench rl")
    assert set(config.tasks) <= set(task_names("test"))
    assert len(plan.plan_runs(config)) == len(config.tasks) * 2 * config.seeds


def test_the_last_policy_is_reported_on_other_layouts_but_is_no_point_of_the_curve(tmp_path):
    run = plan.plan_runs(bench(tmp_path))[0]
    finish(run)
    chosen = {**eval_line(8, 0.75, 0.8), "chosen_episode": 4}
    with (run.run_dir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(chosen) + "\n")
    outcome, points = read_outcome(run)
    assert outcome.true_success == 0.75
    assert [p.true_success for p in points] == [0.5, 1.0]


def start_sweep(folder: Path, *flags_of_its_own: str) -> subprocess.Popen:
    flags = ["--tasks", "fake_env:PointEnv", "--rewards", "constant:50", "--seeds", "3"]
    more = ["n_envs=4", "random_episodes=4", "updates_per_episode=20", "batch_size=32"]
    more += ["eval_episodes=4", "checkpoint_every=4"]
    command = [sys.executable, "-m", "sole.cli", "bench", "rl", *flags, "--episodes", "16"]
    places = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    return subprocess.Popen(
        [*command, "--settings", *more, "--out", str(folder), *flags_of_its_own], env=environment
    )


def wait_for(what, seconds: float = 400.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)
