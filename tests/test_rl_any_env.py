"""Environments that are not ours: pictures, a sentence, and none of their own rewards."""

import importlib.util
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from fake_env import PointEnv, Poison, PoisonInfo
from gymnasium.spaces import Box, Dict, Discrete
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv
from test_rl import TINY, PixelJudge
from test_rl_ppo import SETTINGS, PaysTheRamp

from sole.data.episode import EpisodeScore, StepScore
from sole.errors import ConfigError, ModelError, SimError
from sole.rewarders.controls import Constant, Ramp
from sole.rl import train as rl
from sole.rl.callback import JudgedReturns
from sole.rl.config import RlConfig
from sole.rl.envs import AgentEnv, roll_out
from sole.rl.gym_task import GymTask
from sole.rl.judge import Judge
from sole.rl.tasks import make_task
from sole.rl.views import parse_views, take_views
from sole.rl.wrapper import SoleRewardWrapper

VIEWS = {"external": "image", "wrist": "render"}


class TheirEnv(gymnasium.Env):
    """A point in a dict observation; reward and info raise on any use, and it ends early."""

    metadata = {"render_fps": 7}
    observation_space = Dict(
        image=Box(0, 255, (16, 16, 3), np.uint8), point=Box(-9, 9, (2,)), pressure=Box(0, 1, ())
    )
    action_space = Box(np.array([-2.0, 0.0]), np.array([2.0, 1.0]), dtype=np.float64)

    def __init__(self, ends_at: int = 99):
        self.ends_at = ends_at
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.point, self.n_steps = np.array([0.2, 0.2]), 0
        return self._seen(), PoisonInfo(success=False)

    def step(self, action):
        assert self.n_steps < self.ends_at, "stepped after its end"
        assert self.action_space.contains(action)
        self.actions.append(action)
        self.point = np.clip(self.point + 0.1 * action, 0, 1)
        self.n_steps += 1
        return self._seen(), Poison(1.0), self.n_steps >= self.ends_at, False, PoisonInfo()

    def render(self):
        return self.render_camera("whole")

    def render_camera(self, name):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[tuple((self.point * 15).astype(int))] = 255 if name == "whole" else 100
        return picture

    def _seen(self):
        return {"image": self.render(), "point": self.point.astype(np.float32), "pressure": 0.5}


def their_env():
    return TheirEnv(ends_at=6)


def task(env=None, **settings) -> GymTask:
    return GymTask(env or TheirEnv(), "move it", VIEWS, max_steps=10, **settings)


def test_views_may_be_observations_renderings_and_cameras():
    env = TheirEnv()
    seen, _ = env.reset(seed=0)
    views = take_views(env, seen, parse_views("front=image,wrist=render:hand"))
    np.testing.assert_array_equal(views["external"], seen["image"])
    assert views["wrist"].max() == 100
    first = take_views(env, {"image": seen["image"].transpose(2, 0, 1)}, {"external": "image"})
    np.testing.assert_array_equal(first["external"], seen["image"])


@pytest.mark.parametrize("text", ["", "front", "side=image", "front=a,external=b", "wrist="])
def test_views_of_another_form_are_refused(text):
    with pytest.raises(ConfigError, match="expected front=SOURCE"):
        parse_views(text)


@pytest.mark.parametrize(
    ("source", "message"),
    [("depth", "no such key"), ("point", "uint8 RGB picture"), ("render", "render_mode")],
)
def test_a_source_without_a_picture_is_refused(source, message):
    env = TheirEnv()
    env.render = lambda: None
    env.reset(seed=0)
    with pytest.raises(ConfigError, match=message):
        take_views(env, {"image": 0, "point": np.zeros(2)}, {"external": source})


def test_state_is_everything_that_is_no_picture_and_actions_are_stretched():
    env = task()
    seen, info = env.reset(seed=0)
    np.testing.assert_allclose(seen, [0.2, 0.2, 0.5])
    assert env.observation_space.contains(seen)
    assert (info, env.control_hz) == ({}, 7.0)
    env.step(np.array([-1.0, 1.0], np.float32))
    np.testing.assert_allclose(env._env.actions[0], [-2.0, 1.0])


class WithMode(TheirEnv):
    observation_space = Dict(
        image=Box(0, 255, (16, 16, 3), np.uint8), mode=Discrete(3), point=Box(-9, 9, (2,))
    )

    def _seen(self):
        seen = super()._seen()
        return {"image": seen["image"], "mode": np.int64(2), "point": seen["point"]}


def test_the_state_has_the_entries_that_its_space_announces():
    env = GymTask(WithMode(), "reach", VIEWS, 5)
    state, _ = env.reset(seed=0)
    assert env.observation_space.contains(state)
    np.testing.assert_allclose(state, [0.2, 0.2])


