"""A Stable-Baselines3 callback that pays an on-policy algorithm by judged progress.

For a loop of your own around PPO or A2C::

    envs = DummyVecEnv([lambda: AgentEnv(make_env("metaworld/door-close"))] * 4)
    ppo = PPO("MlpPolicy", envs, n_steps=50)  # a multiple of the episode's length
    ppo.learn(100_000, callback=JudgedReturns(Judge(load_reward_model("nano")).label))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback

from sole.errors import ConfigError
from sole.rl.envs import FINISHED
from sole.rl.relabel import Label


class JudgedReturns(BaseCallback):
    """Puts judged rewards into a collected roll-out and computes its returns again.

    All episodes of a roll-out are judged in one call. Whatever reward the environments paid is
    replaced; the value that SB3 adds at a time limit is added here too. An episode that its judge
    drops earns its critic's own estimate, so that its advantages are zero.

    Args:
        label: Finished episodes (of :class:`~sole.rl.envs.AgentEnv`) -> rewards ``(T-1,)`` each.
    """

    def __init__(self, label: Label):
        super().__init__()
        self._label = label
        self.n_dropped = 0

    def _on_rollout_start(self) -> None:
        self._films: list[tuple[int, int, Any, Any]] = []
        self._step = 0

    def _on_step(self) -> bool:
        for column, info in enumerate(self.locals["infos"]):
            if self.locals["dones"][column]:
                if FINISHED not in info:
                    raise ConfigError(
                        f"judged returns: env {column} ended without info[{FINISHED!r}]; wrap it "
                        "in sole.rl.envs.AgentEnv"
                    )
                self._films.append((column, self._step, info[FINISHED], info))
        self._step += 1
        return True

    def _on_rollout_end(self) -> None:
        buffer: RolloutBuffer = self.locals["rollout_buffer"]
        if not np.all(self.locals["dones"]):
            raise ConfigError(
                f"judged returns: n_steps is {buffer.buffer_size}, but an episode is still running "
                "then; take a multiple of the episode's length"
            )
        labels = self._label([film for _, _, film, _ in self._films])
        for (column, end, _, info), rewards in zip(self._films, labels, strict=True):
            self._put(buffer, column, end, rewards, self._value_after(info))
        last = self.locals["values"]
        buffer.compute_returns_and_advantage(last_values=last, dones=self.locals["dones"])

    def _value_after(self, info: dict[str, Any]) -> float:
        if not info.get("TimeLimit.truncated", False):
            return 0.0
        policy: Any = self.model.policy
        tensor = policy.obs_to_tensor(info["terminal_observation"])[0]
        with torch.no_grad():
            return float(policy.predict_values(tensor)[0])

    def _put(
        self, buffer: RolloutBuffer, column: int, end: int, rewards: np.ndarray | None, after: float
    ) -> None:
        start = int(np.flatnonzero(buffer.episode_starts[: end + 1, column])[-1])
        if rewards is None:
            self.n_dropped += 1
            values = buffer.values[start : end + 1, column]
            buffer.rewards[start : end + 1, column] = values - buffer.gamma * np.append(
                values[1:], 0.0
            )
            return
        if len(rewards) != end + 1 - start:
            raise ConfigError(
                f"judged returns: {len(rewards)} rewards for an episode of {end + 1 - start} steps "
                "in this roll-out; take an n_steps that holds whole episodes"
            )
        buffer.rewards[start : end + 1, column] = rewards
        buffer.rewards[end, column] += buffer.gamma * after
