"""What training cost, from the logs that runs leave behind."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sole.errors import ConfigError, DataError
from sole.evals.figures import load_figures
from sole.review.hours import main, training_cost, training_seconds


def make_run(folder, clock_s, every=10, **config):
    """A run that logged each ``every``-th step at these seconds, and something else in between."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"steps": 99, "threads": 2, **config}))
    (folder / "machine.json").write_text('{"cores": 2, "platform": "Linux-6.1-x86_64"}')
    lines = []
    for k, moment in enumerate(clock_s, start=1):
        lines.append({"step": every * k, "wall_s": moment - 0.5, "kind": "held_aside", "n": 3})
        lines.append({"step": every * k, "wall_s": moment, "kind": "train", "step_s": 2.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_hours_are_the_clock_between_steps_times_the_threads(tmp_path):
    cost = training_cost(make_run(tmp_path / "r", [3600.0, 7200.0, 10800.0]))
    assert (cost.steps, cost.threads, cost.device) == (30, 2, "2 cores, Linux")
    assert cost.hours == pytest.approx(3.0)  # the first ten steps too, which no line precedes
    assert cost.cpu_hours == pytest.approx(6.0)


def test_a_night_between_two_sessions_costs_no_night():
    steps = [10 * k for k in range(1, 21)]
    plain = [20.0 * k for k in range(1, 21)]
    paused = [t + (40_000 if k >= 10 else 0) for k, t in enumerate(plain)]
    assert training_seconds(steps, plain) == pytest.approx(400.0)
    assert training_seconds(steps, paused) == pytest.approx(400.0 + 4 * 20.0)


def test_slower_steps_count_in_full():
    assert training_seconds([1, 2, 3, 4], [0.0, 1.0, 2.0, 6.0]) == pytest.approx(7.0)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=30), st.integers(1, 20))
def test_never_more_than_the_clock_and_the_first_steps(gaps_s, every):
    clock_s = [sum(gaps_s[:k]) for k in range(len(gaps_s) + 1)]
    steps = [every * (k + 1) for k in range(len(clock_s))]
    found = training_seconds(steps, clock_s)
    assert 0 < found <= clock_s[-1] + max(gaps_s) + 1e-6


def test_the_sum_of_all_stages_is_printed_and_recorded(tmp_path, capsys):
    runs = [
        make_run(tmp_path / name, [3600.0, 7200.0], threads=n) for name, n in (("a", 1), ("b", 2))
    ]
    figures = tmp_path / "f.json"
    argv = [*map(str, runs), "--figures", str(figures)]
    assert main(argv) == 0
    assert "6.00 hours times threads in all" in capsys.readouterr().out
    assert main([*argv, "--json", "--name", "train.nano_hours"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["cpu_hours"] for run in found["runs"]] == [2.0, 4.0]
    recorded = load_figures(figures)
    assert recorded["train.cpu_hours"]["value"] == recorded["train.nano_hours"]["value"] == 6.0
    assert recorded["train.cpu_hours"]["unit"] == "hours"
    assert recorded["train.cpu_hours"]["command"].startswith("python -m sole.review.hours ")


def test_every_run_is_recorded_by_its_folder_and_trials_are_not_in_the_sum(tmp_path, capsys):
    stage, trial = (
        make_run(tmp_path / name, [3600.0, 7200.0], threads=n) for name, n in (("a", 1), ("b", 2))
    )
    figures = tmp_path / "f.json"
    argv = [str(stage), "--trials", str(trial), "--figures", str(figures)]
    assert main(argv) == 0
    assert "2.00 hours times threads in all, without the trials" in capsys.readouterr().out
    found = {name: entry["value"] for name, entry in load_figures(figures).items()}
    assert found == {
        "train.cpu_hours": 2.0, "train.cpu_hours.a": 2.0, "train.cpu_hours.b": 4.0,
        "train.cpu_hours.a.steps": 20, "train.cpu_hours.b.steps": 20,
    }  # fmt: skip


def test_stages_whose_folders_are_gone_are_in_the_sum_by_their_figures(tmp_path, capsys):
    first, second = (make_run(tmp_path / name, [3600.0, 7200.0], threads=1) for name in "ab")
    figures = tmp_path / "f.json"
    assert main([str(first), "--figures", str(figures)]) == 0
    argv = [str(second), "--earlier", "a", "--figures", str(figures)]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "4.00 hours times threads in all, 2.00 of them recorded earlier" in said
    found = {name: entry["value"] for name, entry in load_figures(figures).items()}
    assert [found[f"train.cpu_hours{name}"] for name in ("", ".a", ".b")] == [4.0, 2.0, 2.0]
    with pytest.raises(ConfigError, match=r"no figure train\.cpu_hours\.c"):
        main([*argv, "--earlier", "c"])
    with pytest.raises(ConfigError, match=r"no figure train\.cpu_hours\.a\.steps in hours"):
        main([*argv, "--earlier", "a.steps"])
    with pytest.raises(ConfigError, match="several runs are called b"):
        main([*argv, "--earlier", "b"])
    with pytest.raises(ConfigError, match="--figures"):
        main([str(second), "--earlier", "a"])


def test_two_runs_of_one_name_are_not_recorded_as_one(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    runs = [str(make_run(tmp_path / name / "run", [1.0, 2.0])) for name in ("x", "y")]
    with pytest.raises(ConfigError, match="several runs are called run"):
        main([*runs, "--figures", str(tmp_path / "f.json")])
    assert not (tmp_path / "f.json").exists()
    assert main(runs) == 0


def test_what_is_no_training_on_threads_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        training_cost(tmp_path)
    with pytest.raises(DataError, match="names no threads"):
        training_cost(make_run(tmp_path / "vlm", [1.0, 2.0], threads=None))
    with pytest.raises(DataError, match="at least two logged steps, got 1"):
        training_cost(make_run(tmp_path / "short", [1.0]))
    with pytest.raises(DataError, match="that rise"):
        training_cost(make_run(tmp_path / "back", [2.0, 1.0]))
    run = make_run(tmp_path / "odd", [1.0, 2.0])
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n')
    with pytest.raises(DataError, match="is it a training"):
        training_cost(run)
    with pytest.raises(ConfigError, match="got none"):
        main([])