class NestedEnv(TheirEnv):
    """The same with dicts inside its observation."""

    observation_space = Dict(
        agent=Dict(point=Box(-9, 9, (2,)), mode=Discrete(2)),
        camera=Dict(front=Dict(rgb=Box(0, 255, (16, 16, 3), np.uint8))),
        pressure=Box(0, 1, ()),
    )

    def _seen(self):
        flat = super()._seen()
        agent = {"point": flat["point"], "mode": 1}
        camera = {"front": {"rgb": flat["image"]}}
        return {"agent": agent, "camera": camera, "pressure": flat["pressure"]}


def test_dicts_inside_an_observation_hold_state_and_pictures_too():
    env = GymTask(NestedEnv(), "move it", {"external": "camera/front/rgb"}, max_steps=10)
    state, _ = env.reset(seed=0)
    np.testing.assert_allclose(state, [0.2, 0.2, 0.5], rtol=1e-6)
    assert env.observation_space.shape == (3,)
    assert env.views()["external"].max() == 255
    with pytest.raises(ConfigError, match=r"no such key in the observation \(rgb\)"):
        take_views(env, env._seen, {"external": "camera/front/depth"})


def test_an_early_end_shows_as_nothing_but_standing_still():
    rollout = roll_out([task(TheirEnv(ends_at=4))], [0], lambda o: np.ones((1, 2)))[0]
    assert len(rollout.actions) == 10
    np.testing.assert_array_equal(rollout.observations[4], rollout.observations[10])
    film = rollout.episode.views["external"]
    np.testing.assert_array_equal(film[4], film[10])
    with pytest.raises(SimError, match="no truth"):
        _ = rollout.truth


@pytest.mark.parametrize("algorithm", ["sac", "ppo"])
@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_a_run_on_any_env_touches_neither_reward_nor_info(tmp_path, algorithm, observation):
    class Bigger(TheirEnv):
        def render_camera(self, name):
            return np.kron(super().render_camera(name), np.ones((3, 3, 1), np.uint8))

    envs = [task(Bigger(ends_at=5 + k)) for k in range(4)]
    settings = {**TINY, "episodes": 12, "eval_episodes": 4, "random_episodes": 4, "batch_size": 8}
    settings["updates_per_episode"] = 1
    config = RlConfig(
        env="theirs", run_dir=tmp_path, algorithm=algorithm, observation=observation, **settings
    )
    last = rl.train(config, envs=envs, model=Constant(70.0))
    assert (last["true_success"], last["held_success"]) == (None, None)
    assert last["judged_success"] == 1.0


