"""What an agent may see, and the buffers that wait for its rewards."""

import numpy as np
import pytest
from fake_env import LeakyEnv, PointEnv
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from sole.errors import ConfigError
from sole.rewarders.controls import Constant, Ramp
from sole.rl.envs import FINISHED, AgentEnv, TruthRecorder, pictured_moments
from sole.rl.judge import Judge
from sole.rl.relabel import RelabelledBuffer


class SecretiveEnv(LeakyEnv):
    """Its reward, info and truth all raise; it also claims that each episode ends at once."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, True, truncated, info

    def truth(self):
        raise AssertionError("the agent's side asked for the truth")


def play(env: AgentEnv, seed: int = 0):
    """One episode of constant actions: observations, and the last step's info."""
    seen = [env.reset(seed=seed)[0]]
    info = {}
    for _ in range(env.task_env.max_steps):
        observation, reward, terminated, _, info = env.step(np.ones(2, np.float32))
        assert reward == 0.0
        assert not terminated
        seen.append(observation)
    return seen, info


def buffer(label, n_envs: int = 1, size: int = 100) -> RelabelledBuffer:
    env = PointEnv()
    return RelabelledBuffer(
        size, env.observation_space, env.action_space, "cpu", n_envs, label=label
    )


def feed(held: RelabelledBuffer, ends: list[bool], finished: object = None) -> None:
    """One step of all envs; the reward that SB3 would pass is NaN."""
    n = len(ends)
    infos = [{"TimeLimit.truncated": end, FINISHED: finished} if end else {} for end in ends]
    held.add(
        np.zeros((n, 4), np.float32), np.ones((n, 4), np.float32), np.zeros((n, 2), np.float32),
        np.full(n, np.nan), np.array(ends), infos,
    )  # fmt: skip


def test_agent_env_reads_neither_truth_nor_reward_nor_info_nor_termination():
    seen, info = play(AgentEnv(SecretiveEnv()))
    assert len(seen) == 11
    assert info[FINISHED].truth is None


def test_agent_env_films_the_asked_moments_and_the_last():
    film = play(AgentEnv(PointEnv(), every=4))[1][FINISHED]
    frames, n_moments = pictured_moments(film)
    assert (frames.tolist(), n_moments, film.n_frames) == ([0, 4, 8, 10], 11, 4)


def test_pixel_observations_are_the_film_channel_first():
    env = AgentEnv(PointEnv(), "pixels")
    seen, info = play(env)
    assert all(env.observation_space.contains(o) for o in seen)
    film = info[FINISHED].views["external"]
    np.testing.assert_array_equal(film.transpose(0, 3, 1, 2), [o["external"] for o in seen])


def test_another_wording_replaces_the_tasks_sentence():
    class Worded(PointEnv):
        def reset(self, *, seed=None, options=None):
            self.task = (options or {}).get("task", "move")
            return super().reset(seed=seed)

    assert play(AgentEnv(Worded(), task="go there"))[1][FINISHED].task == "go there"


def test_truth_recorder_notes_every_moment():
    env, recorder = PointEnv(), TruthRecorder()
    env.reset(seed=0)
    recorder.look(env)
    env.step(np.ones(2))
    recorder.look(env)
    truth = recorder.truth()
    assert truth.true_progress[0] == 0.0 < truth.true_progress[1]


def test_nothing_is_stored_before_the_episode_is_judged():
    held = buffer(lambda episodes: [np.array([0.5, 1.0])])
    feed(held, [False])
    assert (held.size(), held.n_held) == (0, 1)
    feed(held, [True])
    assert (held.size(), held.n_held) == (2, 0)
    np.testing.assert_array_equal(held.rewards[:2, 0], [0.5, 1.0])


def test_a_time_limit_keeps_bootstrapping():
    held = buffer(lambda episodes: [np.zeros(2)])
    feed(held, [False])
    feed(held, [True])
    assert held.dones[:2, 0].tolist() == [0.0, 1.0]
    assert held.sample(50).dones.max() == 0.0


def test_episodes_that_end_together_are_judged_in_one_call():
    calls = []

    def label(episodes):
        calls.append(list(episodes))
        return [np.full(2, 1.0) for _ in episodes]

    held = buffer(label, n_envs=3)
    feed(held, [False, False, False])
    feed(held, [True, False, True], finished="film")
    assert calls == [["film", "film"]]
    assert (held.size(), held.n_held) == (4, 2)


def test_a_dropped_episode_leaves_no_transition():
    held = buffer(lambda episodes: [None])
    feed(held, [True])
    assert (held.size(), held.n_held) == (0, 0)


def test_learning_before_the_first_judged_episode_is_refused_with_advice():
    held = buffer(lambda episodes: [None])
    feed(held, [True])
    with pytest.raises(ConfigError, match="learning_starts"):
        held.sample(8)


def test_a_wrong_number_of_rewards_is_refused():
    held = buffer(lambda episodes: [np.zeros(3)])
    with pytest.raises(ValueError, match="one reward for each of 1 decisions"):
        feed(held, [True])


def test_an_env_without_a_film_is_named():
    held = buffer(lambda episodes: [np.zeros(1)])
    with pytest.raises(ValueError, match="wrap it in"):
        held.add(
            np.zeros((1, 4)), np.zeros((1, 4)), np.zeros((1, 2)), np.zeros(1), np.ones(1), [{}]
        )


def test_rewards_of_a_film_with_gaps_cover_every_decision():
    film = play(AgentEnv(PointEnv(), every=5))[1][FINISHED]
    rewards = Judge(Ramp()).label([film])[0]
    assert rewards is not None
    np.testing.assert_allclose(rewards, np.arange(1, 11) / 10, rtol=1e-5)


def test_plain_sb3_learns_with_judged_rewards():
    envs = DummyVecEnv([lambda: AgentEnv(PointEnv()) for _ in range(2)])
    sac = SAC(
        "MlpPolicy", envs, replay_buffer_class=RelabelledBuffer, train_freq=10, gradient_steps=2,
        replay_buffer_kwargs={"label": Judge(Constant(50.0)).label}, learning_starts=20, seed=0,
        batch_size=8, buffer_size=100, device="cpu",
    )  # fmt: skip
    sac.learn(80)
    assert sac.replay_buffer is not None
    assert sac.replay_buffer.size() == 80
    assert set(sac.replay_buffer.rewards[:80, 0]) == {0.5}
