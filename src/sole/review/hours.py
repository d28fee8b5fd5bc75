"""What training cost: ``python -m sole.review.hours RUN_DIR... --figures docs/figures.json``.

Read from the runs' own logs: the time between logged steps, times the threads that the run was
given. A pause between two sessions of a run is no work and is cut off.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.markup import escape
from rich.table import Table

from sole.config import Config, load_preset, parse_config
from sole.console import run_module, stdout
from sole.errors import ConfigError, DataError
from sole.evals.figures import Figure, load_figures, record_figures
from sole.report.run_data import read_metrics

#: A step that takes longer than this many usual ones was interrupted; the rest is a pause.
_LONGEST_STEPS = 5.0


class HoursConfig(Config):
    """Sum what trainings cost, in hours times threads."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_DIR")]
    """Folders of sole sft, sole rlvr (of nano) or sole fit: all stages of one model."""
    trials: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN_DIR")] = ()
    """Folders of runs that are no stage of that model: a line each, and not in the sum."""
    earlier: tuple[str, ...] = ()
    """Stages of it whose folders are gone: the recorded NAME.STAGE adds to the sum."""
    name: str = "train.cpu_hours"
    """Name of the sum's figure; NAME.FOLDER is that of a run, NAME.FOLDER.steps its steps."""
    figures: Path | None = None
    """Record the sum and each run in this figures file."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class TrainingCost:
    """One run.

    Attributes:
        run: Its folder.
        steps: Optimiser steps it logged.
        hours: On the clock, without pauses.
        threads: CPU threads it was given.
        device: Cores and system of the machine (where it last went on).
    """

    run: str
    steps: int
    hours: float
    threads: int
    device: str

    @property
    def cpu_hours(self) -> float:
        """Hours times threads: what it kept busy, whatever else the machine did meanwhile."""
        return self.hours * self.threads


def main(argv: Sequence[str]) -> int:
    """Print a line a run and the sum; record the sum if asked."""
    config = parse_config(HoursConfig, argv, "python -m sole.review.hours", presets=False)
    if not config.runs:
        raise ConfigError("expected folders of runs, got none")
    if config.figures:
        _check_names([*config.runs, *config.trials], config.earlier)
    costs = [training_cost(folder) for folder in config.runs]
    trials = [training_cost(folder) for folder in config.trials]
    earlier = [_earlier_hours(config, stage) for stage in config.earlier]
    total = sum(earlier) + sum(cost.cpu_hours for cost in costs)
    if config.figures:
        command = " ".join(["python -m sole.review.hours", *argv])
        record_figures(
            config.figures, cost_figures(config.name, costs, trials, sum(earlier)), command
        )
    if config.print_json:
        before = dict(zip(config.earlier, earlier, strict=True))
        found = {
            "runs": _plain(costs), "trials": _plain(trials), "earlier": before, "cpu_hours": total
        }  # fmt: skip
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        stdout.print(_table(costs, trials, sum(earlier)))
    return 0


def _earlier_hours(config: HoursConfig, stage: str) -> float:
    if config.figures is None:
        raise ConfigError("--earlier: names figures; say with --figures in which file they are")
    name, recorded = f"{config.name}.{stage}", load_figures(config.figures)
    figure = recorded.get(name, {})
    if figure.get("unit") != "hours" or figure.get("value") is None:
        raise ConfigError(f"--earlier: {config.figures} has no figure {name} in hours")
    return float(figure["value"])


def _plain(costs: Sequence[TrainingCost]) -> list[dict[str, Any]]:
    return [{**asdict(cost), "cpu_hours": cost.cpu_hours} for cost in costs]


def _check_names(folders: Sequence[Path], earlier: Sequence[str]) -> None:
    """Refuse two runs whose figures would have one name."""
    names = [*(folder.resolve().name for folder in folders), *earlier]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"--figures: several runs are called {', '.join(twice)}, and a figure is named after "
            "its run's folder; rename one, or leave it out"
        )


def cost_figures(
    name: str,
    stages: Sequence[TrainingCost],
    trials: Sequence[TrainingCost] = (),
    earlier_hours: float = 0.0,
) -> list[Figure]:
    """The sum of the stages, and the hours times threads and the steps of every run.

    Example:
        >>> run = TrainingCost("runs/a", 30, 3.0, 2, "2 cores, Linux")
        >>> [(f.name, f.value) for f in cost_figures("cost", [run])]
        [('cost', 6.0), ('cost.a', 6.0), ('cost.a.steps', 30.0)]
    """
    total = earlier_hours + sum(cost.cpu_hours for cost in stages)
    figures = [Figure(name, total, "hours")]
    for cost in (*stages, *trials):
        run = f"{name}.{Path(cost.run).resolve().name}"
        figures.append(Figure(run, cost.cpu_hours, "hours"))
        figures.append(Figure(f"{run}.steps", float(cost.steps), "steps"))
    return figures


def training_cost(folder: Path) -> TrainingCost:
    """Read one run's folder.

    Raises:
        ConfigError: If it has no readable ``config.json``.
        DataError: If it is no training on CPU threads, or has logged no step.
    """
    config = load_preset(folder / "config.json")
    threads = config.get("threads") if isinstance(config, dict) else None
    if not isinstance(threads, int):
        raise DataError(
            f"{folder}/config.json: names no threads; expected a run of sole sft or sole rlvr of "
            "nano, or of sole fit"
        )
    lines = [m for m in read_metrics(folder / "metrics.jsonl") if m.get("kind") == "train"]
    try:
        steps, clock_s = ([float(m[k]) for m in lines] for k in ("step", "wall_s"))
        seconds = training_seconds(steps, clock_s)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder}/metrics.jsonl: {error!s}; is it a training?") from error
    return TrainingCost(str(folder), int(steps[-1]), seconds / 3600, threads, _device(folder))


def training_seconds(steps: Sequence[float], clock_s: Sequence[float]) -> float:
    """Time of a run from the moments at which it logged.

    The steps before the first line are taken to last as long as the median one. So is each step,
    times five, where a run lay still: one that goes on later has a gap in its clock.

    Args:
        steps: Of each line, rising.
        clock_s: When each was written, seconds.

    Raises:
        ValueError: If there are fewer than two lines, or they do not rise.

    Example:
        >>> training_seconds([10, 20, 30, 40], [100.0, 120.0, 140.0, 9999.0])
        160.0
    """
    if len(steps) < 2:
        raise ValueError(f"expected at least two logged steps, got {len(steps)}")
    n_steps, gaps_s = np.diff(steps), np.diff(clock_s)
    if np.any(n_steps <= 0) or np.any(gaps_s < 0):
        raise ValueError("expected steps and times that rise")
    per_step_s = gaps_s / n_steps
    usual_s = float(np.median(per_step_s))
    worked_s = np.minimum(per_step_s, _LONGEST_STEPS * usual_s) * n_steps
    return float(steps[0] * usual_s + worked_s.sum())


def _device(folder: Path) -> str:
    path = folder / "machine.json"
    machine: Mapping[str, Any] = load_preset(path) if path.exists() else {}
    if not isinstance(machine, dict) or "cores" not in machine:
        return "unknown"
    return f"{machine['cores']} cores, {str(machine.get('platform', '')).partition('-')[0]}"


def _table(
    costs: Sequence[TrainingCost], trials: Sequence[TrainingCost], earlier_hours: float
) -> Table:
    apart = ", without the trials below the line" if trials else ""
    total = earlier_hours + sum(cost.cpu_hours for cost in costs)
    before = f", {earlier_hours:.2f} of them recorded earlier" if earlier_hours else ""
    caption = f"{total:.2f} hours times threads in all{before}{apart}"
    table = Table(caption=caption, caption_justify="left")
    table.add_column("run", overflow="fold")
    for name in ("steps", "hours", "threads", "hours x threads"):
        table.add_column(name, justify="right")
    table.add_column("device")
    for place, cost in enumerate([*costs, *trials], start=1):
        numbers = (str(cost.steps), f"{cost.hours:.2f}", str(cost.threads), f"{cost.cpu_hours:.2f}")
        last = place == len(costs) and bool(trials)
        table.add_row(escape(cost.run), *numbers, cost.device, end_section=last)
    return table


if __name__ == "__main__":
    run_module(main, "hours")
