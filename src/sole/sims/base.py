"""What a simulated task must offer, whatever suite it comes from.

The agent's side of an environment is ``reset``, ``step``, ``views``, ``proprio`` and ``state``. The
truth lives behind :meth:`TaskEnv.truth`, which only evaluators and data builders call, and what the
simulator itself pays behind :meth:`TaskEnv.own_reward`, which only ``--reward env`` reads: the
reward that ``step`` returns is always 0.0, and its ``info`` is empty.
"""

from __future__ import annotations

import abc
from typing import Any

import gymnasium
import numpy as np

from sole.data.episode import Facts
from sole.errors import SimError


class TaskEnv(gymnasium.Env[np.ndarray, np.ndarray], abc.ABC):
    """A Gymnasium environment with named camera views and a truth that the agent never sees.

    Attributes:
        suite: Name of the suite, for example ``metaworld``.
        env_name: Name of the task inside the suite, for example ``drawer-open``.
        task: The instruction, one English sentence; ``reset(options={"task": ...})`` may replace it
            by a paraphrase.
        control_hz: Decisions per second (the simulator may run many steps per decision).
        max_steps: Decisions until ``truncated``.
    """

    suite: str
    env_name: str
    task: str
    control_hz: float
    max_steps: int

    @abc.abstractmethod
    def views(self) -> dict[str, np.ndarray]:
        """Render the present moment: uint8 RGB ``(H, W, 3)`` for ``external`` and ``wrist``."""

    @abc.abstractmethod
    def proprio(self) -> np.ndarray:
        """What the robot feels of itself, float32 ``(P,)``: gripper position and opening."""

    @abc.abstractmethod
    def truth(self) -> tuple[float, bool, Facts]:
        """The simulator's own verdict on the present moment.

        Returns:
            True progress in percent [-100, 100], true success, and the facts.
        """

    def own_reward(self) -> float | None:
        """What the simulator itself paid for the last decision (privileged), by its dense reward.

        Returns:
            The mean over the simulator's steps of that decision, 0.0 before the first one. In
            [0, 1] where the suite defines a range. None where there is no dense reward of its own.
        """
        return None

    @abc.abstractmethod
    def expert_action(self) -> np.ndarray:
        """What a scripted expert would do now, in the action space (privileged)."""


def clipped(action: np.ndarray) -> np.ndarray:
    """An action as every suite takes it: float64 ``(4,)`` in [-1, 1].

    Raises:
        SimError: If it is of another shape, or holds NaN. MuJoCo answers that by putting the scene
            back to where nothing has been drawn yet, in which some tasks count as done.
    """
    action = np.asarray(action, np.float64)
    if action.shape != (4,) or np.isnan(action).any():
        raise SimError(f"expected an action (dx, dy, dz, gripper) of numbers, got {action}")
    return np.clip(action, -1.0, 1.0)


def check_task_env(env: TaskEnv, n_steps: int = 5) -> None:
    """Raise AssertionError with a sentence if ``env`` breaks the contract of :class:`TaskEnv`."""
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation), "reset: observation outside its space"
    assert not info, f"reset: info must be empty (nothing may leak to the agent), got {info}"
    _check_moment(env)
    progress, success, _ = env.truth()
    assert abs(progress) < 1.0, f"{env.env_name}: progress at the start must be 0, got {progress}"
    assert not success, f"{env.env_name}: must not start in success"
    for _ in range(n_steps):
        step: tuple[Any, ...] = env.step(env.action_space.sample())
        assert env.observation_space.contains(step[0]), "step: observation outside its space"
        assert step[1] == 0.0, "step: the reward must be 0.0: a reward model gives it"
        assert not step[4], f"step: info must be empty, got {step[4]}"
        _check_moment(env)


def _check_moment(env: TaskEnv) -> None:
    for name, picture in env.views().items():
        assert picture.dtype == np.uint8, f"view {name}: expected uint8, got {picture.dtype}"
        assert picture.ndim == 3 and picture.shape[-1] == 3, f"view {name}: got {picture.shape}"
    progress, success, facts = env.truth()
    assert -100.0 <= progress <= 100.0, f"progress {progress} outside [-100, 100]"
    assert (progress == 100.0) == success, f"progress {progress} with success {success}"
    assert set(facts) == set(Facts.__annotations__), f"facts: got {sorted(facts)}"
    assert env.proprio().dtype == np.float32, "proprio must be float32"
    paid = env.own_reward()
    assert paid is None or np.isfinite(paid), f"own reward: expected a finite number, got {paid}"
