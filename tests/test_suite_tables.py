"""Tasks of the other suites: tables, splits and staged progress, without any simulator."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sole.cli import main
from sole.errors import ConfigError
from sole.sims import libero_tasks, listing, maniskill_tasks, robosuite_tasks, sheet
from sole.sims.libero import LiberoEnv
from sole.sims.registry import SUITES, make_env, split_of, task_names
from sole.sims.suite import Moment, progress_of, state_size, truth_of
from sole.synth.plan import refuse_held_out

TABLES = {
    "robosuite": robosuite_tasks.TASKS,
    "maniskill": maniskill_tasks.TASKS,
    "libero": libero_tasks.TASKS,
}
HELD_OUT = (
    "robosuite/Lift", "robosuite/Wipe", "robosuite/Door", "robosuite/PickPlaceCan",
    "maniskill/PickCube", "maniskill/PushCube", "maniskill/PullCube", "maniskill/PickCubeSO100",
    "libero/KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet",
    "libero/KITCHEN_SCENE1_open_the_bottom_drawer_of_the_cabinet",
    "libero/KITCHEN_SCENE3_turn_on_the_stove", "libero/KITCHEN_SCENE8_turn_off_the_stove",
    "libero/KITCHEN_SCENE6_close_the_microwave", "libero/KITCHEN_SCENE7_open_the_microwave",
)  # fmt: skip


def moment(**changes):
    still = {
        "tip_m": np.zeros(3), "object_m": np.array([0.3, 0.0, 0.0]),
        "object_start_m": np.array([0.3, 0.0, 0.0]), "reach_start_m": 0.3, "goal_m": np.ones(3),
        "goal_distance_m": 1.0, "contact": False, "grasped": False, "gripper_open": 1.0,
        "done_fraction": 0.0, "success": False, "object_name": "cube", "goal_name": "bin",
    }  # fmt: skip
    return Moment(**(still | changes))


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_tasks_are_test_tasks_and_builders_refuse_them(name):
    assert split_of(name) == "test"
    with pytest.raises(ConfigError, match="held out"):
        refuse_held_out([name])


@pytest.mark.parametrize("name", ["robosuite/Stack", "maniskill/LiftPegUpright"])
def test_dev_tasks_may_not_be_trained_on(name):
    assert split_of(name) == "dev"
    with pytest.raises(ConfigError, match="held out"):
        refuse_held_out([name])


@pytest.mark.parametrize("name", ["robosuite/lift", "fly/Lift", "libero/x", "worlds/x", "Lift"])
def test_a_task_nobody_knows_has_no_split_and_cannot_be_made(name):
    with pytest.raises(ConfigError, match="no task"):
        split_of(name)
    with pytest.raises(ConfigError, match="no task"):
        make_env(name)


def test_all_of_libero_is_test():
    assert len(libero_tasks.TASKS) == 130
    assert {task.split for task in libero_tasks.TASKS.values()} == {"test"}
    assert not [name for name in task_names("train") if name.startswith("libero/")]


@pytest.mark.parametrize("suite", sorted(TABLES))
def test_sentences_are_plain_and_have_paraphrases(suite):
    for task in TABLES[suite].values():
        said = (task.sentence, *task.paraphrases)
        assert len(set(said)) == len(said) >= 2, task.name
        assert all(s == s.strip() and not s.endswith(".") and "_" not in s for s in said)
        assert suite == "libero" or len(task.paraphrases) >= 4


fractions = st.floats(-1.5, 1.0)


@given(fractions, st.booleans(), st.booleans(), st.integers(1, 3), st.floats(0.0, 1.0))
def test_progress_is_100_exactly_at_success(done, contact, success, n_goals, where):
    now = moment(
        done_fraction=done, contact=contact, success=success, n_goals=n_goals,
        tip_m=np.array([where, 0.0, 0.0]), n_met=n_goals - 1,
    )  # fmt: skip
    progress, succeeded, facts = truth_of(now, 0.0)
    assert -100.0 <= progress <= 100.0
    assert (progress == 100.0) == success == succeeded == facts["complete"]


def test_two_goals_are_worth_half_each():
    assert progress_of(moment(n_goals=2)) == 0.0
    assert progress_of(moment(n_goals=2, n_met=1)) == 50.0
    assert progress_of(moment(n_goals=2, n_met=1, contact=True, done_fraction=1.0)) == 95.0


def test_undoing_a_goal_that_is_not_worked_on_costs():
    assert progress_of(moment(n_goals=2, other_done=-1.0)) < 0.0


def test_sims_list_names_every_task_its_split_and_the_install_command(capsys):
    assert listing.main(["list", "--json"]) == 0
    rows = {row["suite"]: row for row in json.loads(capsys.readouterr().out)}
    found = {task["name"]: task["split"] for row in rows.values() for task in row["tasks"]}
    assert set(found) == set(task_names())
    assert found["robosuite/Lift"] == "test"
    assert "robosuite" in rows["robosuite"]["install"]


def test_sims_list_shows_one_suite_with_sentences(capsys):
    assert listing.main(["list", "--suite", "robosuite"]) == 0
    assert "stack the red cube on the green cube" in capsys.readouterr().out


@pytest.mark.parametrize("suite", ["robosuite", "libero"])
def test_what_is_listed_can_be_copied_from_a_narrow_terminal(suite, monkeypatch, capsys):
    monkeypatch.setattr("sole.sims.registry.Suite.installed", lambda suite: False)
    monkeypatch.setattr(listing, "stdout", Console(width=60, highlight=False))
    assert listing.main(["list", "--suite", suite]) == 0
    out = capsys.readouterr().out
    assert SUITES[suite].install in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


def test_sims_list_refuses_an_unknown_suite():
    with pytest.raises(ConfigError, match="choose from"):
        listing.main(["list", "--suite", "fly"])


def test_a_sheet_of_a_suite_is_refused_where_it_cannot_be_drawn(tmp_path, monkeypatch, capsys):
    assert main(["sims", "sheet", "--suite", "chess", "--out", str(tmp_path / "a.png")]) == 2
    assert "choose from: metaworld" in capsys.readouterr().err
    monkeypatch.setattr("sole.sims.registry.Suite.installed", lambda suite: False)
    assert main(["sims", "sheet", "--suite", "worlds", "--out", str(tmp_path / "a.png")]) == 2
    assert "not installed" in capsys.readouterr().err


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.png").mkdir()
    for name in ("a.jpg", "folder.png", "nowhere/a.png"):
        assert main(["sims", "sheet", "--suite", "worlds", "--out", str(tmp_path / name)]) == 2
        assert "expected a .png" in capsys.readouterr().err
    monkeypatch.setattr(sheet, "_first_view", lambda *_: np.zeros((32, 32, 3), np.uint8))
    flags = ["--suite", "worlds", "--most", "1", "--out", "/proc/a.png"]
    assert main(["sims", "sheet", *flags]) == 2
    assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["sims", "sheet", *flags, "--seed", "-1"])


def test_the_state_of_two_goals_does_not_say_which_of_them_is_met():
    """LIBERO's truth is of the goal that is open; the agent sees the objects of both, always."""
    env = object.__new__(LiberoEnv)
    env._goals = [
        SimpleNamespace(object_m=lambda: np.zeros(3), goal_m=lambda: np.ones(3)),
        SimpleNamespace(object_m=lambda: np.full(3, 2.0), goal_m=lambda: np.full(3, 3.0)),
    ]  # type: ignore[assignment]
    env._previous = np.zeros(10)
    states = []
    for place in (0.0, 2.0):  # the first goal is open, then the second
        env._measure = lambda place=place: moment(object_m=np.full(3, place), n_goals=2)
        states.append(env._observation())
    np.testing.assert_array_equal(states[0], states[1])
    assert states[0].shape == (state_size(2),)
    assert states[0][4:10].tolist() == [0, 0, 0, 2, 2, 2]
