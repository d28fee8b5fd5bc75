"""Reward-aligned behaviour cloning: which recorded moments lead somewhere, as sample weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_EPSILON = 1e-6


def rabc_weights(
    episodes: Sequence[np.ndarray], *, chunk_steps: int, kappa: float = 0.01
) -> list[np.ndarray]:
    """Weight every frame by the progress that the next ``chunk_steps`` frames bring.

    With r the gain in progress from a frame to the one a chunk later (the last one near the end),
    mu its mean over all frames, not below 0, and sigma its standard deviation: weight 1 where r >
    kappa; ``clip((r - mu + 2 sigma) / (4 sigma), 0, 1)`` where 0 <= r <= kappa; 0 where progress is
    lost. Frames without a gain that could be computed have NaN: what to do there is the trainer's
    decision. Source: SARM (arXiv 2509.25358, eq. 8 and 9) with the end and mean as LeRobot's
    ``RABCWeights`` takes them, which divides each batch by the sum of its weights in addition.

    Args:
        episodes: Progress of each episode as a share of the task, ``(T,)``; NaN where unknown.
        chunk_steps: Frames that a policy predicts at once, at least 1.
        kappa: Gain that is certainly good, as a share.

    Raises:
        ValueError: If ``chunk_steps`` is below 1.

    Example:
        >>> [w.round(2).tolist() for w in rabc_weights([np.array([0.0, 0.5, 0.2])], chunk_steps=1)]
        [[1.0, 0.0, 0.45]]
    """
    if chunk_steps < 1:
        raise ValueError(f"chunk_steps: expected at least 1, got {chunk_steps}")
    gains = [_gains(np.asarray(one, np.float64), chunk_steps) for one in episodes]
    known = np.concatenate([g[~np.isnan(g)] for g in gains]) if gains else np.zeros(0)
    mean = max(float(known.mean()), 0.0) if known.size else 0.0
    spread = max(float(known.std()), _EPSILON) if known.size else _EPSILON
    return [_weights(g, mean, spread, kappa) for g in gains]


def _gains(progress: np.ndarray, chunk_steps: int) -> np.ndarray:
    later = np.minimum(np.arange(len(progress)) + chunk_steps, len(progress) - 1)
    return progress[later] - progress


def _weights(gains: np.ndarray, mean: float, spread: float, kappa: float) -> np.ndarray:
    soft = np.clip((gains - (mean - 2 * spread)) / (4 * spread + _EPSILON), 0.0, 1.0)
    weights = np.where(gains > kappa, 1.0, np.where(gains >= 0.0, soft, 0.0))
    return np.where(np.isnan(gains), np.nan, weights)
