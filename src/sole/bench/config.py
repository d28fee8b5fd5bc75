"""Settings of ``sole bench rl``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field

from sole.config import Config

Headline = Literal["hacked_share", "score_share_of_wall", "minutes_to_50"]
#: Settings of ``sole rl`` that the benchmark sets itself.
_OWN = frozenset({"env", "reward", "seed", "run_dir", "threads"})


class RlBenchConfig(Config):
    """Train on every task with every reward model and seed, and compare what came out."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Tasks as `sole rl --env` names them."""
    out: Path
    """Where runs, tables and plots go; a sweep that was interrupted there is continued."""
    rewards: tuple[str, ...] = Field(("nano", "oracle"), min_length=1)
    """Reward models, anything that `sole rl --reward` takes. The first is the one under test; with
    oracle among them a verdict can tell a weak reward from a hard task."""
    seeds: int = Field(3, gt=0)
    """Seeds of each task and reward model."""
    other_seeds: int | None = Field(None, gt=0)
    """Seeds of the reward models after the first one; without it as many as the first has."""
    first_seed: int = Field(0, ge=0)
    """The smallest of them."""
    jobs: int = Field(1, gt=0)
    """Runs at a time; each one is a process with one thread."""
    ray: bool = False
    """Run over Ray: on the cluster that RAY_ADDRESS names (the folder must be one that all its
    machines share), or on this machine with `jobs` CPUs."""
    episodes: int | None = Field(None, gt=0)
    """Training episodes of a run (the budget of a suite, below, goes before it)."""
    max_minutes: float | None = Field(None, gt=0)
    """Minutes of a run; a run that was killed goes on with what it had left."""
    settings: tuple[str, ...] = ()
    """More settings of `sole rl` for every run, NAME=VALUE, such as observation=pixels."""
    rl: Annotated[dict[str, Any], tyro.conf.Suppress] = Field(default_factory=dict)
    """The same as a table of a preset."""
    suites: Annotated[dict[str, dict[str, Any]], tyro.conf.Suppress] = Field(default_factory=dict)
    """Settings of `sole rl` by suite, as tables of a preset: [suites.metaworld] episodes = 400."""
    run: bool = True
    """Run what is missing; without it only what is there is compared."""
    name: str = Field("", pattern=r"^[a-z0-9_-]*$")
    """Middle part of the figures' names: rl.NAME.solved."""
    headline: tuple[Headline, ...] = ()
    """Figures of the first reward model that this sweep also records without the NAME, such as
    rl.hacked_share. One sweep each: a later one would replace them."""
    task_figures: bool = False
    """Record rl.SUITE.TASK.true_success without the NAME."""
    raw: Path | None = None
    """Also keep the results there (docs/raw), in NAME.runs.parquet and NAME.evaluations.parquet. A
    run that stands in them is not run again, on whatever machine it was."""
    figures: Path | None = None
    """Record the outcome in this figures file."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of tables."""

    def settings_of(self, task: str) -> dict[str, Any]:
        """What a run on ``task`` is told beyond task, reward, seed and folder.

        Raises:
            ConfigError: If ``--settings`` is malformed, or sets what the benchmark decides.
        """
        from sole.errors import ConfigError

        own = {"episodes": self.episodes, "max_minutes": self.max_minutes}
        merged = {k: v for k, v in own.items() if v is not None} | self.rl
        merged |= self.suites.get(task.partition("/")[0], {})
        for text in self.settings:
            name, equals, value = text.partition("=")
            if not equals:
                raise ConfigError(f"settings: expected NAME=VALUE, got {text!r}")
            merged[name.replace("-", "_")] = value
        if taken := sorted(_OWN & set(merged)):
            raise ConfigError(f"settings: {', '.join(taken)} is decided by the benchmark itself")
        return merged
