"""A task with a known answer: a point in the unit square goes to a goal; pictures are 16 px."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box

from sole.data.episode import Facts, make_facts
from sole.sims.base import TaskEnv


class PointEnv(TaskEnv):
    """State (x, y, goal x, goal y); the action moves the point; near the goal is success."""

    suite = "fake"
    env_name = "point"
    task = "move the point to the goal"
    control_hz = 10.0

    def __init__(self, max_steps: int = 10):
        self.max_steps = max_steps
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (4,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.point = np.array([0.1, 0.1])
        self.goal = self.np_random.uniform(0.6, 0.9, 2)
        self.start = self._distance()
        self.n_steps = 0
        return self._observation(), {}

    def step(self, action):
        self.point = np.clip(self.point + 0.15 * np.asarray(action, float), 0, 1)
        self.n_steps += 1
        return self._observation(), 0.0, False, self.n_steps >= self.max_steps, {}

    def views(self):
        picture = np.zeros((16, 16, 3), np.uint8)
        for (x, y), channel in ((self.goal, 1), (self.point, 0)):
            picture[int(y * 15), int(x * 15), channel] = 255
        return {"external": picture, "wrist": picture[::-1].copy()}

    def proprio(self):
        return self.point.astype(np.float32)

    def truth(self) -> tuple[float, bool, Facts]:
        done = self._distance() < 0.12
        progress = (
            100.0 if done else float(np.clip(95 * (1 - self._distance() / self.start), -100, 95))
        )
        return progress, done, make_facts(complete=done)

    def expert_action(self):
        return np.clip((self.goal - self.point) * 6, -1, 1).astype(np.float32)

    def _distance(self) -> float:
        return float(np.linalg.norm(self.point - self.goal))

    def _observation(self):
        return np.concatenate([self.point, self.goal]).astype(np.float32)


class Poison(float):
    """A reward that raises on any use."""

    def _raise(self, *_: Any, **__: Any):
        raise AssertionError("the agent's side touched the simulator's reward")

    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __neg__ = __float__ = _raise
    __bool__ = __lt__ = __gt__ = __le__ = __ge__ = __eq__ = __array__ = __int__ = _raise
    __hash__ = None  # type: ignore[assignment]


class PoisonInfo(dict):
    """An info whose any use raises."""

    def _raise(self, *_: Any, **__: Any):
        raise AssertionError("the agent's side touched the simulator's info")

    __getitem__ = get = keys = values = items = __iter__ = __contains__ = __len__ = __bool__ = (
        _raise
    )


class PaidEnv(PointEnv):
    """Also has a dense reward of its own, the share of the way that is left behind, squared."""

    def own_reward(self) -> float:
        if not getattr(self, "n_steps", 0):
            return 0.0
        return max(1.0 - self._distance() / self.start, 0.0) ** 2


class LeakyEnv(PointEnv):
    """Offers its reward and success flag to whoever looks, and raises when somebody does."""

    def own_reward(self) -> float:
        raise AssertionError("the agent's side touched the simulator's reward")

    def step(self, action):
        observation, _, ended, truncated, _ = super().step(action)
        return observation, Poison(1.0), ended, truncated, PoisonInfo(success=True)