def test_the_command_trains_on_a_factory_and_says_what_was_judged(tmp_path, capsys):
    flags = ["--env", "test_rl_any_env:their_env", "--run-dir", str(tmp_path), "--reward", "ramp"]
    more = ["--episodes", "4", "--n-envs", "2", "--eval-episodes", "2", "--max-steps", "8"]
    assert rl.main([*flags, *more, "--task", "move it", "--views", "front=image,wrist=render"]) == 0
    assert "judged success 100% after 4 episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("no_such_module:f", {}, "no module 'no_such_module'"),
        ("test_rl_any_env:nothing", {}, "has no 'nothing'"),
        ("test_rl_any_env:their_env", {"max_steps": 5}, "needs --task"),
        ("test_rl_any_env:their_env", {"task": "x", "views": "front=image"}, "no time limit"),
        ("fake_env:PointEnv", {"views": "front=image"}, "its own views"),
        ("builtins:int", {}, "expected an environment"),
        ("json:dumps", {}, "can be called without arguments"),
        ("test_rl_any_env:VIEWS", {}, "expected a function, got a dict"),
        (":their_env", {}, "expected package.module:function"),
        (".test_rl_any_env:their_env", {}, "expected package.module:function"),
        ("test_rl_any_env:", {}, "expected package.module:function"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_task(name, **settings)


def test_actions_that_are_no_bounded_box_are_refused():
    env = TheirEnv()
    env.action_space = Discrete(3)
    with pytest.raises(ConfigError, match="bounded Box"):
        task(env)


def test_a_task_of_our_kind_with_other_bounds_of_its_actions_is_refused(tmp_path):
    env = PointEnv()
    env.action_space = Box(-2.0, 2.0, (2,), np.float32)
    config = RlConfig(env="wide", run_dir=tmp_path, n_envs=1)
    with pytest.raises(ConfigError, match=r"expected actions in \[-1, 1\]"):
        rl.train(config, envs=[env], model=Constant(0.0))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    config = RlConfig(env="point", run_dir=tmp_path / "file" / "run", n_envs=1)
    with pytest.raises(ConfigError, match="cannot be made"):
        rl.train(config, envs=[PointEnv()], model=Constant(0.0))


def test_an_env_without_truth_has_no_oracle(tmp_path):
    config = RlConfig(env="theirs", run_dir=tmp_path, reward="oracle", n_envs=1)
    with pytest.raises(ConfigError, match="no oracle"):
        rl.train(config, envs=[task()])


def rewards_of(wrapper: SoleRewardWrapper, n: int = 6):
    wrapper.reset(seed=0)
    steps = [wrapper.step(np.array([1.0, 1.0])) for _ in range(n)]
    return [s[1] for s in steps], [s[4] for s in steps]


def test_the_wrapper_pays_each_change_of_the_judged_progress():
    wrapper = SoleRewardWrapper(TheirEnv(6), Ramp(7), "move it", VIEWS)
    rewards, infos = rewards_of(wrapper)
    np.testing.assert_allclose(rewards, np.full(6, 1 / 6), rtol=1e-5)
    assert [round(i["judged_progress"]) for i in infos] == [17, 33, 50, 67, 83, 100]


def test_paid_at_the_end_the_sum_is_the_same():
    at_once = rewards_of(SoleRewardWrapper(TheirEnv(6), Ramp(7), "move it", VIEWS))[0]
    later = SoleRewardWrapper(TheirEnv(6), Ramp(7), "move it", VIEWS, when="end")
    rewards, infos = rewards_of(later)
    assert rewards[:-1] == [0.0] * 5
    assert sum(rewards) == pytest.approx(sum(at_once))
    assert infos[:-1] == [{}] * 5


class Mute(Constant):
    """Fails on every frame but the first."""

    def score(self, episodes):
        bad = StepScore(None, error="no number")
        return [EpisodeScore((StepScore(0.0), *[bad] * (e.n_frames - 1)), "mute") for e in episodes]


def test_a_failed_judgement_holds_or_raises():
    held = SoleRewardWrapper(TheirEnv(6), Mute(0.0), "move it", VIEWS, when="end")
    assert rewards_of(held)[0] == [0.0] * 6
    assert held.n_failures == 6
    strict = SoleRewardWrapper(
        TheirEnv(6), Mute(0.0), "move it", VIEWS, when="end", failure="raise"
    )
    with pytest.raises(ModelError, match="no number"):
        rewards_of(strict)


def ppo(env: type[AgentEnv]) -> PPO:
    envs = DummyVecEnv([lambda: env(point()) for _ in range(2)])
    return PPO(
        "MlpPolicy", envs, n_steps=20, seed=0, batch_size=10, learning_rate=1e-3, device="cpu",
        **SETTINGS,
    )  # fmt: skip


def point():
    from fake_env import PointEnv

    return PointEnv()


def test_sb3_with_the_callback_learns_exactly_what_it_learns_from_the_rewards_at_once():
    plain = ppo(PaysTheRamp).learn(120)
    ours = ppo(AgentEnv)  # made only now: its seed sets the global generators
    ours.learn(120, callback=JudgedReturns(Judge(Ramp()).label))
    for name, weight in plain.policy.state_dict().items():
        np.testing.assert_allclose(ours.policy.state_dict()[name], weight, atol=1e-5, err_msg=name)


def test_a_dropped_episode_moves_no_advantage():
    ours = ppo(AgentEnv)
    callback = JudgedReturns(lambda films: [None] * len(films))
    ours.learn(40, callback=callback)
    np.testing.assert_allclose(ours.rollout_buffer.advantages, 0.0, atol=1e-5)
    assert callback.n_dropped == 4


def test_a_roll_out_that_cuts_an_episode_is_refused():
    envs = DummyVecEnv([lambda: AgentEnv(point())])
    cut = PPO("MlpPolicy", envs, n_steps=15, batch_size=15, device="cpu")
    with pytest.raises(ConfigError, match="multiple of the episode"):
        cut.learn(15, callback=JudgedReturns(Judge(Ramp()).label))


def test_the_plain_pytorch_example_learns_from_pictures_alone():
    path = Path(__file__).parents[1] / "docs" / "examples" / "plain_pytorch.py"
    spec = importlib.util.spec_from_file_location("plain_pytorch", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules["plain_pytorch"] = example
    spec.loader.exec_module(example)

    class Sees(PixelJudge):
        """Progress by how far the white dot is to one side of the picture."""

        def __init__(self, side: int):
            super().__init__(0.0)
            self.side = side

        def start(self, task):
            return self

        def step(self, views):
            at = np.argwhere(views["external"][..., 0])[:, 1].mean() / 32
            return StepScore(float(np.clip(self.side * 100 * (at - 0.25), -100, 100)))

    assert example.train(Sees(1), n_updates=12)[-1] > 0.9
    assert example.train(Sees(-1), n_updates=12)[-1] < 0.3
