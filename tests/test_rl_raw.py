"""Raw results that are kept in the repository, and the share of hacked runs over several sweeps."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_rl_bench import TASKS, bench, finish, outcome

from sole.bench import command, plan, weights
from sole.bench.hacked import NOT_UNDER_TEST, count_hacked, is_under_test
from sole.bench.outcome import write_outcomes
from sole.errors import ConfigError, DataError
from sole.rewarders.load import CHOICES


def flags(out, *more):
    return ["rl", "--tasks", *TASKS, "--rewards", "nano", "oracle", "--seeds", "2",
            "--episodes", "8", "--out", str(out), *more]  # fmt: skip


def raw(folder, name, *runs):
    """What ``sole bench rl --raw`` leaves of a sweep of (reward, seed, true, judged)."""
    folder.mkdir(exist_ok=True)
    write_outcomes(folder, [outcome("s/a", *run) for run in runs], [], f"{name}.")
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
