"""A comparison as tables for a terminal, and as figures for documents."""

from __future__ import annotations

import math
from pathlib import Path

from rich.table import Table

from sole.bench.compare import Comparison, Interval, RewardRow, TaskRow
from sole.console import stdout
from sole.evals.figures import Figure
from sole.rl.clock import PARTS


def show(comparison: Comparison, n_planned: int, folder: Path) -> None:
    """Print both tables, and where everything lies."""
    stdout.print(reward_table(comparison))
    stdout.print(task_table(comparison))
    stdout.print(cost_table(comparison))
    n = len(comparison.outcomes)
    stdout.print(
        f"{n} of {n_planned} runs. Runs, tables and plots: {folder}", markup=False, soft_wrap=True
    )


def reward_table(comparison: Comparison) -> Table:
    """Reward models side by side."""
    table = Table(title="true success over tasks and seeds [95% interval, other seeds]")
    table.add_column("reward", no_wrap=True)
    for name in ("runs", "solved", "IQM", "mean", "hacked", "min", "min to 50%", "scoring"):
        table.add_column(name, justify="right")
    for row in comparison.rewards:
        table.add_row(
            row.reward, str(row.n_runs), f"{row.n_solved}/{row.n_tasks}",
            _interval(row.iqm), _interval(row.mean), f"{row.n_hacked}/{row.n_runs}",
            f"{row.minutes:.1f}", _number(row.minutes_to_50, 1), f"{row.score_share:.0%}",
        )  # fmt: skip
    return table


def cost_table(comparison: Comparison) -> Table:
    """Where the time went."""
    table = Table(title="seconds of training per 1,000 environment steps, mean over runs")
    table.add_column("reward", no_wrap=True)
    for name in ("simulate", "render", "act", "score", "learn", "all"):
        table.add_column(name, justify="right")
    for row in comparison.rewards:
        parts = [row.seconds_per_1000_steps[part] for part in PARTS]
        table.add_row(row.reward, *(f"{s:.1f}" for s in [*parts, sum(parts)]))
    return table


def task_table(comparison: Comparison) -> Table:
    """Tasks, one line for each reward model."""
    table = Table(title="by task: means over seeds (lowest to highest seed)")
    for name in ("task", "reward"):
        table.add_column(name, no_wrap=True)
    for name in ("true", "judged", "held", "steps to 50%", "verdict"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.tasks:
        table.add_row(row.task.partition("/")[2] or row.task, row.reward, *_cells(row))
    return table


def _cells(row: TaskRow) -> tuple[str, ...]:
    spread = f" ({row.lowest:.0%}-{row.highest:.0%})" if row.n_seeds > 1 else ""
    judged = "-" if row.judged_success is None else f"{row.judged_success:.0%}"
    return (
        f"{row.true_success:.0%}{spread}", judged, f"{row.held_success:.0%}",
        _number(row.steps_to_50, 0), row.verdict,
    )  # fmt: skip


def _interval(values: Interval) -> str:
    value, low, high = values
    return f"{value:.0%}" if math.isnan(low) else f"{value:.0%} \\[{low:.0%}, {high:.0%}]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def bench_figures(comparison: Comparison, name: str, *, headline: bool) -> list[Figure]:
    """Figures ``rl.NAME.*`` of the first reward model, and of the others as ``rl.NAME.REWARD_*``.

    Args:
        comparison: Of a sweep.
        name: Of the benchmark; without one the figures are called ``rl.*``.
        headline: Also the figures without a name.
    """
    first, prefix = comparison.rewards[0], f"rl.{name}." if name else "rl."
    figures = _of_reward(first, prefix)
    for row in comparison.rewards[1:]:
        figures += _of_reward(row, f"{prefix}{_plain(row.reward)}_")
    places = ["rl."] if headline else [prefix]
    for place in places:
        figures += [
            Figure(f"{place}{row.task.replace('/', '.')}.true_success", row.true_success, "share",
                   row.lowest, row.highest)
            for row in comparison.tasks if row.reward == first.reward
        ]  # fmt: skip
    if headline and name:
        figures += [f for f in _of_reward(first, "rl.") if f.name.split(".")[1] in _HEADLINES]
    return figures


_HEADLINES = frozenset({"hacked_share", "score_share_of_wall", "minutes_to_50"})


def _of_reward(row: RewardRow, prefix: str) -> list[Figure]:
    reached = math.nan if row.minutes_to_50 is None else row.minutes_to_50
    return [
        Figure(f"{prefix}solved", row.n_solved, "tasks"),
        Figure(f"{prefix}n_tasks", row.n_tasks, "tasks"),
        Figure(f"{prefix}mean_success", row.mean[0], "share", row.mean[1], row.mean[2]),
        Figure(f"{prefix}iqm_success", row.iqm[0], "share", row.iqm[1], row.iqm[2]),
        Figure(f"{prefix}hacked_share", row.hacked_share, "share"),
        Figure(f"{prefix}score_share_of_wall", row.score_share, "share"),
        Figure(f"{prefix}minutes_to_50", reached, "minutes"),
        *(
            Figure(f"{prefix}s_per_1000_steps_{name}", row.seconds_per_1000_steps[part], "s")
            for part, name in zip(PARTS, ("sim", "render", "act", "score", "learn"), strict=True)
        ),
    ]


def _plain(reward: str) -> str:
    """A reward model's name inside a figure's.

    Example:
        >>> _plain("constant:50"), _plain("oracle"), _plain("runs/v0/model")
        ('constant-50', 'oracle', 'runs-v0-model')
    """
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in reward).strip("-")
