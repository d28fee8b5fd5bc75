"""A picture with a bright square that the action moves: the cheapest task that can be filmed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

SIDE_PX, SQUARE_PX = 32, 8
N_STEPS = 8


class Square(gym.Env):
    """Ends after a few steps; nothing true is known of it."""

    observation_space = gym.spaces.Dict(
        {
            "picture": gym.spaces.Box(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8),
            "at": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
        }
    )
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Put the square somewhere."""
        super().reset(seed=seed)
        self._at = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        self._n_steps = 0
        return self._seen(), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move it."""
        self._at = np.clip(self._at + 0.2 * action, -1.0, 1.0).astype(np.float32)
        self._n_steps += 1
        return self._seen(), 0.0, False, self._n_steps >= N_STEPS, {}

    def _seen(self) -> dict[str, np.ndarray]:
        picture = np.full((SIDE_PX, SIDE_PX, 3), 40, np.uint8)
        y, x = ((self._at + 1) / 2 * (SIDE_PX - SQUARE_PX)).astype(int)
        picture[y : y + SQUARE_PX, x : x + SQUARE_PX] = (220, 60, 40)
        return {"picture": picture, "at": self._at}


def make_square() -> Square:
    """For ``sole rl --env sole.evals.square:make_square``."""
    return Square()
