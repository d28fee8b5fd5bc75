"""PPO whose rewards come after the episode: the same as SB3's when it knows them at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_env import LeakyEnv, PointEnv
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from test_rl import PixelJudge, comparable, config, points

from sole.rewarders.controls import Constant, Oracle, Ramp
from sole.rl.envs import AgentEnv, observation_space, roll_out
from sole.rl.judge import Judge
from sole.rl.ppo import PpoAgent
from sole.rl.train import train

SETTINGS = {"gamma": 0.9, "gae_lambda": 0.8, "n_epochs": 3}


def agent(**settings) -> PpoAgent:
    env = PointEnv()
    return PpoAgent(
        env.observation_space, env.action_space, seed=0, learning_rate=1e-3, batch_size=10,
        settings={**SETTINGS, **settings},
    )  # fmt: skip


def stored_round(ppo: PpoAgent, n_envs: int, seed: int = 0):
    torch.manual_seed(seed)
    rollouts = roll_out(points(n_envs), list(range(n_envs)), lambda o: explore(ppo, o))
    rewards = np.random.default_rng(seed).normal(size=(n_envs, 10)).astype(np.float32)
    for rollout, values in zip(rollouts, rewards, strict=True):
        ppo.store(rollout, values)
    return rollouts, rewards


def explore(ppo: PpoAgent, observations):
    return ppo.act(observations, deterministic=False)


def value(ppo: PpoAgent, observation) -> float:
    tensor = ppo.ppo.policy.obs_to_tensor(observation[None])[0]
    with torch.no_grad():
        return float(ppo.ppo.policy.predict_values(tensor))


@pytest.mark.parametrize("seed", range(3))
def test_returns_and_advantages_equal_a_brute_force_sum(seed):
    ppo = agent()
    rollouts, rewards = stored_round(ppo, 3, seed)
    buffer = ppo.filled_buffer()
    for k, rollout in enumerate(rollouts):
        values = [value(ppo, o) for o in rollout.observations]
        errors = [rewards[k][t] + 0.9 * values[t + 1] - values[t] for t in range(10)]
        for t in range(10):
            advantage = sum((0.9 * 0.8) ** (u - t) * errors[u] for u in range(t, 10))
            assert buffer.advantages[t, k] == pytest.approx(advantage, abs=1e-5)
            assert buffer.returns[t, k] == pytest.approx(advantage + values[t], abs=1e-5)


def test_with_lambda_one_returns_are_the_discounted_rewards_and_the_value_of_the_end():
    ppo = agent(gae_lambda=1.0)
    rollouts, rewards = stored_round(ppo, 1)
    expected = value(ppo, rollouts[0].observations[-1])
    for t in reversed(range(10)):
        expected = rewards[0][t] + 0.9 * expected
        assert ppo.filled_buffer().returns[t, 0] == pytest.approx(expected, abs=1e-5)


def test_likelihoods_are_those_of_the_drawn_actions_not_of_the_cut_off_ones():
    ppo = agent()
    with torch.no_grad():
        ppo.ppo.policy.log_std.fill_(1.5)
    rollouts, _ = stored_round(ppo, 2)
    buffer = ppo.filled_buffer()
    drawn = np.stack([r.drawn for r in rollouts], 1)
    assert np.abs(drawn).max() > 1 >= max(np.abs(r.actions).max() for r in rollouts)
    np.testing.assert_array_equal(buffer.actions, drawn)


class PaysTheRamp(AgentEnv):
    """Says at once what the reward model ``ramp`` says when the episode is over."""

    def step(self, action):
        observation, _, terminated, ended, info = super().step(action)
        return observation, self._n_steps / 10, terminated, ended, info


def test_a_judged_round_teaches_exactly_what_sb3_learns_from_the_same_rewards():
    plain = PPO(
        "MlpPolicy", DummyVecEnv([lambda: PaysTheRamp(PointEnv())] * 2), n_steps=10, seed=0,
        batch_size=10, learning_rate=1e-3, device="cpu", **SETTINGS,
    )  # fmt: skip
    plain.set_logger(Logger(None, []))
    plain._setup_learn(20)
    assert plain.env is not None
    plain.env.seed(0)
    plain._last_obs = plain.env.reset()
    ours = agent()
    torch.manual_seed(1)
    _, callback = plain._setup_learn(20, reset_num_timesteps=False)
    plain.collect_rollouts(plain.env, callback, plain.rollout_buffer, 10)
    torch.manual_seed(1)
    rollouts = roll_out(points(2), [0, 1], lambda o: explore(ours, o))
    for rollout, judgement in zip(rollouts, Judge(Ramp())(rollouts), strict=True):
        assert judgement.rewards is not None
        ours.store(rollout, judgement.rewards)
    buffer = ours.filled_buffer()
    for name in ("observations", "actions", "rewards", "returns", "advantages", "log_probs"):
        theirs = getattr(plain.rollout_buffer, name)
        np.testing.assert_allclose(getattr(buffer, name), theirs, atol=1e-5, err_msg=name)
    for learn in (plain.train, lambda: ours.learn(0)):
        np.random.seed(2)  # noqa: NPY002
        learn()
    for name, weight in plain.policy.state_dict().items():
        torch.testing.assert_close(ours.ppo.policy.state_dict()[name], weight, msg=name)


def test_pictures_are_kept_as_they_are():
    class Bigger(PointEnv):
        def views(self):
            return {k: np.kron(v, np.ones((3, 3, 1), np.uint8)) for k, v in super().views().items()}

    env = Bigger()
    ppo = PpoAgent(
        observation_space(env, "pixels"), env.action_space, seed=0, learning_rate=1e-3,
        batch_size=10, settings={"n_epochs": 1},
    )  # fmt: skip
    rollout = roll_out([env], [0], lambda o: explore(ppo, o), kind="pixels")[0]
    ppo.store(rollout, np.zeros(10, np.float32))
    seen = ppo.filled_buffer().observations
    assert isinstance(seen, dict)
    expected = np.stack([o["external"] for o in rollout.observations[:-1]])
    np.testing.assert_array_equal(seen["external"][:, 0], expected)
    ppo.learn(0)
    assert ppo.n_updates == 1


def test_a_dropped_episode_is_not_learned_from_and_a_dropped_round_neither():
    ppo = agent()
    before = ppo.ppo.policy.state_dict()["action_net.weight"].clone()
    ppo.learn(0)
    assert torch.equal(ppo.ppo.policy.state_dict()["action_net.weight"], before)
    stored_round(ppo, 2)
    ppo.learn(0)
    ppo.learn(0)
    assert ppo.n_updates == 3


def test_ppo_never_touches_reward_or_info_of_the_simulator(tmp_path):
    envs = [LeakyEnv() for _ in range(4)]
    settings = config(tmp_path, algorithm="ppo")
    assert train(settings, envs=envs, model=PixelJudge(0.0))["n_episodes"] == 4


@pytest.mark.parametrize("random_episodes", [0, 8])
def test_a_continued_run_ends_like_an_unbroken_one(tmp_path, random_episodes):
    settings = {"algorithm": "ppo", "random_episodes": random_episodes, "learning_rate": 1e-3}
    whole = config(tmp_path / "whole", episodes=16, checkpoint_every=4, **settings)
    train(whole, envs=points(), model=PixelJudge(0.0))
    broken = config(tmp_path / "broken", episodes=16, checkpoint_every=4, **settings)
    stop_after(broken, rounds=2)
    train(broken, envs=points(), model=PixelJudge(0.0))
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
    assert comparable(tmp_path / "whole") == comparable(tmp_path / "broken")


def stop_after(settings, rounds: int, envs=None) -> None:
    """End the run in the middle of a round, as a kill would."""

    class Power(PixelJudge):
        left = rounds + 1

        def score(self, episodes):
            if len(episodes) == 4:
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt
            return super().score(episodes)

    with pytest.raises(KeyboardInterrupt):
        train(settings, envs=envs or points(), model=Power(0.0))


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints/step_00000016/policy.safetensors").read_bytes()


def test_the_run_says_which_algorithm_it_was(tmp_path):
    train(config(tmp_path, algorithm="ppo"), envs=points(), model=Constant(0.0))
    assert json.loads((tmp_path / "config.json").read_text())["algorithm"] == "ppo"


@pytest.mark.slow
def test_ppo_learns_from_the_oracle_and_not_from_a_constant(tmp_path):
    settings = {"algorithm": "ppo", "episodes": 480, "n_envs": 8, "eval_episodes": 20}
    settings |= {"eval_every": 480, "checkpoint_every": 480, "batch_size": 64}
    finals = {}
    for name, model in (("oracle", Oracle()), ("constant:0", Constant(0.0))):
        run = config(tmp_path / name.replace(":", ""), reward=name, **settings)
        finals[name] = train(run, envs=points(8), model=model)["true_success"]
    assert finals["oracle"] >= 0.8
    assert finals["constant:0"] <= 0.3
