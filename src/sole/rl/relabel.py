"""SB3 replay buffers whose rewards arrive when an episode has been judged.

For a loop of your own around any off-policy algorithm of Stable-Baselines3::

    envs = DummyVecEnv([lambda: AgentEnv(make_env("metaworld/door-close"))] * 4)
    buffer = {"label": Judge(load_reward_model("nano")).label}
    SAC("MlpPolicy", envs, replay_buffer_class=RelabelledBuffer, replay_buffer_kwargs=buffer,
        train_freq=25, gradient_steps=240, learning_starts=100).learn(10_000)

``sole rl`` stores its judged episodes in the same buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from sole.data.episode import Episode
from sole.errors import ConfigError
from sole.rl.envs import FINISHED, Observation

#: Finished episodes -> the reward of each decision, or None for an episode not to be learned from.
Label = Callable[[list[Episode]], Sequence[np.ndarray | None]]


@dataclass(frozen=True)
class HeldStep:
    """One transition that waits for its reward; arrays have a leading axis of 1."""

    observation: Any
    next_observation: Any
    action: np.ndarray
    done: bool
    cut_off: bool


class RelabelledBuffer(ReplayBuffer):
    """Holds each env's transitions back until its episode is judged, then stores them.

    The reward that SB3 passes to ``add`` is not read. All episodes that end in the same step are
    judged in one call. A time limit (``TimeLimit.truncated``) keeps bootstrapping the value.

    Args:
        buffer_size: Transitions kept, over all envs.
        observation_space: The agent's.
        action_space: The agent's.
        device: Of the samples.
        n_envs: Envs that ``add`` is fed from; they may end at different times.
        label: Finished episodes (from :class:`~sole.rl.envs.AgentEnv`) -> rewards ``(T-1,)`` each;
            may be left out where only :meth:`add_episode` is used.
        **options: Further settings of SB3's buffer.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        device: Any = "auto",
        n_envs: int = 1,
        *,
        label: Label | None = None,
        **options: Any,
    ):
        # One column: envs need not end together, and each episode is stored whole.
        super().__init__(
            buffer_size, observation_space, action_space, device=device, n_envs=1, **options
        )
        self._label = label
        self._held: list[list[HeldStep]] = [[] for _ in range(n_envs)]

    @property
    def n_held(self) -> int:
        """Transitions that wait for their episode to end."""
        return sum(len(held) for held in self._held)

    def add(  # type: ignore[override]
        self,
        obs: Any,
        next_obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Hold one step of every env back; judge and store the episodes that it ends."""
        for k, held in enumerate(self._held):
            cut_off = bool(infos[k].get("TimeLimit.truncated", False))
            ended = bool(done[k])
            before, after = _row(obs, k), _row(next_obs, k)
            held.append(HeldStep(before, after, action[k : k + 1], ended, cut_off))
        ended_envs = [k for k in range(len(self._held)) if done[k]]
        if ended_envs:
            self._release(ended_envs, infos)

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Draw transitions of judged episodes.

        Raises:
            ConfigError: If no episode was judged and kept yet.
        """
        if not self.size():
            raise ConfigError(
                "relabelled buffer: nothing to learn from, because no episode has been judged and "
                "kept yet; take learning_starts of at least one episode of every env"
            )
        return super().sample(batch_size, env)

    def add_episode(
        self,
        observations: Sequence[Observation],
        actions: np.ndarray,
        rewards: np.ndarray,
        *,
        completed: bool = False,
    ) -> None:
        """Store a judged episode.

        Args:
            observations: ``T``, one more than actions.
            actions: ``(T-1, A)``.
            rewards: ``(T-1,)``.
            completed: Nothing follows its end; otherwise a time limit ended it, and its last value
                bootstraps.
        """
        last = len(actions) - 1
        rows = [_row(o) for o in observations]
        held = [
            HeldStep(
                rows[t], rows[t + 1], actions[t : t + 1], t == last, t == last and not completed
            )
            for t in range(len(actions))
        ]
        self._store(held, rewards)

    def _release(self, ended: list[int], infos: list[dict[str, Any]]) -> None:
        if self._label is None:
            raise ValueError("relabelled buffer: expected a label function, got None")
        missing = [k for k in ended if FINISHED not in infos[k]]
        if missing:
            raise ValueError(
                f"relabelled buffer: env {missing[0]} ended without info[{FINISHED!r}]; wrap it in "
                "sole.rl.envs.AgentEnv"
            )
        rewards = self._label([infos[k][FINISHED] for k in ended])
        for k, values in zip(ended, rewards, strict=True):
            held, self._held[k] = self._held[k], []
            if values is not None:
                self._store(held, values)

    def _store(self, held: Sequence[HeldStep], rewards: np.ndarray) -> None:
        if np.shape(rewards) != (len(held),):
            raise ValueError(
                f"relabelled buffer: expected one reward for each of {len(held)} decisions, "
                f"got shape {np.shape(rewards)}"
            )
        for one, reward in zip(held, rewards, strict=True):
            super().add(
                one.observation, one.next_observation, one.action,
                np.array([reward], np.float32), np.array([one.done]),
                [{"TimeLimit.truncated": one.cut_off}],
            )  # fmt: skip


class RelabelledDictBuffer(RelabelledBuffer, DictReplayBuffer):
    """The same for observations that are a dict: pictures and proprioception."""


def _row(observation: Observation, index: int | None = None) -> Any:
    """One env's observation with a leading axis of 1, copied because SB3 reuses its arrays."""
    if isinstance(observation, dict):
        return {key: _row(value, index) for key, value in observation.items()}
    row = observation[None] if index is None else observation[index : index + 1]
    return np.array(row)
