"""A simulated robot that runs on the wall clock and answers late, to try a real-time loop on."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from sole.rl.realtime import Clock, Views
from sole.sims.base import TaskEnv

#: Moments that differ by less are the same.
_ROUNDING_S = 1e-9


class SimulatedRobot:
    """A simulated task that goes on by itself, with delays as cables and cameras have them.

    Its world takes one decision of the task for every period that has passed on the clock, with the
    newest action that has arrived; when none arrives it holds still (zeros). It neither reads nor
    passes on the task's reward, end or truth.

    Args:
        env: The task.
        action_delay_s: An action takes effect this much later.
        picture_delay_s: State and pictures are this old.
        clock: For tests.
    """

    def __init__(
        self,
        env: TaskEnv,
        action_delay_s: float = 0.0,
        picture_delay_s: float = 0.0,
        clock: Clock = time,
    ):
        self.env, self._clock = env, clock
        self._action_delay_s, self._picture_delay_s = action_delay_s, picture_delay_s
        self._period_s = 1 / env.control_hz
        self.n_stops = 0

    def reset(self, seed: int = 0) -> None:
        """Put everything back and start the clock."""
        state, _ = self.env.reset(seed=seed)
        self._began = self._clock.monotonic()
        self._n_steps, self.stopped = 0, False
        self._action = np.zeros(self.env.action_space.shape or (), np.float32)
        self._coming: deque[tuple[float, np.ndarray]] = deque()
        self._past: deque[tuple[float, np.ndarray, Views]] = deque()
        self._remember(self._began, state)

    def observe(self) -> tuple[np.ndarray, Views]:
        """The newest state and pictures that are at least as old as their delay."""
        self._catch_up()
        wanted = self._clock.monotonic() - self._picture_delay_s + _ROUNDING_S
        while len(self._past) > 1 and self._past[1][0] <= wanted:
            self._past.popleft()
        return self._past[0][1], self._past[0][2]

    def act(self, action: np.ndarray) -> None:
        """Send an action on its way."""
        self.stopped = False
        self._coming.append((self._clock.monotonic() + self._action_delay_s, np.array(action)))

    def stop(self) -> None:
        """Hold still at once, and forget what is on its way: a stop has a wire of its own."""
        self._catch_up()
        self._coming.clear()
        self._action = np.zeros_like(self._action)
        self.stopped = True
        self.n_stops += 1

    def _catch_up(self) -> None:
        """Let the world go on to the present moment."""
        while (
            self._began + (self._n_steps + 1) * self._period_s
            <= self._clock.monotonic() + _ROUNDING_S
        ):
            now = self._began + self._n_steps * self._period_s
            while self._coming and self._coming[0][0] <= now + _ROUNDING_S:
                self._action = self._coming.popleft()[1]
            state = self.env.step(self._action)[0]
            self._n_steps += 1
            self._remember(now + self._period_s, state)

    def _remember(self, moment: float, state: np.ndarray) -> None:
        self._past.append((moment, np.asarray(state, np.float32), self.env.views()))
