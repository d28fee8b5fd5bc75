"""Stable-Baselines3's SAC, driven from outside: we decide when transitions enter its buffer.

SB3's own ``learn`` wants the reward at every step; ours arrives when an episode has been judged. So
the loop acts with the policy, holds a roll-out back until its rewards are in, stores it whole and
then calls SB3's unmodified ``train``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from safetensors.torch import load_file
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger

from sole.checkpoint import load_optimizer, save_optimizer, save_tensors
from sole.rl.envs import Observation, Rollout
from sole.rl.relabel import RelabelledBuffer, RelabelledDictBuffer

_CLIP_SIGMAS = 5.0
_FLOOR = 0.01


class Scaling:
    """Centres and scales state observations by what the first random episodes showed, then stays.

    A running estimate would change the meaning of what the replay buffer already holds.
    """

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None
        self.deviation: np.ndarray | None = None

    def fit(self, rollouts: list[Rollout]) -> None:
        """Take mean and deviation of every observation in these roll-outs."""
        everything = np.concatenate([np.stack(r.observations) for r in rollouts])
        self.mean = everything.mean(0)
        self.deviation = np.maximum(everything.std(0), _FLOOR)

    def __call__(self, observation: Observation) -> Observation:
        """Scale a vector (or a batch of them); pictures pass, before the fit everything does."""
        if self.mean is None or isinstance(observation, dict):
            return observation
        scaled = (observation - self.mean) / self.deviation
        return np.clip(scaled, -_CLIP_SIGMAS, _CLIP_SIGMAS).astype(np.float32)

    def batch(self, observations: list[Observation]) -> Any:
        """Several observations as one scaled batch, or a dict of batches."""
        first = observations[0]
        if isinstance(first, dict):
            return {key: np.stack([o[key] for o in observations]) for key in first}
        return self(np.stack(observations))

    def save(self, folder: Path) -> None:
        """Write scaling.npz, if there was a fit."""
        if self.mean is not None and self.deviation is not None:
            np.savez(folder / "scaling.npz", mean=self.mean, deviation=self.deviation)

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        if (folder / "scaling.npz").exists():
            with np.load(folder / "scaling.npz", allow_pickle=False) as arrays:
                self.mean, self.deviation = arrays["mean"], arrays["deviation"]


class Spaces(gymnasium.Env[Any, Any]):
    """Tells SB3 the spaces; it is never stepped."""

    def __init__(self, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]):
        self.observation_space = observation_space
        self.action_space = action_space


class SacAgent:
    """SAC with held-back rewards.

    Args:
        observation_space: State vector, or a dict of pictures and proprioception.
        action_space: The env's, in [-1, 1].
        seed: Seeds the initial networks.
        buffer_size: Transitions kept.
        learning_rate: Adam's at the start of the run.
        settings: Passed to SB3's SAC (gamma, tau, batch_size ...).
    """

    off_policy = True

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        seed: int,
        buffer_size: int,
        learning_rate: float,
        settings: dict[str, Any],
    ):
        pixels = isinstance(observation_space, gymnasium.spaces.Dict)
        self.sac = SAC(
            "MultiInputPolicy" if pixels else "MlpPolicy",
            Spaces(observation_space, action_space),
            seed=seed,
            buffer_size=buffer_size,
            device="cpu",
            replay_buffer_class=RelabelledDictBuffer if pixels else RelabelledBuffer,
            learning_rate=lambda remaining: learning_rate * max(remaining, 0.1),
            **settings,
        )
        self.sac.set_logger(Logger(None, []))
        self.scaling = Scaling()
        self.n_updates = 0

    def act(self, observations: list[Observation], *, deterministic: bool) -> np.ndarray:
        """Actions ``(n, A)`` for a batch of observations."""
        batch = self.scaling.batch(observations)
        return self.sac.predict(batch, deterministic=deterministic)[0]

    def store(self, rollout: Rollout, rewards: np.ndarray) -> None:
        """Put a judged episode into the buffer; its end is a time limit, so values bootstrap."""
        observations = [self.scaling(o) for o in rollout.observations]
        self._buffer.add_episode(observations, np.stack(rollout.actions), rewards)

    def learn(self, n_updates: int, *, remaining: float = 1.0) -> None:
        """Run SB3's own training for this many gradient steps; with nothing stored, do nothing.

        Args:
            n_updates: Gradient steps.
            remaining: Share of the run still to come; the learning rate falls with it.
        """
        self.sac._current_progress_remaining = remaining
        if self._buffer.size() == 0:  # every episode so far was dropped
            return
        self.sac.train(gradient_steps=n_updates, batch_size=self.sac.batch_size)
        self.n_updates += n_updates

    @property
    def _buffer(self) -> Any:
        return self.sac.replay_buffer

    @property
    def _entropy_weight(self) -> torch.Tensor:
        assert self.sac.log_ent_coef is not None
        return self.sac.log_ent_coef

    @property
    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        sac = self.sac
        assert sac.ent_coef_optimizer is not None
        return {
            "actor": sac.actor.optimizer,
            "critic": sac.critic.optimizer,
            "entropy": sac.ent_coef_optimizer,
        }

    def save(self, folder: Path) -> None:
        """Write networks, optimisers and buffer, none of it as pickle."""
        weights = dict(self.sac.policy.state_dict())
        weights["log_ent_coef"] = self._entropy_weight.detach()
        save_tensors(folder / "policy.safetensors", weights)
        for name, optimizer in self._optimizers.items():
            save_optimizer(folder / f"optimizer_{name}.safetensors", optimizer)
        np.savez(folder / "buffer.npz", **_buffer_arrays(self._buffer))  # type: ignore[arg-type]
        self.scaling.save(folder)
        counts = {"n_updates": self.n_updates, "sb3_n_updates": self.sac._n_updates}
        (folder / "agent.json").write_text(json.dumps(counts))

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        weights = load_file(folder / "policy.safetensors")
        with torch.no_grad():
            self._entropy_weight.copy_(weights.pop("log_ent_coef"))
        self.sac.policy.load_state_dict(weights)
        for name, optimizer in self._optimizers.items():
            load_optimizer(folder / f"optimizer_{name}.safetensors", optimizer)
        with np.load(folder / "buffer.npz", allow_pickle=False) as arrays:
            _restore_buffer(self._buffer, dict(arrays))
        self.scaling.load(folder)
        counts = json.loads((folder / "agent.json").read_text())
        self.n_updates, self.sac._n_updates = counts["n_updates"], counts["sb3_n_updates"]


def reseed(seed: int, number: int) -> None:
    """Start batch ``number`` from its own random state, so a resumed run needs none saved.

    SB3 samples its buffer with numpy's global generator and actions with torch's.
    """
    state = np.random.SeedSequence([seed, number]).generate_state(2)
    np.random.seed(int(state[0]))  # noqa: NPY002
    torch.manual_seed(int(state[1]))


_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def _buffer_arrays(buffer: Any) -> dict[str, np.ndarray]:
    end = buffer.buffer_size if buffer.full else buffer.pos
    arrays: dict[str, np.ndarray] = {"pos": np.array([buffer.pos, int(buffer.full)])}
    for name in _ARRAYS:
        value = getattr(buffer, name)
        parts = value if isinstance(value, dict) else {"": value}
        arrays |= {f"{name}/{key}": part[:end] for key, part in parts.items()}
    return arrays


def _restore_buffer(buffer: Any, arrays: dict[str, np.ndarray]) -> None:
    pos, full = arrays.pop("pos")
    n_stored = len(arrays["rewards/"])
    if n_stored < buffer.buffer_size:  # also a full one, when the run is continued for longer
        pos, full = n_stored, False
    buffer.pos, buffer.full = int(pos), bool(full)
    for name, array in arrays.items():
        field, _, key = name.partition("/")
        target = getattr(buffer, field)
        (target[key] if key else target)[: len(array)] = array
