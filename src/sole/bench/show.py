"""A comparison as tables for a terminal, and as figures for documents."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from sole.bench.compare import Comparison, Interval, RewardRow, TaskRow
from sole.bench.config import RlBenchConfig
from sole.console import stdout
from sole.evals.figures import Figure
from sole.grid import Grid, fitted
from sole.rl.clock import PARTS


def show(comparison: Comparison, n_planned: int, folder: Path) -> None:
    """Print all tables, and where everything lies."""
    for table in tables(comparison, stdout.width):
        stdout.print(table)
    n = len(comparison.outcomes)
    stdout.print(
        f"{n} of {n_planned} runs. Runs, tables and plots: {folder}", markup=False, soft_wrap=True
    )


def tables(comparison: Comparison, width: int) -> list[Table]:
    """Reward models, tasks and costs; columns that do not fit come in a table of their own.

    Args:
        comparison: What is shown.
        width: Characters of the terminal.
    """
    return [
        table
        for make in (reward_grid, task_grid, cost_grid)
        for table in fitted(make(comparison), width)
    ]


def reward_grid(comparison: Comparison) -> Grid:
    """Reward models side by side."""
    names = ("reward", "runs", "solved", "IQM", "mean", "hacked", "min", "min to 50%", "scoring")
    rows = [
        (
            row.reward, f"{row.n_runs} of {row.n_planned}", f"{row.n_solved}/{row.n_tasks}",
            _interval(row.iqm), _interval(row.mean),
            f"{row.n_hacked}/{row.n_runs}" if row.n_judged else "-",
            f"{row.minutes:.1f}", _number(row.minutes_to_50, 1), f"{row.score_share:.0%}",
        )
        for row in comparison.rewards
    ]  # fmt: skip
    return Grid("true success over tasks and seeds [95% interval, other seeds]", names, rows)


def cost_grid(comparison: Comparison) -> Grid:
    """Where the time went."""
    rows = []
    for row in comparison.rewards:
        parts = [row.seconds_per_1000_steps[part] for part in PARTS]
        rows.append((row.reward, *(f"{s:.1f}" for s in [*parts, sum(parts)])))
    names = ("reward", "simulate", "render", "act", "score", "learn", "all")
    return Grid("seconds of training per 1,000 environment steps, mean over runs", names, rows)


def task_grid(comparison: Comparison) -> Grid:
    """Tasks, one line for each reward model."""
    names = ("task", "reward", "true", "judged", "verdict", "held", "steps to 50%")
    rows = [
        (row.task.partition("/")[2] or row.task, row.reward, *_cells(row))
        for row in comparison.tasks
    ]
    return Grid("by task: means over seeds (lowest to highest seed)", names, rows, n_names=2)


def _cells(row: TaskRow) -> tuple[str, ...]:
    spread = f" ({row.lowest:.0%}-{row.highest:.0%})" if row.n_seeds > 1 else ""
    judged = "-" if row.judged_success is None else f"{row.judged_success:.0%}"
    return (
        f"{row.true_success:.0%}{spread}", judged, row.verdict, f"{row.held_success:.0%}",
        _number(row.steps_to_50, 0),
    )  # fmt: skip


def _interval(values: Interval) -> str:
    value, low, high = values
    return f"{value:.0%}" if math.isnan(low) else f"{value:.0%} [{low:.0%}, {high:.0%}]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def bench_figures(comparison: Comparison, config: RlBenchConfig) -> list[Figure]:
    """Figures ``rl.NAME.*`` of the reward model under test, of the others ``rl.NAME.REWARD_*``.

    A reward model whose planned runs are not all finished has none: they would be of the tasks that
    happened to come first. Without a name the figures are called ``rl.*``.
    """
    prefix = f"rl.{config.name}." if config.name else "rl."
    figures: list[Figure] = []
    for row in comparison.rewards:
        if not row.complete:
            continue
        if row.reward != config.rewards[0]:
            figures += _of_reward(row, f"{prefix}{_plain(row.reward)}_")
            continue
        own = _of_reward(row, prefix)
        headline = [f for f in own if f.name.removeprefix(prefix) in config.headline]
        figures += own + [replace(f, name=f"rl.{f.name.removeprefix(prefix)}") for f in headline]
        figures += _of_tasks(comparison, row.reward, "rl." if config.task_figures else prefix)
    return list({figure.name: figure for figure in figures}.values())


def left_out(comparison: Comparison, config: RlBenchConfig) -> str | None:
    """Which reward models have no figures yet, and why; None when all have."""
    rows = {row.reward: row for row in comparison.rewards}
    short = [r for r in config.rewards if r not in rows or not rows[r].complete]
    if not short:
        return None
    counts = [f"{r} ({rows[r].n_runs if r in rows else 0} runs finished)" for r in short]
    return f"no figures are recorded of {', '.join(counts)}: all planned runs are needed"


def _of_tasks(comparison: Comparison, reward: str, place: str) -> list[Figure]:
    return [
        Figure(f"{place}{row.task.replace('/', '.')}.true_success", row.true_success, "share",
               row.lowest, row.highest)
        for row in comparison.tasks if row.reward == reward
    ]  # fmt: skip


def _of_reward(row: RewardRow, prefix: str) -> list[Figure]:
    reached = math.nan if row.minutes_to_50 is None else row.minutes_to_50
    return [
        Figure(f"{prefix}solved", row.n_solved, "tasks"),
        Figure(f"{prefix}n_tasks", row.n_tasks, "tasks"),
        Figure(f"{prefix}n_runs", row.n_runs, "runs"),
        Figure(f"{prefix}n_planned", row.n_planned, "runs"),
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
