"""A folder is not continued, nor counted, when its reward model's name has got other weights."""

import json

import pytest
from fake_env import PointEnv

from sole.errors import ConfigError, DataError
from sole.redteam.command import run as attack
from sole.redteam.config import RedteamConfig
from sole.refine.config import RefineConfig
from sole.refine.run import refine
from sole.rewarders.controls import Constant
from sole.rl.config import RlConfig
from sole.rl.train import train
from sole.run import check_model, stored_model

OTHER = "judged by constant:0, and the reward model is now constant:50"


def points():
    return [PointEnv() for _ in range(4)]


def test_a_folder_that_was_not_begun_is_anyones(tmp_path):
    check_model(tmp_path, "nano-1")
    assert stored_model(tmp_path) is None


@pytest.mark.parametrize("text", [None, "{", "{}", "[]"])
def test_a_begun_folder_must_say_which_model_judged_it(tmp_path, text):
    (tmp_path / "config.json").write_text("{}")
    if text is not None:
        (tmp_path / "data.json").write_text(text)
    with pytest.raises(DataError, match="which reward model"):
        check_model(tmp_path, "nano-1")


def test_a_training_run_is_not_continued_by_other_weights(tmp_path):
    settings = RlConfig(
        env="fake/point", run_dir=tmp_path, episodes=4, n_envs=4, random_episodes=4,
        eval_episodes=1, batch_size=16, updates_per_episode=1,
    )  # fmt: skip
    train(settings, envs=points(), model=Constant(0.0))
    with pytest.raises(ConfigError, match=OTHER):
        train(settings, envs=points(), model=Constant(50.0))


def test_a_refinement_neither_counts_nor_continues_one_of_other_weights(tmp_path):
    settings = RefineConfig(
        tasks=("fake/point",), out=tmp_path, expert_episodes=1, clone_updates=1, iterations=0,
        n_envs=4, eval_episodes=1,
    )  # fmt: skip
    first = refine(settings, "fake/point", 0, points(), Constant(0.0))
    assert refine(settings, "fake/point", 0, points(), Constant(0.0)) == first
    with pytest.raises(ConfigError, match=OTHER):
        refine(settings, "fake/point", 0, points(), Constant(50.0))


def test_a_search_is_not_continued_against_other_weights(tmp_path):
    settings = RedteamConfig(
        tasks=("fake/point",), out=tmp_path, optimisers=("random",), episodes=2, population=2
    )
    attack(settings, model=Constant(0.0), make=lambda name, geometry: PointEnv())
    longer = settings.model_copy(update={"episodes": 4})
    with pytest.raises(ConfigError, match=OTHER):
        attack(longer, model=Constant(50.0), make=lambda name, geometry: PointEnv())
    assert json.loads((tmp_path / "result.json").read_text())["model_id"] == "constant:0"
