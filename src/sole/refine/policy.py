"""What is learned beside, or in place of, the clone; the critics are always SAC's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import log
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import nn

from sole.checkpoint import load_optimizer, save_optimizer
from sole.refine.cloning import LARGEST_ACTION, ClonedPolicy
from sole.refine.config import RefineConfig
from sole.rl.agent import SacAgent

#: Entropy's weight at the start: low, since the policy is not to be explored away. With 0.02 it
#: outweighed what a correction costs, and the noise stayed at two thirds of the largest one.
_ENTROPY = "auto_0.001"
#: No single transition counts by more; AWAC's authors have such a bound in their code as an option.
_LARGEST_WEIGHT = 20.0
_CLONING_FILE = "optimizer_cloning.safetensors"


class Improver(Protocol):
    """A policy that starts as the clone and learns."""

    agent: SacAgent

    def decide(self, states: np.ndarray, *, explore: bool) -> tuple[np.ndarray, np.ndarray]:
        """What the learner decides, and the actions that are carried out, both ``(n, A)``."""
        ...

    def seen(self, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        """States as the learner sees them."""
        ...

    def decisions_for(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """What the learner would have had to decide for these actions to be carried out.

        NaN in the rows of actions that no decision leads to.
        """
        ...

    def cost(self, decisions: np.ndarray) -> np.ndarray:
        """What each decision ``(T, A)`` costs by itself, ``(T,)``."""
        ...

    def learn(self, *, critic_only: bool) -> None:
        """One iteration's gradient steps."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that learning needs to go on."""
        ...

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        ...


