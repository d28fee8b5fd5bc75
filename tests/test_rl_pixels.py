"""Policies that learn from pictures: DrQ-v2, plain SAC, and nano's frozen eye."""

import json

import numpy as np
import pytest
import torch
from fake_env import LeakyEnv, PointEnv
from test_rl import PixelJudge, comparable, config
from test_rl_ppo import stop_after

from sole.errors import ConfigError
from sole.rewarders.controls import Constant, Oracle
from sole.rl.clock import PARTS, seconds_per_1000_steps
from sole.rl.drqv2 import DrqAgent, DrqBuffer, noise_at, random_shift
from sole.rl.envs import AgentEnv, observation_space, roll_out
from sole.rl.eye import EyeView
from sole.rl.train import train

PIXELS = {"observation": "pixels", "batch_size": 16, "updates_per_episode": 2}
DRQ = {"algorithm": "drqv2", **PIXELS}


class BigPoint(PointEnv):
    """Its pictures are 48 px."""

    def views(self):
        return {k: np.kron(v, np.ones((3, 3, 1), np.uint8)) for k, v in super().views().items()}


class BigLeak(LeakyEnv, BigPoint):
    pass


def envs(n: int = 4, kind=BigPoint):
    return [kind() for _ in range(n)]


def drq(seed: int = 0, n_step: int = 3) -> DrqAgent:
    env = BigPoint()
    return DrqAgent(
        observation_space(env, "pixels"), env.action_space, seed=seed, buffer_size=200,
        learning_rate=1e-3, n_step=n_step, shift_px=2,
        settings={"gamma": 0.9, "batch_size": 16, "tau": 0.01},
    )  # fmt: skip


def film(agent, n: int = 1):
    return roll_out(
        envs(n), list(range(n)), lambda o: agent.act(o, deterministic=False), kind="pixels"
    )


def test_each_picture_is_moved_by_its_own_shift_and_keeps_its_edge():
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    moved = random_shift(torch.stack([rows, columns])[None].repeat(50, 1, 1, 1), 2)
    shifts = set()
    for one in moved:
        down, right = int(one[0, 4, 4]) - 4, int(one[1, 4, 4]) - 4
        assert torch.equal(one[0], (rows + down).clamp(0, 7))
        assert torch.equal(one[1], (columns + right).clamp(0, 7))
        shifts.add((down, right))
    assert len(shifts) > 10
    assert max(max(abs(d), abs(r)) for d, r in shifts) == 2


def test_no_shift_changes_nothing():
    picture = torch.randint(0, 255, (3, 6, 10, 10), dtype=torch.uint8)
    assert torch.equal(random_shift(picture, 0), picture)


def test_the_noise_falls_over_the_first_half_and_then_stays():
    assert [round(noise_at(r), 3) for r in (1.0, 0.5, 0.0)] == [1.0, 0.1, 0.1]
    assert noise_at(0.9) > noise_at(0.8)


@pytest.mark.parametrize("completed", [False, True])
def test_n_step_returns_equal_a_brute_force_sum(completed):
    agent = drq(n_step=3)
    rollout = film(agent)[0]
    rewards = np.random.default_rng(0).normal(size=10).astype(np.float32)
    actions = np.stack(rollout.actions)
    agent.store_steps(rollout.observations, actions, rewards, completed=completed)
    buffer = agent.td3.replay_buffer
    assert isinstance(buffer, DrqBuffer)
    for t in range(10):
        m = min(3, 10 - t)
        expected = sum(0.9**k * rewards[t + k] for k in range(m))
        assert buffer.rewards[t, 0] == pytest.approx(expected, rel=1e-5)
        assert buffer.discounts[t, 0] == pytest.approx(0.9**m)
        seen = buffer.next_observations["proprio"][t, 0]
        np.testing.assert_array_equal(seen, rollout.observations[t + m]["proprio"])
        bootstraps = not (completed and t >= 7)
        assert (buffer.dones[t, 0] * (1 - buffer.timeouts[t, 0]) == 0) == bootstraps


def test_with_one_step_and_no_shift_the_buffer_is_that_of_sac():
    agent = drq(n_step=1)
    rollout = film(agent)[0]
    agent.store(rollout, np.arange(10, dtype=np.float32))
    buffer = agent.td3.replay_buffer
    assert buffer is not None
    assert buffer.rewards[:10, 0].tolist() == list(range(10))


def test_only_the_critic_trains_the_eye_and_the_actor_sees_through_it():
    agent = drq()
    agent.store(film(agent)[0], np.ones(10, np.float32))
    actor = {name for name, _ in agent.td3.actor.named_parameters()}
    assert not any("eye" in name for name in actor)
    critic = dict(agent.td3.critic.named_parameters())
    eye = next(name for name in critic if "eye" in name)
    before = critic[eye].clone()
    trunk = agent.td3.actor.features_extractor.trunk[0].weight.clone()
    agent.learn(3)
    assert not torch.equal(critic[eye], before)
    assert not torch.equal(agent.td3.actor.features_extractor.trunk[0].weight, trunk)
    observation = film(agent)[0].observations[3]
    action = agent.act([observation], deterministic=True)
    with torch.no_grad():
        critic[eye].zero_()
    assert not np.allclose(agent.act([observation], deterministic=True), action)


