"""Behaviour cloning: a policy from a limited number of expert episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sole.checkpoint import save_tensors
from sole.rl.closed_loop import Decide
from sole.sims.base import TaskEnv

_WIDTH = 256
#: Nothing is scaled by less: what hardly moved in the expert's episodes has yet to be seen moving.
_LEAST_DEVIATION = 0.05
_CLIP_SIGMAS = 5.0
_LEARNING_RATE, _BATCH = 1e-3, 128
#: Cloned actions stay inside the bounds, where tanh still has a slope.
LARGEST_ACTION = 0.97


class ClonedPolicy(nn.Module):
    """States to actions: two hidden layers and tanh, as in SAC's actor.

    Args:
        n_state: Numbers of a state.
        n_action: Numbers of an action.
        seed: Of the first weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_state: int, n_action: int, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.hidden = nn.Sequential(
            nn.Linear(n_state, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, _WIDTH), nn.ReLU()
        )
        self.out = nn.Linear(_WIDTH, n_action)
        self.register_buffer("mean", torch.zeros(n_state))
        self.register_buffer("deviation", torch.ones(n_state))

    def forward(self, states: Tensor) -> Tensor:
        """Actions in [-1, 1], ``(B, A)``."""
        return torch.tanh(self.out(self.hidden(self.scale(states))))

    def scale(self, states: Tensor) -> Tensor:
        """States in deviations of the expert's episodes, cut off at five: what a network sees.

        A part that the expert always held upright turns when it is dropped, by many deviations.
        """
        return ((states - self.mean) / self.deviation).clamp(-_CLIP_SIGMAS, _CLIP_SIGMAS)

    @torch.no_grad()
    def act(self, states: np.ndarray) -> np.ndarray:
        """The same for arrays."""
        return self(torch.as_tensor(states, dtype=torch.float32)).numpy()

    def save(self, path: Path) -> None:
        """Write the weights."""
        save_tensors(path, dict(self.state_dict()))

    def load(self, path: Path) -> None:
        """Put back what :meth:`save` wrote."""
        self.load_state_dict(load_file(path))


def clone(
    states: np.ndarray, actions: np.ndarray, n_updates: int, seed: int = 0
) -> tuple[ClonedPolicy, float]:
    """Fit a policy to pairs of state and action; also return the last mean squared error.

    Args:
        states: ``(N, D)``.
        actions: ``(N, A)`` in [-1, 1].
        n_updates: Gradient steps.
        seed: Of weights and batches.
    """
    policy = ClonedPolicy(states.shape[1], actions.shape[1], seed)
    policy.mean.copy_(torch.as_tensor(states.mean(0)))
    policy.deviation.copy_(torch.as_tensor(np.maximum(states.std(0), _LEAST_DEVIATION)))
    optimizer = torch.optim.Adam(policy.parameters(), lr=_LEARNING_RATE)
    rng = np.random.default_rng(seed)
    inputs = torch.as_tensor(states, dtype=torch.float32)
    wanted = torch.as_tensor(actions, dtype=torch.float32).clamp(-LARGEST_ACTION, LARGEST_ACTION)
    loss = torch.zeros(())
    for _ in range(n_updates):
        rows = torch.as_tensor(rng.integers(0, len(states), _BATCH))
        loss = nn.functional.mse_loss(policy(inputs[rows]), wanted[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return policy, loss.item()


def expert(envs: Sequence[TaskEnv], noise: float, seed: int) -> Decide:
    """The scripted expert of each env as a policy; it looks at the simulator, not at the state.

    Args:
        envs: All of them, in the order in which they are played.
        noise: Deviation of what is carried out from what the expert means to do.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)

    def decide(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(states) != len(envs):
            raise ValueError(f"expert: expected {len(envs)} running episodes, got {len(states)}")
        meant = np.clip(np.stack([env.expert_action() for env in envs]), -1.0, 1.0)
        return meant, np.clip(meant + noise * rng.normal(size=meant.shape), -1.0, 1.0)

    return decide
