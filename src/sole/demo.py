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
from sole.report.training import write_training_report
from sole.rl.config import RlConfig
from sole.rl.train import train

#: One of the 17 held-out Meta-World tasks; docs/log.md says how it was chosen.
DEMO_TASK = "metaworld/drawer-close"


class DemoConfig(Config):
    """Train from random initialisation on a held-out task with nano as the only reward."""

    env: str = DEMO_TASK
    """Task by full name."""
    seed: int = 0
    """Seeds networks, exploration and layouts."""
    episodes: int = Field(400, gt=0)
    """Training episodes."""
    out: Path = Path("demo")
    """Folder for the run and report.html; an interrupted demo there is continued."""
    fresh: bool = False
    """Throw away what an earlier demo left in the folder."""
    picture: bool = False
    """Also write demo.png (needs the report extra)."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole demo``."""
    config = parse_config(DemoConfig, argv, "sole demo")
    last = run(config)
    stdout.print(
        f"\nTrue success of the final policy: [bold]{last['true_success']:.0%}[/bold] "
        f"(95% interval {last['true_success_low']:.0%} to {last['true_success_high']:.0%}, "
        f"{last['n_episodes']} evaluation episodes, {last['minutes']:.1f} minutes)\n"
        f"Report: {(config.out / 'report.html').resolve()}"
    )
    return 0


def run(config: DemoConfig) -> dict[str, Any]:
    """Train, write the report, return the last evaluation and the minutes it all took."""
    began = time.perf_counter()
    folder = config.out / f"run-seed{config.seed}"
    if config.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    stderr.print(
        f"A policy learns [bold]{config.env}[/bold] from nothing; its only reward is what nano "
        "says of its videos. nano was never trained on this task."
    )
    last = train(
        RlConfig(env=config.env, run_dir=folder, seed=config.seed, episodes=config.episodes)
    )
    write_training_report(folder, config.out / "report.html")
    if config.picture:
        from sole.report.picture import write_training_picture

        write_training_picture(folder, config.out / "demo.png")
    return {**last, "minutes": (time.perf_counter() - began) / 60}
