"""Does a judge prefer the better attempts? What an agent that maximises it would be led to.

The rank correlation inside an episode asks whether a curve rises where it should. An agent asks
something else: of all that it tried, what was best? It gathers where the judge is too generous, so
that this is harder than to order experts and random failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sole.evals.metrics import Values, spearman

#: Share of the attempts of a task that count as preferred.
PREFERRED = 0.2


@dataclass(frozen=True)
class Selection:
    """How a judge orders the attempts at one task.

    Attributes:
        n: Attempts.
        return_spearman: Rank correlation of judged and true return; 0 for a judge that tells none
            apart, NaN where there is nothing to tell apart.
        final_spearman: The same of the last moment.
        preferred: Mean true return of the fifth that it judges best, percent.
        all: Mean true return of all attempts.
        best: Mean true return of the truly best fifth.
    """

    n: int
    return_spearman: float
    final_spearman: float
    preferred: float
    all: float
    best: float

    @property
    def gain(self) -> float:
        """:func:`selection_gain` of it."""
        return selection_gain(self.preferred, self.all, self.best)


def selection_gain(preferred: float, everything: float, best: float) -> float:
    """Of what choosing well could gain, the share that the judge's choice gains.

    1: chooses like the truth; 0: like chance; below 0: prefers what is worse. NaN where there is
    nothing to gain.

    Example:
        >>> selection_gain(40.0, 20.0, 60.0), selection_gain(10.0, 20.0, 60.0)
        (0.5, -0.25)
    """
    return (preferred - everything) / (best - everything) if best > everything else float("nan")


def attempt_return(progress: Values) -> float:
    """Mean progress over what follows the first moment: what an agent is paid for, undiscounted.

    Args:
        progress: ``(T,)`` percent at every moment of the attempt, T >= 2.

    Example:
        >>> attempt_return([0.0, 10.0, 50.0])
        30.0
    """
    return float(np.mean(np.asarray(progress, float)[1:]))


def select(judged: Sequence[Values] | np.ndarray, true: Sequence[Values] | np.ndarray) -> Selection:
    """Compare judged and true progress of all attempts at one task.

    Args:
        judged: One curve of ``(T,)`` percent for each attempt, over all of its moments.
        true: The same of the truth.

    Raises:
        ValueError: If there are no attempts, or not as many of both.
    """
    if not len(judged) or len(judged) != len(true):
        raise ValueError(f"selection: expected curves in pairs, got {len(judged)} and {len(true)}")
    said = np.array([attempt_return(curve) for curve in judged])
    earned = np.array([attempt_return(curve) for curve in true])
    ends = [np.array([float(curve[-1]) for curve in curves]) for curves in (judged, true)]
    count = max(round(PREFERRED * len(said)), 1)
    return Selection(
        n=len(said),
        return_spearman=_order(said, earned),
        final_spearman=_order(*ends),
        preferred=_mean_of_highest(earned, said, count),
        all=float(earned.mean()),
        best=_mean_of_highest(earned, earned, count),
    )


def _order(said: np.ndarray, true: np.ndarray) -> float:
    return spearman(said, true) if np.ptp(true) > 0 else float("nan")


def _mean_of_highest(values: np.ndarray, by: np.ndarray, count: int) -> float:
    """Mean of the values at the ``count`` highest of ``by``; those level at the edge by halves.

    Without that a judge who says the same of everything would be given the order of the attempts.
    """
    edge = np.sort(by)[-count]
    above, level = by > edge, by == edge
    share = (count - above.sum()) / level.sum()
    return float((values[above].sum() + share * values[level].sum()) / count)
