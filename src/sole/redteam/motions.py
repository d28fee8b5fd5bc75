"""Motions as a few knots, and the cross-entropy method that searches among them. Pure numpy."""

from __future__ import annotations

import numpy as np

ELITE_SHARE = 0.25
#: Standard deviation that the search keeps in every direction, of actions in [-1, 1].
_LEAST_DEVIATION = 0.1


def spread_knots(knots: np.ndarray, n_steps: int) -> np.ndarray:
    """Interpolate ``(K, A)`` knots linearly to ``(n_steps, A)`` float32 actions.

    Independent noise at every decision cancels itself out and the arm stays where it is; few knots
    make motions that get somewhere.

    Example:
        >>> spread_knots(np.array([[0.0], [1.0]]), 3).ravel().tolist()
        [0.0, 0.5, 1.0]
    """
    at = np.linspace(0.0, len(knots) - 1.0, n_steps)
    columns = [np.interp(at, np.arange(len(knots)), column) for column in knots.T]
    return np.stack(columns, axis=1).astype(np.float32)


class CrossEntropy:
    """The cross-entropy method (Rubinstein 1999) with a diagonal Gaussian inside [-1, 1].

    The first generation is uniform. The elites of all generations are remembered, so that the best
    motion is never lost to a bad draw.

    Args:
        n_numbers: Length of a candidate.
        n_elites: How many candidates the next generation follows.
    """

    def __init__(self, n_numbers: int, n_elites: int):
        self._n_elites = n_elites
        self._elites = np.zeros((0, n_numbers))
        self._values = np.zeros(0)

    def ask(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw ``(count, n_numbers)`` candidates."""
        n_numbers = self._elites.shape[1]
        if not len(self._elites):
            return rng.uniform(-1.0, 1.0, (count, n_numbers))
        deviation = np.maximum(self._elites.std(0), _LEAST_DEVIATION)
        drawn = rng.normal(self._elites.mean(0), deviation, (count, n_numbers))
        return np.clip(drawn, -1.0, 1.0)

    def tell(self, candidates: np.ndarray, values: np.ndarray) -> None:
        """Take the values of candidates, higher is better; ties go to the older one."""
        everyone = np.concatenate([self._elites, candidates])
        known = np.concatenate([self._values, values])
        best = np.argsort(-known, kind="stable")[: self._n_elites]
        self._elites, self._values = everyone[best], known[best]
