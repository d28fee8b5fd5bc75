"""Interquartile means and stratified bootstrap intervals over runs.

The definitions are those of Agarwal et al. 2021 (arXiv 2108.13264) and their library rliable; the
code is our own. A score is one run's true success; tasks are strata, runs of a task are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]


def interquartile_mean(scores: np.ndarray | Sequence[float]) -> np.ndarray:
    """Mean of the middle half: a quarter of the scores, rounded down, is cut off at either end.

    Args:
        scores: ``(..., n)``; n >= 1.

    Returns:
        ``(...)`` float64.

    Raises:
        ValueError: If there are no scores.

    Example:
        >>> float(interquartile_mean([0.0, 1.0, 2.0, 9.0])), float(interquartile_mean([0.0, 3.0]))
        (1.5, 1.5)
    """
    ordered = np.sort(np.asarray(scores, float), axis=-1)
    n = ordered.shape[-1]
    if n == 0:
        raise ValueError("interquartile mean: expected at least one score, got none")
    cut = n // 4
    return ordered[..., cut : n - cut].mean(-1)


def mean_score(scores: np.ndarray | Sequence[float]) -> np.ndarray:
    """Mean over the last axis; the other statistic that is reported."""
    return np.asarray(scores, float).mean(-1)


def stratified_interval(
    scores_by_task: Sequence[Sequence[float]],
    statistic: Statistic = interquartile_mean,
    *,
    n_draws: int = 5000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of all runs, drawing runs within each task.

    Each draw takes, for every task, as many of its runs as it has, with replacement; the statistic
    is computed over all of them together. So the interval speaks of other seeds on the same tasks.

    Args:
        scores_by_task: One score per run, by task; tasks may differ in their number of runs.
        statistic: Of the last axis.
        n_draws: Draws.
        seed: Of the draws.
        level: Share of the draws inside the interval.

    Returns:
        Low and high; NaN where no task has two runs, since nothing can be drawn then.

    Raises:
        ValueError: If a task has no runs.

    Example:
        >>> stratified_interval([[0.5, 0.5], [0.5, 0.5]])
        (0.5, 0.5)
    """
    if not scores_by_task or any(len(scores) == 0 for scores in scores_by_task):
        raise ValueError("interval: expected at least one run of every task")
    if max(len(scores) for scores in scores_by_task) < 2:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    drawn = [
        np.asarray(scores, float)[generator.integers(len(scores), size=(n_draws, len(scores)))]
        for scores in scores_by_task
    ]
    values = statistic(np.concatenate(drawn, axis=1))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