class Residual:
    """A correction of at most ``residual_scale`` is added to what the frozen clone does.

    The learner sees the state and the clone's action. At first its correction is zero on average.
    """

    def __init__(self, config: RefineConfig, base: ClonedPolicy, capacity: int, seed: int):
        self._config, self._base = config, base
        n_state, n_action = len(base.mean), base.out.out_features
        self.agent = _make_sac(config, n_state + n_action, n_action, capacity, seed)
        _begin_with(_actor(self.agent), config.exploration / config.residual_scale)
        with torch.no_grad():
            mu = _actor(self.agent).mu
            mu.weight.zero_()
            mu.bias.zero_()

    def decide(self, states: np.ndarray, *, explore: bool) -> tuple[np.ndarray, np.ndarray]:
        """The correction, and the corrected action."""
        wanted = self.agent.act(self.seen(list(states)), deterministic=not explore)
        action = self._base.act(states) + self._config.residual_scale * wanted
        return wanted, np.clip(action, -1.0, 1.0)

    def seen(self, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Scaled state and the clone's action."""
        stacked = np.stack(states)
        return list(np.concatenate([_scaled(self._base, stacked), self._base.act(stacked)], 1))

    def decisions_for(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The corrections that lead to these actions; NaN where one would have to be too large.

        Cut off instead, a largest correction would pass for what a larger one achieved.
        """
        needed = (actions - self._base.act(states)) / self._config.residual_scale
        too_large = np.abs(needed).max(1, keepdims=True) > 1.0
        return np.where(too_large, np.nan, needed).astype(np.float32)

    def cost(self, decisions: np.ndarray) -> np.ndarray:
        """The mean square of each correction, so that none is made without need."""
        return self._config.correction_cost * np.square(decisions).mean(1)

    def learn(self, *, critic_only: bool) -> None:
        """SAC's own training; the clone is not touched."""
        _learn(self.agent, self._config.updates, critic_only=critic_only)

    def save(self, folder: Path) -> None:
        """The agent; the clone is made anew from the same episodes."""
        self.agent.save(folder)

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        self.agent.load(folder)


class Whole:
    """SAC's actor starts with the clone's weights; cloning steps in between keep it near."""

    def __init__(
        self,
        config: RefineConfig,
        base: ClonedPolicy,
        capacity: int,
        seed: int,
        expert: tuple[np.ndarray, np.ndarray],
    ):
        self._config, self._base = config, base
        n_state, n_action = len(base.mean), base.out.out_features
        self.agent = _make_sac(config, n_state, n_action, capacity, seed)
        actor = _actor(self.agent)
        actor.latent_pi.load_state_dict(base.hidden.state_dict())
        actor.mu.load_state_dict(base.out.state_dict())
        _begin_with(actor, config.exploration)
        states, actions = expert
        self._states = torch.as_tensor(_scaled(base, states))
        wanted = torch.as_tensor(actions, dtype=torch.float32)
        self._actions = wanted.clamp(-LARGEST_ACTION, LARGEST_ACTION)
        parameters = [*actor.latent_pi.parameters(), *actor.mu.parameters()]
        self._cloning = torch.optim.Adam(parameters, lr=config.learning_rate)

    def decide(self, states: np.ndarray, *, explore: bool) -> tuple[np.ndarray, np.ndarray]:
        """The action, twice."""
        action = self.agent.act(self.seen(list(states)), deterministic=not explore)
        return action, action

    def seen(self, states: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Scaled states."""
        return list(_scaled(self._base, np.stack(states)))

    def decisions_for(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The actions themselves."""
        return actions

    def cost(self, decisions: np.ndarray) -> np.ndarray:
        """Nothing."""
        return np.zeros(len(decisions))

    def learn(self, *, critic_only: bool) -> None:
        """SAC's own training, then the cloning steps."""
        _learn(self.agent, self._config.updates, critic_only=critic_only)
        if critic_only:
            return
        actor = _actor(self.agent)
        for _ in range(round(self._config.anchor * self._config.updates)):
            rows = torch.randint(len(self._states), (self._config.batch_size,))
            said = _said(actor, self._states[rows])
            loss = nn.functional.mse_loss(said, self._actions[rows])
            self._cloning.zero_grad()
            loss.backward()
            self._cloning.step()

    def save(self, folder: Path) -> None:
        """The agent, and the optimiser of the cloning steps."""
        self.agent.save(folder)
        save_optimizer(folder / _CLONING_FILE, self._cloning)

    def load(self, folder: Path) -> None:
        """Put back what :meth:`save` wrote."""
        self.agent.load(folder)
        load_optimizer(folder / _CLONING_FILE, self._cloning)


class Weighted(Whole):
    """The clone's weights, by cloning all that was done, the more the better the critic finds it.

    AWAC (Nair et al. 2020, arXiv 2006.09359, equation 13), but with squared error for the
    likelihood, the worth of the mean action for that of the policy, and weights that are shares of
    their batch. The policy stays near what was carried out, so a critic that guesses too high of
    what nobody did cannot lead it there. The noise on actions is not learned.
    """

    def learn(self, *, critic_only: bool) -> None:
        """SAC's own training of the critic, then as many steps of weighted cloning."""
        _learn(self.agent, self._config.updates, critic_only=True)
        if critic_only or self.agent.n_stored == 0:  # every episode so far was dropped
            return
        for _ in range(self._config.updates):
            loss = self._loss(self.agent.sample(self._config.batch_size))
            self._cloning.zero_grad()
            loss.backward()
            self._cloning.step()

    def _loss(self, done: ReplayBufferSamples) -> torch.Tensor:
        said = _said(_actor(self.agent), done.observations)
        with torch.no_grad():
            advantage = self._worth(done, done.actions) - self._worth(done, said)
            exponents = advantage / self._config.advantage_temperature
            # A softmax, since weights that all underflow would be shares of nothing.
            weights = exponents.clamp(max=log(_LARGEST_WEIGHT)).softmax(0)
        wanted = done.actions.clamp(-LARGEST_ACTION, LARGEST_ACTION)
        return (weights * (said - wanted).square().mean(1)).sum()

    def _worth(self, done: ReplayBufferSamples, actions: torch.Tensor) -> torch.Tensor:
        """What the more doubtful critic expects of actions, ``(B,)``."""
        return torch.cat(self.agent.sac.critic(done.observations, actions), 1).min(1).values


def make_improver(
    config: RefineConfig,
    base: ClonedPolicy,
    capacity: int,
    seed: int,
    expert: tuple[np.ndarray, np.ndarray],
) -> Improver:
    """The variant that ``config`` names.

    Args:
        config: Settings.
        base: The clone.
        capacity: Transitions that the buffer must hold.
        seed: Of the networks.
        expert: States and actions that the clone was made of.
    """
    if config.variant == "residual":
        return Residual(config, base, capacity, seed)
    if config.variant == "weighted":
        return Weighted(config, base, capacity, seed, expert)
    return Whole(config, base, capacity, seed, expert)


def _make_sac(
    config: RefineConfig, n_seen: int, n_action: int, capacity: int, seed: int
) -> SacAgent:
    return SacAgent(
        Box(-np.inf, np.inf, (n_seen,), np.float32), Box(-1.0, 1.0, (n_action,), np.float32),
        seed=seed, buffer_size=capacity, learning_rate=config.learning_rate,
        settings={"gamma": config.gamma, "batch_size": config.batch_size, "ent_coef": _ENTROPY},
        critic_layer_norm=config.critic_layer_norm,
    )  # fmt: skip


@torch.no_grad()
def _begin_with(actor: Any, deviation: float) -> None:
    """Let the noise on each decision have this deviation in every state."""
    actor.log_std.weight.zero_()
    actor.log_std.bias.fill_(float(np.log(deviation)))


@torch.no_grad()
def _scaled(base: ClonedPolicy, states: np.ndarray) -> np.ndarray:
    return base.scale(torch.as_tensor(states, dtype=torch.float32)).numpy()


def _learn(agent: SacAgent, n_updates: int, *, critic_only: bool) -> None:
    """SB3's training, of all or of the critic alone."""
    if not critic_only:
        agent.learn(n_updates)
        return
    with _frozen_policy(agent):
        agent.learn(n_updates)


@contextmanager
def _frozen_policy(agent: SacAgent) -> Iterator[None]:
    """SB3 trains actor and entropy weight with the critic; in here neither moves for good.

    The critic's targets follow the actor, so it is held still, not put back afterwards.
    """
    weight, optimizer = agent.sac.log_ent_coef, agent.sac.ent_coef_optimizer
    assert weight is not None
    assert optimizer is not None
    value, state = weight.detach().clone(), deepcopy(optimizer.state_dict())
    actor = _actor(agent).requires_grad_(False)
    try:
        yield
    finally:
        actor.requires_grad_(True)
        with torch.no_grad():
            weight.copy_(value)
        optimizer.load_state_dict(state)


def _said(actor: Any, states: torch.Tensor) -> torch.Tensor:
    """The actor's mean actions."""
    return torch.tanh(actor.mu(actor.latent_pi(states)))


def _actor(agent: SacAgent) -> Any:
    return agent.sac.actor
