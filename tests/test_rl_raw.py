"""Raw results that are kept in the repository, and the share of hacked runs over several sweeps."""

import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_rl_bench import TASKS, InstantProcess, bench, finish, outcome

from sole.bench import command, plan, pool, weights
from sole.bench.hacked import NOT_UNDER_TEST, count_hacked, is_under_test
from sole.bench.raw import Result, keep_results, key_of, read_results, write_results
from sole.errors import ConfigError, DataError
from sole.rewarders.load import CHOICES

RUN_ALL = pool.run_all


def flags(out, *more):
    return ["rl", "--tasks", *TASKS, "--rewards", "nano", "oracle", "--seeds", "2",
            "--episodes", "8", "--out", str(out), *more]  # fmt: skip


def raw(folder, name, *runs):
    """What ``sole bench rl --raw`` leaves of a sweep of (reward, seed, true, judged)."""
    folder.mkdir(exist_ok=True)
    results = [Result(outcome("s/a", *r), (), {"of": name}, r[0]) for r in runs]
    write_results(folder, results, f"{name}.")
    return folder / f"{name}.runs.parquet"


def test_raw_results_are_those_of_the_finished_runs_under_the_sweeps_name(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "present_model", lambda run: run.reward)
    for run in plan.plan_runs(bench(tmp_path / "out"))[:5]:
        finish(run)
    kept = tmp_path / "docs" / "raw"
    more = ["--no-run", "--raw", str(kept), "--name", "mw"]
    assert command.main(flags(tmp_path / "out", *more)) == 0
    assert sorted(p.name for p in kept.iterdir()) == [
        "mw.evaluations.parquet", "mw.runs.parquet"
    ]  # fmt: skip
    for name in ("runs", "evaluations"):
        there = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert pq.read_table(kept / f"mw.{name}.parquet").equals(there)
    assert pq.read_table(kept / "mw.runs.parquet").num_rows == 5
    assert sum(p.stat().st_size for p in kept.iterdir()) < 40_000


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Five of eight runs finished and kept on one machine, whose folders are gone."""
    monkeypatch.setattr(weights, "present_model", lambda run: run.reward)
    out, folder = tmp_path / "out", tmp_path / "raw"
    for run in plan.plan_runs(bench(out))[:5]:
        finish(run)
    assert command.main(flags(out, "--no-run", "--raw", str(folder), "--name", "mw")) == 0
    shutil.rmtree(out)
    return folder


def again(tmp_path, kept, monkeypatch, *more):
    """The same sweep on another machine; returns the runs that were started there."""
    started = []

    def start(run):
        started.append(key_of(run))
        return InstantProcess(run)

    monkeypatch.setattr(pool, "run_all", lambda runs, jobs, **_: RUN_ALL(runs, jobs, start=start))
    monkeypatch.setattr(pool, "not_installed", lambda runs: [])
    argv = flags(tmp_path / "new", "--raw", str(kept), "--name", "mw", "--json", *more)
    assert command.main(argv) == 0
    return started


def test_a_sweep_goes_on_from_raw_results_where_its_folders_are_gone(tmp_path, kept, monkeypatch):
    keys = [key_of(run) for run in plan.plan_runs(bench(tmp_path / "any"))]
    before = pq.read_table(kept / "mw.runs.parquet").to_pylist()
    assert again(tmp_path, kept, monkeypatch) == keys[5:]
    rows = pq.read_table(kept / "mw.runs.parquet").to_pylist()
    assert [(r["task"], r["reward"], r["seed"]) for r in rows] == keys
    assert rows[:5] == before
    assert pq.read_table(kept / "mw.evaluations.parquet").num_rows == 2 * len(keys)
    result = json.loads((tmp_path / "new" / "result.json").read_text())
    whole = tmp_path / "whole"
    for run in plan.plan_runs(bench(whole)):
        finish(run)
    assert command.main(flags(whole, "--no-run")) == 0
    assert result == json.loads((whole / "result.json").read_text())
    shutil.rmtree(tmp_path / "new")
    assert again(tmp_path, kept, monkeypatch) == []  # all of it is kept


def test_a_smaller_plan_takes_nothing_away_from_the_raw_results(tmp_path, kept, monkeypatch):
    before = pq.read_table(kept / "mw.runs.parquet").to_pylist()
    assert again(tmp_path, kept, monkeypatch, "--rewards", "oracle", "--seeds", "1") == []
    after = pq.read_table(kept / "mw.runs.parquet").to_pylist()
    assert len(after) == len(before)
    assert all(row in after for row in before)


def test_raw_results_of_other_settings_are_refused_with_what_differs(tmp_path, kept):
    argv = flags(tmp_path / "new", "--raw", str(kept), "--name", "mw", "--episodes", "9")
    with pytest.raises(ConfigError, match=r"raw: holds fake/a by nano, .* another episodes"):
        command.main(argv)
    assert not (tmp_path / "new").exists()


def test_every_result_is_kept_as_soon_as_its_run_has_ended(tmp_path, kept, monkeypatch):
    seen = []

    def start(run):
        seen.append(pq.read_table(kept / "mw.runs.parquet").num_rows)
        return InstantProcess(run)

    monkeypatch.setattr(pool, "not_installed", lambda runs: [])
    monkeypatch.setattr(pool, "run_all", lambda runs, jobs, **more: RUN_ALL(
        runs, jobs, start=start, finished=more["finished"]
    ))  # fmt: skip
    assert command.main(flags(tmp_path / "new", "--raw", str(kept), "--name", "mw", "--json")) == 0
    assert seen == [5, 6, 7]


def test_two_sweeps_of_one_name_lose_nothing_of_each_other(tmp_path, kept):
    results = read_results(kept, "mw.")
    (kept / "mw.runs.parquet").unlink()
    one, two = list(results.values())[:3], list(results.values())[2:]
    keep_results(kept, "mw", one)
    keep_results(kept, "mw", two)
    assert read_results(kept, "mw.") == results
    other = replace(one[0], outcome=replace(one[0].outcome, seed=7), reward_model="new")
    with pytest.raises(ConfigError, match="raw: holds runs of nano that nano judged beside"):
        keep_results(kept, "mw", [other])
    other = replace(one[0], settings={**one[0].settings, "episodes": 9})
    with pytest.raises(ConfigError, match="another episodes"):
        keep_results(kept, "mw", [other])
    assert read_results(kept, "mw.") == results


def test_raw_results_without_their_evaluations_are_refused(tmp_path, kept):
    path = kept / "mw.evaluations.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match="has no evaluations in the file beside it"):
        command.main(flags(tmp_path / "new", "--raw", str(kept), "--name", "mw"))


def test_raw_results_of_another_plan_with_other_weights_are_refused(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(weights, "present_model", lambda run: f"{run.reward}-new")
    argv = ["rl", "--tasks", "fake/c", "--rewards", "nano", "--seeds", "1", "--episodes", "8"]
    with pytest.raises(ConfigError, match="raw: holds runs that nano judged"):
        command.main([*argv, "--out", str(tmp_path / "c"), "--raw", str(kept), "--name", "mw"])


def test_raw_results_of_other_weights_are_refused(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(weights, "present_model", lambda run: f"{run.reward}-new")
    with pytest.raises(
        ConfigError, match="raw: holds runs that nano judged, and nano is now nano-"
    ):
        command.main(flags(tmp_path / "new", "--raw", str(kept), "--name", "mw"))


@pytest.mark.parametrize("settings", ["", "[]", "{}", '{"env": 3}'])
def test_raw_results_with_damaged_settings_are_refused(tmp_path, kept, settings):
    path = kept / "mw.runs.parquet"
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("settings")
    pq.write_table(rows.set_column(place, "settings", pa.array([settings] * len(rows))), path)
    with pytest.raises(
        DataError, match=r"mw\.runs\.parquet: settings of fake/a nano 0 are damaged"
    ):
        command.main(flags(tmp_path / "new", "--raw", str(kept), "--name", "mw"))


def test_raw_results_need_a_name_before_anything_is_run(tmp_path):
    with pytest.raises(ConfigError, match="raw: its files are called by the sweep's --name"):
        command.main(flags(tmp_path, "--raw", str(tmp_path / "raw")))
    assert not (tmp_path / "runs").exists()


def test_hacked_runs_are_counted_over_sweeps_and_reward_models_under_test(tmp_path, capsys):
    controls = [(name, 0, 0.0, 1.0) for name in ("ramp", "constant:80", "random", "oracle")]
    judged = [("nano", 0, 0.1, 0.9), ("nano", 1, 0.9, 0.9)]
    one = raw(tmp_path, "one", *judged, *controls, ("env", 0, 0.0, None))
    two = raw(tmp_path, "two", ("nano", 2, 0.2, 0.1), ("gvl:m", 0, 0.3, 0.6))
    figures = tmp_path / "figures.json"
    argv = ["hacked", str(one), str(two), "--json", "--figures", str(figures)]
    assert command.main(argv) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["n_runs"], said["n_hacked"], said["hacked_share"]) == (4, 2, 0.5)
    assert [(s["sweep"], s["reward"], s["n_runs"], s["n_hacked"]) for s in said["sweeps"]] == [
        ("one", "nano", 2, 1), ("two", "nano", 1, 0), ("two", "gvl:m", 1, 1)
    ]  # fmt: skip
    found = {entry["name"]: entry for entry in json.loads(figures.read_text())}
    assert found["rl.hacked_share"]["value"] == 0.5
    assert found["rl.hacked_share"]["low"] < 0.5 < found["rl.hacked_share"]["high"]
    assert found["rl.hacked_n_runs"]["value"] == 4
    assert command.main(["hacked", str(one), str(two)]) == 0
    assert "50.0% [" in capsys.readouterr().out
    assert command.main(["hacked", str(one), str(two), "--json", "--rewards", "nano"]) == 0
    assert json.loads(capsys.readouterr().out)["hacked_share"] == pytest.approx(1 / 3)
    with pytest.raises(DataError, match=r"expected runs of nano2, got none in 2 files"):
        count_hacked([one, two], ("nano2",))


def test_a_run_that_lies_in_two_sweeps_counts_once(tmp_path):
    one = raw(tmp_path, "one", ("nano", 0, 0.1, 0.9), ("nano", 1, 0.1, 0.9))
    more = raw(tmp_path, "more", ("nano", 0, 0.1, 0.9), ("nano", 2, 0.9, 0.9))
    assert [(c.n_runs, c.n_hacked) for c in count_hacked([one, more])] == [(2, 2), (1, 0)]


def test_every_control_is_left_out_and_nano_is_not():
    assert {c.partition(":")[0] for c in CHOICES} == {"nano", *NOT_UNDER_TEST} - {"env"}
    assert [c for c in CHOICES if is_under_test(c)] == ["nano"]


def test_files_without_such_runs_are_refused_in_a_line(tmp_path):
    with pytest.raises(DataError, match="expected runs of a reward model under test, got none"):
        count_hacked([raw(tmp_path, "one", ("oracle", 0, 0.1, 0.9))])
    with pytest.raises(DataError, match=r"gone\.runs\.parquet: cannot be read \(No such file"):
        count_hacked([tmp_path / "gone.runs.parquet"])
    (tmp_path / "text.runs.parquet").write_text("text")
    with pytest.raises(DataError, match="it is no parquet file"):
        count_hacked([tmp_path / "text.runs.parquet"])
    pq.write_table(pa.table({"task": ["s/a"], "reward": ["nano"]}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match="lacks judged_success, seed, true_success; expected NAME"):
        count_hacked([tmp_path / "e.parquet"])
