"""What ``sole check`` counts, on data whose numbers are known."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from sole.check import labels
from sole.check.output import Measured
from sole.cli import main
from sole.data.episode import Truth
from sole.sims.registry import split_of


def test_a_wrong_label_is_counted_on_both_sides():
    truth = Truth(np.array([0, 100, 40, 90], np.float32), np.array([False, False, False, True]))
    found = labels.judged(truth, expert=False)
    assert found == Counter(
        frames=4, frames_right=2, success_frames=1, episodes=1, episodes_right=0
    )


def test_an_expert_who_loses_ground_is_counted():
    truth = Truth(np.array([0, 60, 57, 56, 100], np.float32), np.array([*[False] * 4, True]))
    found = labels.judged(truth, expert=True)
    assert (found["steps_down"], found["expert_steps"], found["experts_done"]) == (1, 4, 1)
    assert found["episodes_right"] == 1


def test_held_out_tasks_are_checked_only_when_asked_for():
    usual = labels._tasks("metaworld", labels.LabelsConfig())
    every = labels._tasks("metaworld", labels.LabelsConfig(held_out=True))
    assert len(usual) == 25
    assert len(every) == 50
    assert {split_of(name) for name in usual} == {"train"}


def test_shares_have_intervals_and_numbers_have_units():
    share = Measured("a.share", 9, 10).figure()
    assert share.value == 0.9
    assert share.low < 0.9 < share.high
    assert Measured("a.share", 9, 10).text == "90.00% (9 of 10)"
    assert Measured("a.count", 12, unit="arms").figure().low is None


def test_experts_and_sentences_of_a_world_are_counted(capsys):
    flags = ["--tasks", "faucet-turn-left", "--scenes", "2", "--json"]
    assert main(["check", "worlds", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured"]["worlds.expert_success"] == {"k": 2, "n": 2, "unit": ""}
    assert found["measured"]["worlds.sentences"]["k"] > 100
    assert found["about"]["families"] == ["faucet"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["labels", "--suite", "chess"], "nothing to simulate"),
        (["synth", "nowhere.toml"], "cannot be read"),
        (["synth", "presets/nano.toml", "--folder", "nowhere"], "expected a folder"),
        (["worlds", "--tasks", "teapot"], "no task 'teapot'"),
        (["render", "--task", "teapot"], "no task 'teapot'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, words, capsys):
    assert main(["check", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_recipe_with_an_unknown_setting_is_one_line(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("sead = 1")
    assert main(["check", "synth", str(recipe)]) == 2
    assert "sead: Extra inputs" in capsys.readouterr().err


@pytest.mark.parametrize("check", ["labels", "reasoning", "render", "worlds"])
def test_a_negative_seed_is_refused_before_anything_is_drawn(check, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check", check, "--seed", "-1"])
    assert stop.value.code == 2
    assert "greater than or equal to 0" in capsys.readouterr().err


def test_drawing_is_measured_where_nobody_said_how_mujoco_draws():
    """MuJoCo decides when it is loaded: before sims has chosen, it takes a window's OpenGL."""
    program = "import sole.check.render, mujoco; print(mujoco.gl_context.GLContext.__module__)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MUJOCO", "PYOPENGL"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "mujoco.osmesa", done.stderr
