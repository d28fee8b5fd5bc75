"""Which way a judged curve goes, against which way the truth goes: pure functions of two curves.

Only the direction counts here, neither the level nor the size of a step: what a reward of
differences pays for. Sources: VLAC (arXiv 2509.15937), Large Reward Models, RoboPulse++.
"""

from __future__ import annotations

import math

import numpy as np

from sole.evals.metrics import Values, as_numbers, trend_f1

#: Frames between the two of a pair: an eighth of an episode of 26, the look-back that Large Reward
#: Models are asked with.
LOOK_BACK_FRAMES = 3
#: A truth that moves by less than this many points between the two of a pair has no direction.
LEAST_MOVE = 2.0


def negative_rate(judged: Values) -> float:
    """Share of steps at which the judged value falls, by however little (VLAC). NaN of one frame.

    On successful experts it should be near 0, but for the moments at which the truth falls as well.
    Nobody who never falls looks worse than the truth here: a ramp and a constant have 0.

    Example:
        >>> negative_rate([0, 20, 15, 15, 40])
        0.25
    """
    steps = np.diff(as_numbers(judged))
    return float(np.mean(steps < 0)) if len(steps) else math.nan


def direction_accuracy(
    judged: Values, true: Values, apart: int = LOOK_BACK_FRAMES, least: float = LEAST_MOVE
) -> float:
    """Share of pairs of frames between which the judged value moves the way that the truth does.

    Only pairs count whose truth moves by more than ``least`` points. A judged value that stands
    still is wrong, as an uncertain answer is to the authors (LRM's contrastive direction accuracy).

    Args:
        judged: ``(T,)`` percent.
        true: ``(T,)`` percent.
        apart: Frames from the first of a pair to the second.
        least: Points that the truth moves at least.

    Returns:
        In [0, 1]; NaN where the truth moves between no pair.

    Example:
        >>> direction_accuracy([0, 10, 20, 30], [0, 30, 30, 10], apart=1)
        0.5
    """
    said, real = as_numbers(judged), as_numbers(true)
    moved = real[apart:] - real[:-apart]
    counted = np.abs(moved) > least
    right = np.sign(said[apart:] - said[:-apart]) == np.sign(moved)
    return float(right[counted].mean()) if counted.any() else math.nan


def macro_f1(judged: Values, true: Values, least: float = 5.0) -> float:
    """Mean F1 of rising, falling and flat steps; more than ``least`` points is a rise or a fall.

    A direction that neither happens nor is said is left out of the mean, as a clean expert has no
    fall. RoboPulse++ takes the mean over rising and falling only; without flat steps, who calls
    everything a rise would lose nothing by it.

    Example:
        >>> round(macro_f1([0, 40, 40, 20, 20], [0, 40, 80, 60, 60]), 4)  # misses one of two rises
        0.7778
    """
    kinds = (trend_f1(judged, true, trend, least) for trend in (1, -1, 0))
    known = [f1 for f1 in kinds if not math.isnan(f1)]
    return float(np.mean(known)) if known else math.nan
