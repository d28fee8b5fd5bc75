"""Rows of runs become rows of reward models and of tasks, with intervals and verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sole.bench.outcome import Outcome
from sole.bench.statistics import interquartile_mean, mean_score, stratified_interval
from sole.bench.verdict import SOLVED_AT, Verdict, verdict_of
from sole.evals.output import finite
from sole.rl.clock import PARTS

ORACLE = "oracle"
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class TaskRow:
    """One task with one reward model; shares are means over seeds."""

    task: str
    reward: str
    n_seeds: int
    true_success: float
    lowest: float
    highest: float
    judged_success: float | None
    held_success: float
    steps_to_50: float | None
    minutes_to_50: float | None
    n_hacked: int
    verdict: Verdict


@dataclass(frozen=True)
class RewardRow:
    """One reward model over all its tasks; value, low and high where there is an interval.

    ``n_runs`` are finished, of ``n_planned``; ``n_judged`` of them say what was judged, and only
    such a run can count as hacked.
    """

    reward: str
    n_tasks: int
    n_runs: int
    n_planned: int
    iqm: Interval
    mean: Interval
    n_solved: int
    n_judged: int
    n_hacked: int
    score_share: float
    minutes: float
    minutes_to_50: float | None
    seconds_per_1000_steps: dict[str, float]

    @property
    def hacked_share(self) -> float:
        """Share of hacked runs; NaN where nothing is judged."""
        return self.n_hacked / self.n_runs if self.n_judged else math.nan

    @property
    def complete(self) -> bool:
        """Whether all planned runs are in: before that the numbers are of some of the tasks."""
        return self.n_runs == self.n_planned


@dataclass(frozen=True)
class Comparison:
    """Everything that the runs of a sweep say together."""

    outcomes: tuple[Outcome, ...]
    tasks: tuple[TaskRow, ...]
    rewards: tuple[RewardRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; a number that is not known is None."""
        rows = [{**asdict(r), "hacked_share": r.hacked_share} for r in self.rewards]
        for row in rows:
            for name in ("iqm", "mean"):
                row[name] = dict(zip(("value", "low", "high"), row[name], strict=True))
        return {
            "rewards": [finite(row) for row in rows],
            "tasks": [finite(asdict(row)) for row in self.tasks],
            "runs": [finite(asdict(o)) for o in self.outcomes],
        }


def compare(outcomes: Sequence[Outcome], planned: Mapping[str, int]) -> Comparison:
    """Compare finished runs.

    Args:
        outcomes: Of the runs; tasks stay in the order in which they first come.
        planned: Runs that each reward model is to have, in the order of the sweep's settings: which
            run was finished first says nothing about which reward model is the one under test.
    """
    rewards = [r for r in planned if any(o.reward == r for o in outcomes)]
    tasks = list(dict.fromkeys(o.task for o in outcomes))
    oracle = {t: [o for o in outcomes if (o.task, o.reward) == (t, ORACLE)] for t in tasks}
    rows = [
        _task_row(runs, oracle[task])
        for task in tasks
        for reward in rewards
        if (runs := [o for o in outcomes if (o.task, o.reward) == (task, reward)])
    ]
    return Comparison(
        tuple(outcomes),
        tuple(rows),
        tuple(_reward_row(r, outcomes, rows, planned[r]) for r in rewards),
    )


def _task_row(runs: Sequence[Outcome], oracle: Sequence[Outcome]) -> TaskRow:
    shares = [o.true_success for o in runs]
    judged = [o.judged_success for o in runs if o.judged_success is not None]
    true, seen = _mean_share(shares), _mean_share(judged) if judged else None
    best = _mean_share([o.true_success for o in oracle]) if oracle else None
    return TaskRow(
        runs[0].task, runs[0].reward, len(runs), true, min(shares), max(shares), seen,
        float(np.mean([o.held_success for o in runs])),
        _median_reached([o.steps_to_50 for o in runs]),
        _median_reached([o.minutes_to_50 for o in runs]),
        sum(o.hacked for o in runs),
        verdict_of(true, seen, best),
    )  # fmt: skip


def _mean_share(shares: Sequence[float]) -> float:
    """Mean without the last bits of rounding, which would put 50 % below the bound of 50 %.

    Example:
        >>> float(np.mean([7 / 20, 14 / 20, 9 / 20])), _mean_share([7 / 20, 14 / 20, 9 / 20])
        (0.49999999999999994, 0.5)
    """
    return round(float(np.mean(shares)), 9)


def _median_reached(values: Sequence[float | None]) -> float | None:
    """Median where None means never; None when that is the median.

    Example:
        >>> _median_reached([3.0, None, 5.0]), _median_reached([3.0, None])
        (5.0, None)
    """
    middle = float(np.median([math.inf if v is None else v for v in values]))
    return middle if math.isfinite(middle) else None


def _reward_row(
    reward: str, outcomes: Sequence[Outcome], rows: Sequence[TaskRow], n_planned: int
) -> RewardRow:
    runs = [o for o in outcomes if o.reward == reward]
    mine = [row for row in rows if row.reward == reward]
    by_task = [[o.true_success for o in runs if o.task == row.task] for row in mine]
    everything = np.concatenate(by_task)
    wall_s = sum(o.wall_s for o in runs)
    return RewardRow(
        reward, len(mine), len(runs), n_planned,
        (float(interquartile_mean(everything)), *stratified_interval(by_task)),
        (float(mean_score(everything)), *stratified_interval(by_task, mean_score)),
        sum(row.true_success >= SOLVED_AT for row in mine),
        sum(o.judged_success is not None for o in runs),
        sum(o.hacked for o in runs),
        sum(o.scoring_s for o in runs) / wall_s if wall_s else 0.0,
        float(np.mean([o.minutes for o in runs])),
        _median_reached([o.minutes_to_50 for o in runs]),
        {part: _mean_of([o.seconds_per_1000_steps[part] for o in runs]) for part in PARTS},
    )  # fmt: skip


def _mean_of(values: Sequence[float]) -> float:
    return float(np.mean(values))
