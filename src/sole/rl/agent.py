"""Stable-Baselines3's off-policy algorithms, driven from outside; here SAC.

We decide when transitions enter the buffer.

SB3's own ``learn`` wants the reward at every step; ours arrives when an episode has been judged. So
the loop acts with the policy, holds a roll-out back until its rewards are in, stores it whole and
then calls SB3's unmodified ``train``.
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
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples, Schedule
from stable_baselines3.sac.policies import MultiInputPolicy, SACPolicy

from sole.checkpoint import load_optimizer, save_optimizer, save_tensors
from sole.rl.envs import Observation, Rollout
from sole.rl.normed import NormedMultiInputPolicy, NormedSacPolicy
from sole.rl.relabel import RelabelledBuffer, RelabelledDictBuffer

#: Nothing is scaled by less: what random actions never moved has yet to be seen moving (metres).
_FLOOR = 0.05


class Scaling:
    """Centres and scales state observations by what the first random episodes showed, then stays.

    A running estimate would change the meaning of what the replay buffer already holds. Nothing is
    clipped: random actions stay near the start, and the goal lies many of their deviations away.
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
        return ((observation - self.mean) / self.deviation).astype(np.float32)

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


class ReplayAgent:
    """An off-policy algorithm of SB3 whose rewards are held back.

    Args:
        engine: With a :class:`RelabelledBuffer`; it is never asked to ``learn``.
    """

    off_policy = True

    def __init__(self, engine: OffPolicyAlgorithm):
        self.engine = engine
        self.engine.set_logger(Logger(None, []))
        self.scaling = Scaling()
        self.n_updates = 0

    def act(self, observations: list[Observation], *, deterministic: bool) -> np.ndarray:
        """Actions ``(n, A)`` for a batch of observations."""
        batch = self.scaling.batch(observations)
        return self.engine.predict(batch, deterministic=deterministic)[0]

    def store(self, rollout: Rollout, rewards: np.ndarray) -> None:
        """Put a judged episode into the buffer; its end is a time limit, so values bootstrap."""
        self.store_steps(rollout.observations, np.stack(rollout.actions), rewards)

    def store_steps(
        self,
        observations: Sequence[Observation],
        actions: np.ndarray,
        rewards: np.ndarray,
        *,
        completed: bool = False,
    ) -> None:
        """The same from its parts; ``completed`` says that nothing follows its end."""
        scaled = [self.scaling(o) for o in observations]
        self._buffer.add_episode(scaled, actions, rewards, completed=completed)

    def schedule(self, remaining: float) -> None:
        """Prepare for acting when this share of the run is still to come; here nothing."""

    def learn(self, n_updates: int, *, remaining: float = 1.0) -> None:
        """Run SB3's own training for this many gradient steps; with nothing stored, do nothing.

        Args:
            n_updates: Gradient steps.
            remaining: Share of the run still to come; the learning rate falls with it.
        """
        self.engine._current_progress_remaining = remaining
        if n_updates == 0 or self.n_stored == 0:  # every episode so far was dropped
            return
        self.engine.train(gradient_steps=n_updates, batch_size=self.engine.batch_size)
        self.n_updates += n_updates

    def sample(self, n: int) -> ReplayBufferSamples:
        """Transitions of the buffer, as SB3 draws them.

        Args:
            n: How many, with replacement; at least one must be stored.

        Raises:
            ConfigError: If nothing is stored.
        """
        return self._buffer.sample(n)

    @property
    def n_stored(self) -> int:
        """Transitions in the buffer."""
        return int(self._buffer.size())

    @property
    def _buffer(self) -> Any:
        return self.engine.replay_buffer

    @property
    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        policy: Any = self.engine.policy
        return {"actor": policy.actor.optimizer, "critic": policy.critic.optimizer}

    @property
    def _own_tensors(self) -> dict[str, torch.Tensor]:
        """What the algorithm learns beside its policy's networks."""
        return {}

    def save_policy(self, folder: Path) -> None:
        """Write what acting needs: networks and scaling."""
        weights = {**self.engine.policy.state_dict(), **self._own_tensors}
        save_tensors(folder / "policy.safetensors", weights)
        self.scaling.save(folder)

    def load_policy(self, folder: Path) -> None:
        """Put back what :meth:`save_policy` wrote."""
        weights = load_file(folder / "policy.safetensors")
        with torch.no_grad():
            for name, tensor in self._own_tensors.items():
                tensor.copy_(weights.pop(name))
        self.engine.policy.load_state_dict(weights)
        self.scaling.load(folder)

    def save(self, folder: Path) -> None:
        """Write networks, optimisers and buffer, none of it as pickle."""
        self.save_policy(folder)
        for name, optimizer in self._optimizers.items():
            save_optimizer(folder / f"optimizer_{name}.safetensors", optimizer)
        np.savez(folder / "buffer.npz", **_buffer_arrays(self._buffer))  # type: ignore[arg-type]
        counts = {"n_updates": self.n_updates, "sb3_n_updates": self.engine._n_updates}
        (folder / "agent.json").write_text(json.dumps(counts))

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        self.load_policy(folder)
        for name, optimizer in self._optimizers.items():
            load_optimizer(folder / f"optimizer_{name}.safetensors", optimizer)
        with np.load(folder / "buffer.npz", allow_pickle=False) as arrays:
            _restore_buffer(self._buffer, dict(arrays))
        counts = json.loads((folder / "agent.json").read_text())
        self.n_updates, self.engine._n_updates = counts["n_updates"], counts["sb3_n_updates"]


