"""Stable-Baselines3's PPO with rewards that arrive when its episodes have been judged.

A round of whole episodes is one roll-out of PPO. Its rewards, returns and advantages are computed
when the judgement is in, by SB3's own buffer, and SB3's unmodified ``train`` does the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from safetensors.torch import load_file
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import Schedule

from sole.checkpoint import load_optimizer, save_optimizer, save_tensors
from sole.rl.agent import Scaling, Spaces
from sole.rl.envs import Observation, Rollout


class PpoAgent:
    """PPO on judged rounds.

    Args:
        observation_space: State vector, or a dict of pictures and proprioception.
        action_space: The env's, in [-1, 1]; actions are drawn from an unbounded Gaussian and cut
            off for the env, as in SB3.
        seed: Seeds the initial networks.
        learning_rate: Adam's, or its schedule.
        batch_size: Transitions of a gradient step.
        settings: Passed to SB3's PPO (gamma, gae_lambda, n_epochs, clip_range, ent_coef ...).
    """

    off_policy = False

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        seed: int,
        learning_rate: float | Schedule,
        batch_size: int,
        settings: dict[str, Any],
    ):
        pixels = isinstance(observation_space, gymnasium.spaces.Dict)
        self.ppo = PPO(
            "MultiInputPolicy" if pixels else "MlpPolicy",
            Spaces(observation_space, action_space),
            seed=seed,
            device="cpu",
            learning_rate=learning_rate,
            batch_size=batch_size,
            n_steps=batch_size,  # only of the buffer that each round replaces
            **settings,
        )
        self.ppo.set_logger(Logger(None, []))
        self.scaling = Scaling()
        self.n_updates = 0
        self._held: list[tuple[list[Observation], np.ndarray, np.ndarray]] = []

    def act(self, observations: list[Observation], *, deterministic: bool) -> np.ndarray:
        """Actions ``(n, A)``: the mean, or as drawn, which may lie outside the action space."""
        batch = self.scaling.batch(observations)
        if deterministic:
            return self.ppo.predict(batch, deterministic=True)[0]
        self.ppo.policy.set_training_mode(False)
        with torch.no_grad():
            return self.ppo.policy(self._tensor(batch))[0].cpu().numpy()

    def store(self, rollout: Rollout, rewards: np.ndarray) -> None:
        """Keep a judged episode of the current policy until :meth:`learn`."""
        observations = [self.scaling(o) for o in rollout.observations]
        self._held.append((observations, np.stack(rollout.drawn), rewards))

    def schedule(self, remaining: float) -> None:
        """Nothing of PPO's exploration depends on how much of the run is still to come."""

    def learn(self, n_updates: int, *, remaining: float = 1.0) -> None:
        """Learn from what was stored since the last time, then forget it.

        Args:
            n_updates: Not used: PPO makes ``n_epochs`` passes over the round.
            remaining: Share of the run still to come; the learning rate falls with it.
        """
        if not self._held:  # every episode of the round was dropped
            return
        self.ppo._current_progress_remaining = remaining
        self.ppo.rollout_buffer = self.filled_buffer()
        self._held = []
        before = self.ppo._n_updates
        self.ppo.train()
        self.n_updates += self.ppo._n_updates - before

    def filled_buffer(self) -> RolloutBuffer:
        """SB3's roll-out buffer with the stored episodes side by side, returns computed.

        All episodes end by their time limit, so the value of what comes after is added to the last
        reward, as SB3 does it.
        """
        ppo, n_steps = self.ppo, len(self._held[0][2])
        pixels = isinstance(ppo.observation_space, gymnasium.spaces.Dict)
        kind: Any = DictRolloutBuffer if pixels else RolloutBuffer
        buffer = kind(
            n_steps, ppo.observation_space, ppo.action_space, ppo.device,
            gae_lambda=ppo.gae_lambda, gamma=ppo.gamma, n_envs=len(self._held),
        )  # fmt: skip
        after = self._values([o[-1] for o, _, _ in self._held]).cpu().numpy().flatten()
        for t in range(n_steps):
            rewards = np.array([r[t] for _, _, r in self._held], np.float32)
            if t == n_steps - 1:
                rewards = rewards + np.float32(ppo.gamma) * after
            self._add(buffer, t, rewards)
        ends = np.ones(len(self._held), bool)
        buffer.compute_returns_and_advantage(torch.as_tensor(after), ends)
        return buffer

    def _add(self, buffer: RolloutBuffer, t: int, rewards: np.ndarray) -> None:
        seen = _stack([o[t] for o, _, _ in self._held])
        actions = np.stack([a[t] for _, a, _ in self._held])
        with torch.no_grad():
            values, log_probs, _ = self.ppo.policy.evaluate_actions(
                self._tensor(seen), torch.as_tensor(actions, device=self.ppo.device)
            )
        starts = np.full(len(self._held), t == 0)
        buffer.add(seen, actions, rewards, starts, values, log_probs)

    def _values(self, observations: Sequence[Observation]) -> torch.Tensor:
        with torch.no_grad():
            return self.ppo.policy.predict_values(self._tensor(_stack(observations)))

    def _tensor(self, batch: Any) -> Any:
        return self.ppo.policy.obs_to_tensor(batch)[0]

    def save_policy(self, folder: Path) -> None:
        """Write what acting needs: networks and scaling."""
        save_tensors(folder / "policy.safetensors", dict(self.ppo.policy.state_dict()))
        self.scaling.save(folder)

    def load_policy(self, folder: Path) -> None:
        """Put back what :meth:`save_policy` wrote."""
        self.ppo.policy.load_state_dict(load_file(folder / "policy.safetensors"))
        self.scaling.load(folder)

    def save(self, folder: Path) -> None:
        """Write networks and optimiser, none of it as pickle."""
        self.save_policy(folder)
        save_optimizer(folder / "optimizer.safetensors", self.ppo.policy.optimizer)
        counts = {"n_updates": self.n_updates, "sb3_n_updates": self.ppo._n_updates}
        (folder / "agent.json").write_text(json.dumps(counts))

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        self.load_policy(folder)
        load_optimizer(folder / "optimizer.safetensors", self.ppo.policy.optimizer)
        counts = json.loads((folder / "agent.json").read_text())
        self.n_updates, self.ppo._n_updates = counts["n_updates"], counts["sb3_n_updates"]


def _stack(observations: Sequence[Observation]) -> Any:
    """One batch of observations that are scaled already."""
    return Scaling().batch(list(observations))
