"""Judged progress less its uncertainty: an agent is not paid for what its judge is unsure of."""

from __future__ import annotations

import numpy as np

from sole.data.episode import EpisodeScore
from sole.errors import ModelError
from sole.progress.reward import hold_last_valid


def uncertainties(scores: EpisodeScore) -> np.ndarray:
    """Percent points at each frame, ``(T,)``; a failed frame keeps that of the last valid one.

    Raises:
        ModelError: If a frame that was judged has none.
    """
    said = [np.nan if s.uncertainty is None else s.uncertainty for s in scores.steps]
    if any(np.isnan(u) and s.error is None for u, s in zip(said, scores.steps, strict=True)):
        raise ModelError(
            f"{scores.model_id} gives no uncertainty, which caution and gate need; "
            "take --copies 2 or more, or a --jury"
        )
    return hold_last_valid(np.asarray(said))


def lower_bound(progress: np.ndarray, uncertainty: np.ndarray, caution: float) -> np.ndarray:
    """``progress - caution * uncertainty``, not below -100.

    Args:
        progress: ``(T,)`` percent.
        uncertainty: ``(T,)`` percent points, at least 0.
        caution: At least 0.

    Raises:
        ValueError: If the lengths differ, or something is negative that must not be.

    Example:
        >>> lower_bound(np.array([0.0, 50.0]), np.array([0.0, 10.0]), 2.0).tolist()
        [0.0, 30.0]
    """
    if progress.shape != uncertainty.shape or not np.all(uncertainty >= 0) or not caution >= 0:
        raise ValueError(
            f"caution: expected equal lengths and nothing negative, got {progress.shape}, "
            f"{uncertainty.shape} and {caution}"
        )
    return np.maximum(progress - caution * uncertainty, -100.0)


def gate(progress: np.ndarray, uncertainty: np.ndarray, gate_points: float) -> np.ndarray:
    """Let every frame whose uncertainty is above the gate keep the last certain progress (or 0).

    Args:
        progress: ``(T,)`` percent.
        uncertainty: ``(T,)`` percent points.
        gate_points: What still counts as certain.

    Example:
        >>> gate(np.array([0.0, 20.0, 90.0, 30.0]), np.array([0.0, 2.0, 40.0, 3.0]), 15.0).tolist()
        [0.0, 20.0, 20.0, 30.0]
    """
    return hold_last_valid(np.where(uncertainty > gate_points, np.nan, progress))
