"""Our wiring against plain Stable-Baselines3 that is paid the same rewards at once."""

import numpy as np
import pytest
import torch
from fake_env import PointEnv
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from test_rl import TINY, config, points
from test_rl_pixels import BigPoint

from sole.rewarders.controls import Oracle
from sole.rl.agent import SacAgent, Spaces
from sole.rl.drqv2 import DrqAgent, DrqPolicy, PixelFeatures
from sole.rl.envs import AgentEnv, observation_space, roll_out
from sole.rl.train import train

SETTINGS = {"gamma": 0.9, "batch_size": 16, "tau": 0.01}


def judged(kind: str):
    """Two episodes of random actions with made-up rewards."""
    rng = np.random.default_rng(0)
    envs = [BigPoint(), BigPoint()]
    act = lambda seen: rng.uniform(-1, 1, (len(seen), 2))  # noqa: E731
    rollouts = roll_out(envs, [0, 1], act, kind=kind)
    return rollouts, rng.normal(size=(2, 10)).astype(np.float32)


def fill(buffer, rollouts, rewards) -> None:
    """Add every transition one by one, as SB3 does while it collects."""
    for rollout, paid in zip(rollouts, rewards, strict=True):
        for t in range(10):
            last = t == 9
            buffer.add(
                batched(rollout.observations[t]), batched(rollout.observations[t + 1]),
                rollout.actions[t][None], paid[t : t + 1], np.array([last]),
                [{"TimeLimit.truncated": last}],
            )  # fmt: skip


def batched(observation):
    if isinstance(observation, dict):
        return {name: part[None] for name, part in observation.items()}
    return observation[None]


def learn_both(plain, ours) -> None:
    for learn in (lambda: plain.train(5, 16), lambda: ours.learn(5)):
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        learn()
    theirs = plain.policy.state_dict()
    for name, weight in ours.engine.policy.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], msg=name)


def test_no_gradient_step_changes_nothing_and_warns_of_nothing():
    rollouts, rewards = judged("state")
    spaces = BigPoint().observation_space, BigPoint().action_space
    ours = SacAgent(*spaces, seed=0, buffer_size=100, learning_rate=1e-3, settings=SETTINGS)
    ours.store(rollouts[0], rewards[0])
    before = {name: part.clone() for name, part in ours.engine.policy.state_dict().items()}
    ours.learn(0)
    assert all(torch.equal(part, before[n]) for n, part in ours.engine.policy.state_dict().items())


def test_sac_learns_exactly_what_plain_sac_learns_from_the_same_rewards():
    env = BigPoint()
    spaces = env.observation_space, env.action_space
    plain = SAC(
        "MlpPolicy", Spaces(*spaces), seed=0, buffer_size=100, device="cpu", learning_rate=1e-3,
        replay_buffer_class=ReplayBuffer, **SETTINGS,
    )  # fmt: skip
    plain.set_logger(Logger(None, []))
    ours = SacAgent(*spaces, seed=0, buffer_size=100, learning_rate=1e-3, settings=SETTINGS)
    rollouts, rewards = judged("state")
    fill(plain.replay_buffer, rollouts, rewards)
    for rollout, paid in zip(rollouts, rewards, strict=True):
        ours.store(rollout, paid)
    learn_both(plain, ours)


def test_drqv2_with_one_step_and_no_shift_learns_exactly_what_plain_td3_learns():
    env = BigPoint()
    spaces = observation_space(env, "pixels"), env.action_space
    plain = TD3(
        DrqPolicy, Spaces(*spaces), seed=0, buffer_size=100, device="cpu", learning_rate=1e-3,
        replay_buffer_class=DictReplayBuffer, policy_delay=1, target_policy_noise=1.0,
        target_noise_clip=0.3, **SETTINGS,
        policy_kwargs={"features_extractor_class": PixelFeatures, "net_arch": [256, 256]},
    )  # fmt: skip
    plain.set_logger(Logger(None, []))
    ours = DrqAgent(
        *spaces, seed=0, buffer_size=100, learning_rate=1e-3, n_step=1, shift_px=0,
        settings=SETTINGS,
    )  # fmt: skip
    ours.schedule(1.0)
    ours.td3.replay_buffer.shift_px = 0
    rollouts, rewards = judged("pixels")
    fill(plain.replay_buffer, rollouts, rewards)
    for rollout, paid in zip(rollouts, rewards, strict=True):
        ours.store(rollout, paid)
    draw_nothing_for_shifts(ours)
    learn_both(plain, ours)


def draw_nothing_for_shifts(agent: DrqAgent) -> None:
    """Shifts of zero still draw from torch's generator; without them both draw the same noise."""
    agent.td3.replay_buffer._shifted = lambda observations: observations  # type: ignore[union-attr]


class PaysProgress(AgentEnv):
    """Pays the simulator's progress at once, as the oracle does when the episode is over."""

    def step(self, action):
        observation, _, terminated, ended, info = super().step(action)
        return observation, self.task_env.truth()[0] / 100, terminated, ended, info


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(("algorithm", "episodes", "n_seeds"), [("sac", 96, 8), ("ppo", 480, 8)])
def test_with_the_oracle_our_runs_end_where_plain_sb3_ends_within_seed_spread(
    tmp_path, algorithm, episodes, n_seeds
):
    settings = {**TINY, "episodes": episodes, "updates_per_episode": 20, "eval_episodes": 20}
    settings |= {"eval_every": episodes, "entropy_start": 0.1, "batch_size": 64, "n_envs": 4}
    settings |= {"score_every": 1, "learning_rate_end": 1.0}  # SB3 pays at once and keeps its rate
    ours, theirs = [], []
    for seed in range(n_seeds):
        run = config(
            tmp_path / str(seed), algorithm=algorithm, reward="oracle", seed=seed, **settings
        )
        ours.append(train(run, envs=points(), model=Oracle())["true_success"])
        theirs.append(plain_success(algorithm, seed, 10 * episodes))
    apart = abs(np.mean(ours) - np.mean(theirs))
    standard_error = np.hypot(np.std(ours, ddof=1), np.std(theirs, ddof=1)) / np.sqrt(n_seeds)
    assert apart <= 2 * max(standard_error, 0.05)
    assert min(np.mean(ours), np.mean(theirs)) >= 0.5


def plain_success(algorithm: str, seed: int, n_steps: int) -> float:
    envs = DummyVecEnv([lambda: PaysProgress(PointEnv())] * 4)
    same = {"seed": seed, "device": "cpu", "gamma": 0.95, "learning_rate": 1e-3}
    if algorithm == "sac":
        model = SAC(
            "MlpPolicy", envs, train_freq=10, gradient_steps=80, learning_starts=80,
            ent_coef="auto_0.1", batch_size=64, **same,
        )  # fmt: skip
    else:  # a round of 4 episodes with 10 decisions is less than a batch of ours
        model = PPO("MlpPolicy", envs, n_steps=10, batch_size=40, **same)
    model.learn(n_steps)
    act = lambda seen: model.predict(np.stack(seen), deterministic=True)[0]  # noqa: E731
    rollouts = []
    for first in range(0, 20, 4):
        rollouts += roll_out(points(4), [10_000_000 + first + k for k in range(4)], act)
    return float(np.mean([r.truth.any_success for r in rollouts]))