def falling(learning_rate: float, end: float) -> Schedule:
    """A learning rate that falls linearly to the share ``end`` of itself, as SB3 takes one.

    Example:
        >>> [falling(0.5, 0.5)(remaining) for remaining in (1.0, 0.75, 0.0)]
        [0.5, 0.375, 0.25]
    """
    return lambda remaining: learning_rate * max(remaining, end)


#: By whether there are pictures, and whether the critics are normalised.
_POLICIES: dict[tuple[bool, bool], type[SACPolicy]] = {
    (False, False): SACPolicy,
    (True, False): MultiInputPolicy,
    (False, True): NormedSacPolicy,
    (True, True): NormedMultiInputPolicy,
}


class SacAgent(ReplayAgent):
    """SAC with held-back rewards.

    Args:
        observation_space: State vector, or a dict of pictures and proprioception.
        action_space: The env's, in [-1, 1].
        seed: Seeds the initial networks.
        buffer_size: Transitions kept.
        learning_rate: Adam's, or its schedule.
        settings: Passed to SB3's SAC (gamma, tau, batch_size ...).
        critic_layer_norm: Normalise the critics' hidden layers (:mod:`sole.rl.normed`).
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        seed: int,
        buffer_size: int,
        learning_rate: float | Schedule,
        settings: dict[str, Any],
        critic_layer_norm: bool = False,
    ):
        pixels = isinstance(observation_space, gymnasium.spaces.Dict)
        self.sac = SAC(
            _POLICIES[pixels, critic_layer_norm],
            Spaces(observation_space, action_space),
            seed=seed,
            buffer_size=buffer_size,
            device="cpu",
            replay_buffer_class=RelabelledDictBuffer if pixels else RelabelledBuffer,
            learning_rate=learning_rate,
            **settings,
        )
        super().__init__(self.sac)

    @property
    def _own_tensors(self) -> dict[str, torch.Tensor]:
        assert self.sac.log_ent_coef is not None
        return {"log_ent_coef": self.sac.log_ent_coef.detach()}

    @property
    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        assert self.sac.ent_coef_optimizer is not None
        return {**super()._optimizers, "entropy": self.sac.ent_coef_optimizer}


def reseed(seed: int, number: int) -> None:
    """Start batch ``number`` from its own random state, so a resumed run needs none saved.

    SB3 samples its buffer with numpy's global generator and actions with torch's.
    """
    state = np.random.SeedSequence([seed, number]).generate_state(2)
    np.random.seed(int(state[0]))  # noqa: NPY002
    torch.manual_seed(int(state[1]))


_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
#: Those that only some of our buffers have.
_OWN_ARRAYS = ("discounts",)


def _buffer_arrays(buffer: Any) -> dict[str, np.ndarray]:
    end = buffer.buffer_size if buffer.full else buffer.pos
    arrays: dict[str, np.ndarray] = {"pos": np.array([buffer.pos, int(buffer.full)])}
    for name in (*_ARRAYS, *(n for n in _OWN_ARRAYS if hasattr(buffer, n))):
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
