"""Which policy a run keeps, and when it stops, by what was judged: a robot knows nothing else.

Longer training can make a policy worse while its judge is ever more pleased (docs/log.md): stopping
when the judged outcome stands still gives up what would only have come from the judge's mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Judged progress must rise by this many points to count as better at equal judged success.
_LEAST_POINTS = 1.0


@dataclass(frozen=True, order=True)
class JudgedEvaluation:
    """What one evaluation was judged to be; the greater one is the better one.

    Attributes:
        success: Share of its episodes that were judged successful.
        progress: Mean judged progress at their end, percent.
        episode: Training episodes before it; of two equal ones the later one wins.
    """

    success: float
    progress: float
    episode: int

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> JudgedEvaluation:
        """Read an evaluation's line of metrics; nothing true in it is looked at."""
        progress = line["judged_progress_final"]
        worst = -100.0 if progress is None else progress
        return cls(line["judged_success"], worst, line["episode"])

    def clearly_better(self, other: JudgedEvaluation) -> bool:
        """More judged successes, or as many and at least a point more progress."""
        if self.success != other.success:
            return self.success > other.success
        return self.progress >= other.progress + _LEAST_POINTS


def best_judged(evaluations: Sequence[JudgedEvaluation]) -> JudgedEvaluation:
    """The best one.

    Example:
        >>> best_judged([JudgedEvaluation(0.5, 40, 96), JudgedEvaluation(0.5, 30, 192)]).episode
        96
    """
    return max(evaluations)


def has_plateaued(evaluations: Sequence[JudgedEvaluation], patience: int) -> bool:
    """Whether none of the last ``patience`` evaluations was clearly better than all before them.

    Example:
        >>> rising = [JudgedEvaluation(0.1 * k, 0.0, 96 * k) for k in range(4)]
        >>> has_plateaued(rising, 1), has_plateaued([*rising, rising[0]], 1)
        (False, True)
    """
    before, last = evaluations[:-patience], evaluations[-patience:]
    if not before:
        return False
    best = best_judged(before)
    return not any(one.clearly_better(best) for one in last)
