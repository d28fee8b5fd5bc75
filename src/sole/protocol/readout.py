"""Progress as a distribution over the integers -100..100: how it is taught and how it is read."""

from __future__ import annotations

import math

import numpy as np

PROGRESS_VALUES = np.arange(-100, 101)
"""What each of the 201 places of a distribution means, in percent."""
PROGRESS_VALUES.setflags(write=False)


def read_expectation(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The progress a model expects and how unsure it is, from one forward pass.

    Args:
        logits: ``(..., 201)`` unnormalised log-probabilities of the integers -100..100; ``-inf``
            rules a value out.

    Returns:
        Mean and standard deviation in percent, float64, each ``(...)``.

    Raises:
        ValueError: If the last axis is not 201, or a row has NaN, ``+inf`` or no finite value.

    Example:
        >>> mean, spread = read_expectation(np.where(PROGRESS_VALUES == 40, 0.0, -np.inf))
        >>> float(mean), float(spread)
        (40.0, 0.0)
    """
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim == 0 or scores.shape[-1] != len(PROGRESS_VALUES):
        raise ValueError(f"logits: expected (..., 201), got {scores.shape}")
    highest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    if not np.all(np.isfinite(highest)):
        raise ValueError("logits: expected no NaN, no +inf and one finite value in every row")
    weights = np.exp(scores - highest)
    weights /= weights.sum(axis=-1, keepdims=True)
    mean = weights @ PROGRESS_VALUES
    variance = np.sum(weights * (PROGRESS_VALUES - mean[..., None]) ** 2, axis=-1)
    return mean, np.sqrt(variance)


def soft_label(progress: float, sigma: float) -> np.ndarray:
    """Teach neighbouring integers too: a Gaussian around the true value, over -100..100.

    Each integer gets the Gaussian's mass in the unit interval around it; the two ends get all that
    lies beyond them, so that 100 stays the most likely value of a finished task.

    Args:
        progress: Percent in [-100, 100].
        sigma: Standard deviation in percent points; 0 puts everything on the nearest integer.

    Returns:
        float64 ``(201,)``, non-negative, sums to 1.

    Raises:
        ValueError: If ``progress`` is outside its range or ``sigma`` is negative.

    Example:
        >>> label = soft_label(40, 2.5)
        >>> int(PROGRESS_VALUES[label.argmax()]), round(float(label @ PROGRESS_VALUES), 6)
        (40, 40.0)
    """
    if not -100 <= progress <= 100 or not 0 <= sigma < math.inf:
        raise ValueError(f"label: expected |progress| <= 100 and sigma >= 0: {progress}, {sigma}")
    if sigma == 0:
        return np.equal(PROGRESS_VALUES, round(progress)).astype(np.float64)
    with np.errstate(over="ignore"):  # A tiny sigma: infinity is the right edge.
        edges = (PROGRESS_VALUES[:-1] + 0.5 - progress) / (sigma * math.sqrt(2.0))
    below = 0.5 + 0.5 * np.array([math.erf(edge) for edge in edges])
    return np.diff(below, prepend=0.0, append=1.0)
