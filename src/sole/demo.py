"""``sole demo``: a simulated arm learns a task nobody taught nano, judged by nano alone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from sole.config import Config, parse_config
from sole.console import stderr, stdout
from sole.evals.figures import Figure, record_figures
from sole.report.picture import write_training_picture
from sole.report.training import write_training_report
from sole.rl.config import RlConfig
from sole.rl.train import train

#: One of the 17 held-out Meta-World tasks; docs/log.md says how it was chosen.
DEMO_TASK = "metaworld/drawer-close"


class DemoConfig(Config):
    """Train from random initialisation on a held-out task with nano as the only reward."""

    env: str = DEMO_TASK
    """Task by full name."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds networks, exploration and layouts."""
    seeds: int = Field(default=1, gt=0)
    """Run this many seeds one after the other, from `seed` on, and report their mean too."""
    episodes: int = Field(default=192, gt=0)
    """Training episodes."""
    task: str | None = None
    """A wording that replaces the task's own sentence."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop each seed after this long; the report still comes, and the same command goes on."""
    out: Path = Path("demo")
    """Folder for the runs and report.html; an interrupted demo there is continued."""
    fresh: bool = False
    """Throw away what an earlier demo left in the folder."""
    picture: Path | None = None
    """Also write a picture of the run (needs the report extra)."""
    figures: Path | None = None
    """Record the outcome in this figures file."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole demo``."""
    config = parse_config(DemoConfig, argv, "sole demo")
    stderr.print(
        f"A policy learns [bold]{config.env}[/bold] from nothing; its only reward is what nano "
        "says of its videos. nano was never trained on this task."
    )
    outcomes = [run(config, config.seed + k) for k in range(config.seeds)]
    for outcome in outcomes:
        stdout.print(_sentence(outcome))
    if config.seeds > 1:
        mean = sum(o["true_success"] for o in outcomes) / len(outcomes)
        stdout.print(f"Mean of {config.seeds} seeds: [bold]{mean:.0%}[/bold]")
    stdout.print(f"Report: {(config.out / 'report.html').resolve()}")
    if config.figures:
        command = " ".join(["sole demo", *argv])
        record_figures(config.figures, _figures(outcomes), command)
    return 0


def run(config: DemoConfig, seed: int) -> dict[str, Any]:
    """Train one seed, write the report; return the last evaluation.

    ``minutes`` is there only for a run that was not continued: it counts everything but the
    installation.
    """
    began = time.perf_counter()
    folder = config.out / f"run-seed{seed}"
    if config.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    unbroken = not (folder / "config.json").exists()
    last = train(
        RlConfig(
            env=config.env,
            run_dir=folder,
            seed=seed,
            episodes=config.episodes,
            task=config.task,
            max_minutes=config.max_minutes,
        )
    )
    if seed == config.seed:
        write_training_report(folder, config.out / "report.html")
        if config.picture:
            write_training_picture(folder, config.picture)
    minutes = {"minutes": (time.perf_counter() - began) / 60} if unbroken else {}
    return {**last, **minutes, "seed": seed}


def _sentence(outcome: dict[str, Any]) -> str:
    took = f", {outcome['minutes']:.1f} minutes" if "minutes" in outcome else ""
    return (
        f"Seed {outcome['seed']}: true success of the final policy "
        f"[bold]{outcome['true_success']:.0%}[/bold] (95% interval "
        f"{outcome['true_success_low']:.0%} to {outcome['true_success_high']:.0%}, "
        f"{outcome['n_episodes']} evaluation episodes{took})"
    )


def _figures(outcomes: Sequence[dict[str, Any]]) -> list[Figure]:
    first, rates = outcomes[0], [o["true_success"] for o in outcomes]
    if len(outcomes) > 1:
        name = f"demo.true_success_mean{len(rates)}"
        return [Figure(name, sum(rates) / len(rates), "share", min(rates), max(rates))]
    low, high = first["true_success_low"], first["true_success_high"]
    figures = [Figure("demo.true_success", first["true_success"], "share", low, high)]
    if "minutes" in first:
        figures.append(Figure("demo.minutes", first["minutes"], "minutes"))
    return figures