def test_a_saved_agent_acts_and_learns_on_as_before(tmp_path):
    agent, other = drq(), drq(seed=5)
    agent.store(film(agent)[0], np.ones(10, np.float32))
    agent.learn(2)
    agent.save(tmp_path)
    other.load(tmp_path)
    for one in (agent, other):
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002
        one.learn(2)
    seen = film(agent)[0].observations[:2]
    np.testing.assert_array_equal(
        agent.act(seen, deterministic=True), other.act(seen, deterministic=True)
    )


@pytest.mark.parametrize("settings", [DRQ, PIXELS], ids=["drqv2", "sac"])
def test_pixel_policies_touch_neither_reward_nor_info_of_the_simulator(tmp_path, settings):
    last = train(
        config(tmp_path, episodes=12, **settings), envs=envs(kind=BigLeak), model=PixelJudge(0.0)
    )
    assert last["episode"] == 12


def test_a_continued_drqv2_run_ends_like_an_unbroken_one(tmp_path):
    runs = [
        config(tmp_path / name, checkpoint_every=4, **{**DRQ, "random_episodes": 4})
        for name in ("whole", "broken")
    ]
    train(runs[0], envs=envs(), model=PixelJudge(0.0))
    stop_after(runs[1], rounds=2, envs=envs())
    train(runs[1], envs=envs(), model=PixelJudge(0.0))
    assert comparable(tmp_path / "whole") == comparable(tmp_path / "broken")


def test_states_are_no_pictures_for_drqv2(tmp_path):
    with pytest.raises(ConfigError, match="--observation pixels"):
        train(config(tmp_path, algorithm="drqv2"), envs=envs(), model=Constant(0.0))


def test_pictures_that_are_too_small_for_the_eye_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="32 px or more"):
        train(config(tmp_path, **{**DRQ, "picture_px": 16}), envs=envs(), model=Constant(0.0))


@pytest.mark.parametrize("algorithm", ["sac", "ppo"])
def test_pictures_that_are_too_small_for_sb3_are_refused(tmp_path, algorithm):
    settings = {"algorithm": algorithm, "observation": "pixels", "picture_px": 35}
    with pytest.raises(ConfigError, match="36 px or more, got 35"):
        train(config(tmp_path, **settings), envs=envs(), model=Constant(0.0))


def test_the_policy_sees_smaller_pictures_than_the_film_has():
    env = AgentEnv(BigPoint(), "pixels", picture_px=12)
    seen, _ = env.reset(seed=0)
    assert seen["external"].shape == (3, 12, 12)
    assert env.observation_space.contains(seen)
    assert env._views[0]["external"].shape == (48, 48, 3)


def test_the_frozen_eye_gives_vectors_that_tell_pictures_apart():
    space = observation_space(BigPoint(), "pixels")
    see = EyeView(space, grid=2)
    rollout = roll_out([BigPoint()], [0], lambda o: np.ones((1, 2)), kind="pixels", see=see)[0]
    assert see.space.contains(rollout.observations[0])
    assert not np.allclose(rollout.observations[0][:-2], rollout.observations[-1][:-2])
    np.testing.assert_array_equal(rollout.observations[0][-2:], np.float32([0.1, 0.1]))


def test_a_run_through_the_frozen_eye_trains_on_scaled_vectors(tmp_path):
    settings = {"observation": "eye", "eye_grid": 1, "episodes": 12}
    train(config(tmp_path, **settings), envs=envs(kind=BigLeak), model=PixelJudge(0.0))
    folder = tmp_path / "checkpoints" / "step_00000012"
    with np.load(folder / "scaling.npz") as arrays:
        assert len(arrays["mean"]) == 2 * 112 + 2
    data = tmp_path / "data.json"
    was = json.loads(data.read_text())["eye"]
    data.write_text(data.read_text().replace(was, "eye-0123456789"))
    with pytest.raises(ConfigError, match=f"eye-0123456789, and nano's is now {was}"):
        train(config(tmp_path, **settings), envs=envs(kind=BigLeak), model=PixelJudge(0.0))


def test_seconds_of_a_run_are_split_into_its_parts(tmp_path):
    train(config(tmp_path, **DRQ), envs=envs(), model=PixelJudge(0.0))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    spent = seconds_per_1000_steps([line for line in lines if line["kind"] == "episodes"])
    assert set(spent) == set(PARTS)
    assert min(spent["sim"], spent["learn"]) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_drqv2_learns_from_the_oracle_and_not_from_a_constant(tmp_path):
    settings = {**DRQ, "episodes": 160, "random_episodes": 16, "eval_episodes": 20}
    settings |= {"updates_per_episode": 20, "batch_size": 64, "tau": 0.01, "eval_every": 160}
    finals = {}
    for name, model in (("oracle", Oracle()), ("constant:0", Constant(0.0))):
        run = config(tmp_path / name.replace(":", ""), reward=name, **settings)
        finals[name] = train(run, envs=envs(), model=model)["true_success"]
    assert finals["oracle"] >= 0.8
    assert finals["constant:0"] <= 0.3
