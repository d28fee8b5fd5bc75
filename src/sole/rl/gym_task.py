"""Any Gymnasium environment as a task of ``sole rl``: its own reward never reaches the agent."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from sole.data.episode import Facts
from sole.errors import ConfigError, SimError
from sole.rl.views import take_views
from sole.sims.base import TaskEnv

_DEFAULT_HZ = 10.0


class GymTask(TaskEnv):
    """A Gymnasium environment with pictures, a sentence, and nothing else to learn from.

    Reward and info are thrown away where they come in. An episode always has ``max_steps``
    decisions: when the environment ends one earlier, it is not stepped any more and its last moment
    is repeated, so that the end itself tells nothing.

    Its state is every Box of the observation with at most one dimension, one after the other, those
    of dicts inside it too.
    Actions are in [-1, 1] and stretched to the environment's bounds.

    Args:
        env: Any environment with a bounded Box of actions.
        task: The instruction, one English sentence.
        views: Source of each picture, see :mod:`sole.rl.views`.
        max_steps: Decisions of an episode; None takes the environment's own time limit.
        name: How it is called in reports.

    Raises:
        ConfigError: If actions, observations or the time limit are not of this kind.
    """

    suite = "custom"
    #: No simulator's truth: reports show what was judged only.
    has_truth = False

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        task: str,
        views: Mapping[str, str],
        max_steps: int | None = None,
        name: str = "env",
    ):
        limit = max_steps or (env.spec.max_episode_steps if env.spec else None)
        if limit is None:
            raise ConfigError(f"{name}: has no time limit; give --max-steps")
        self.env_name, self.task, self.max_steps = name, task, limit
        self._env, self._task, self._sources = env, task, dict(views)
        self.control_hz = float(env.metadata.get("render_fps") or _DEFAULT_HZ)
        self._low, self._high = _bounds(env.action_space, name)
        self.action_space = Box(-1.0, 1.0, self._low.shape, np.float32)
        self._state = _vectors(env.observation_space)
        size = sum(int(np.prod(box.shape)) for box in self._state.values())
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)
        self._ended = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; ``options={"task": ...}`` replaces the sentence."""
        options = dict(options or {})
        self.task = options.pop("task", self._task)
        self._seen = self._env.reset(seed=seed, options=options or None)[0]
        self._ended, self._pictures = False, None
        return self.proprio(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act once, unless the environment has ended the episode."""
        if not self._ended:
            stretched = self._low + (np.asarray(action) + 1) / 2 * (self._high - self._low)
            self._seen, _, terminated, truncated, _ = self._env.step(
                stretched.astype(self._env.action_space.dtype)
            )
            self._ended, self._pictures = terminated or truncated, None
        return self.proprio(), 0.0, False, False, {}

    def views(self) -> dict[str, np.ndarray]:
        """The pictures of the present moment, taken once."""
        if self._pictures is None:
            self._pictures = take_views(self._env, self._seen, self._sources)
        return self._pictures

    def proprio(self) -> np.ndarray:
        """The state: every Box of the observation that is a number or a vector."""
        kept = [np.ravel(reduce(getitem, path, self._seen)) for path in self._state]
        return np.concatenate([*kept, np.zeros(0)]).astype(np.float32)

    def truth(self) -> tuple[float, bool, Facts]:
        """Refuse: nothing true is known of such an environment.

        Raises:
            SimError: Always.
        """
        raise SimError(f"{self.env_name}: has no truth; only what is judged can be reported")

    def expert_action(self) -> np.ndarray:
        """Refuse: there is no expert.

        Raises:
            SimError: Always.
        """
        raise SimError(f"{self.env_name}: has no scripted expert")

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def _bounds(space: gymnasium.Space[Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(space, Box) or not space.is_bounded() or len(space.shape) != 1:
        raise ConfigError(f"{name}: expected a bounded Box (A,) of actions, got {space}")
    return space.low.astype(np.float64), space.high.astype(np.float64)


def _vectors(space: gymnasium.Space[Any], at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Box]:
    """The Boxes of at most one dimension by the keys that lead there; none where it is one."""
    if isinstance(space, Dict):
        parts = [_vectors(part, (*at, key)) for key, part in space.spaces.items()]
        return {path: box for part in parts for path, box in part.items()}
    return {at: space} if isinstance(space, Box) and len(space.shape) <= 1 else {}
