"""Three pictures of a sweep: success by reward and task, judged against true, and curves."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sole.bench.compare import Comparison
from sole.bench.outcome import Point
from sole.bench.verdict import HACKED_BELOW, JUDGED_SOLVED_AT, SOLVED_AT
from sole.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#c05f10", "#1b67a8", "#5d646d", "#3f8f5b", "#8d4fa0", "#b0a02a")
_SOFT = "#5d646d"


def write_plots(folder: Path, comparison: Comparison, points: Sequence[Point]) -> None:
    """Write success.png, judged_true.png and curves.png.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    tall = 1.2 + 0.3 * len({row.task for row in comparison.tasks})
    _write(folder / "success.png", (9.6, max(tall, 3.0)), lambda a: _success(a, comparison))
    _write(folder / "judged_true.png", (5.2, 4.8), lambda a: _scatter(a, comparison))
    _write(folder / "curves.png", (6.4, 4.2), lambda a: _curves(a, comparison, points))


def _write(path: Path, size: tuple[float, float], draw: Callable[[Axes], None]) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib: pip install 'sole-rewards[report]'") from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e3e1dc", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_SOFT, labelsize=8)
    axes.legend(frameon=False, fontsize=8)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=120, format="png")
    os.replace(temporary, path)


def _colour(comparison: Comparison, reward: str) -> str:
    place = [row.reward for row in comparison.rewards].index(reward)
    return _COLOURS[place % len(_COLOURS)]


def _success(axes: Axes, comparison: Comparison) -> None:
    """Each task's seeds as dots and their mean as a bar mark; interquartile means in the legend."""
    tasks = list(dict.fromkeys(row.task for row in comparison.tasks))
    for place, row in enumerate(comparison.rewards):
        shift = (place - (len(comparison.rewards) - 1) / 2) * 0.6 / len(comparison.rewards)
        runs = [o for o in comparison.outcomes if o.reward == row.reward]
        colour = _colour(comparison, row.reward)
        at = [tasks.index(o.task) + shift for o in runs]
        axes.plot([o.true_success for o in runs], at, "o", color=colour, alpha=0.35, markersize=4)
        mine = [r for r in comparison.tasks if r.reward == row.reward]
        value, low, high = row.iqm
        spread = "" if math.isnan(low) else f" [{low:.0%}, {high:.0%}]"
        axes.plot(
            [r.true_success for r in mine], [tasks.index(r.task) + shift for r in mine], "|",
            color=colour, markersize=11, markeredgewidth=2.5,
            label=f"{row.reward}: IQM {value:.0%}{spread}, {row.n_solved}/{row.n_tasks} solved",
        )  # fmt: skip
    axes.axvline(SOLVED_AT, color=_SOFT, linewidth=0.8, linestyle="--")
    axes.set(xlim=(-0.03, 1.03), xlabel="true success of the final policy")
    axes.set_yticks(range(len(tasks)), [t.partition("/")[2] or t for t in tasks])
    axes.invert_yaxis()


def _scatter(axes: Axes, comparison: Comparison) -> None:
    """One dot per run; the shaded corner is where a run counts as hacked."""
    corner = ([0, HACKED_BELOW], JUDGED_SOLVED_AT, 1.03)
    axes.fill_between(*corner, color="#f3ded0", linewidth=0, label="hacked")
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle="--")
    for row in comparison.rewards:
        runs = [o for o in comparison.outcomes if o.reward == row.reward]
        known = [o for o in runs if o.judged_success is not None]
        axes.plot(
            [o.true_success for o in known], [o.judged_success or 0.0 for o in known], "o",
            color=_colour(comparison, row.reward), alpha=0.7, markersize=5, label=row.reward,
        )  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="true success",
             ylabel="judged success of the same episodes")  # fmt: skip


def _curves(axes: Axes, comparison: Comparison, points: Sequence[Point]) -> None:
    """True success over environment steps, mean over tasks and seeds, at evaluations of most."""
    for row in comparison.rewards:
        mine = [p for p in points if p.reward == row.reward]
        steps = [
            s for s in sorted({p.env_steps for p in mine})
            if 2 * sum(p.env_steps == s for p in mine) >= row.n_runs
        ]  # fmt: skip
        for name, style in (("true", "-"), ("judged", ":")):
            values = [_mean_at(mine, step, name) for step in steps]
            axes.plot(
                steps, values, style, marker=".", color=_colour(comparison, row.reward),
                label=f"{row.reward}, {name}",
            )  # fmt: skip
    axes.set(ylim=(-0.03, 1.03), xlabel="environment steps", ylabel="success rate (evaluation)")


def _mean_at(points: Sequence[Point], step: int, name: str) -> float:
    values = [getattr(p, f"{name}_success") for p in points if p.env_steps == step]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else math.nan
