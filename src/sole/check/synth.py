"""``sole check synth``: how fast a recipe is built here, and how long and large all of it is."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field, ValidationError

from sole.check.output import CheckConfig, Measured, counted
from sole.config import first_complaint, load_preset, parse_config
from sole.errors import ConfigError
from sole.synth.build import build, plan
from sole.synth.config import SynthConfig
from sole.synth.shards import count_examples


class SynthCheckConfig(CheckConfig):
    """Build the beginning of a recipe in a temporary folder and work out what all of it takes."""

    recipe: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.toml")]
    """The recipe, for example presets/nano.toml."""
    episodes: int = Field(368, gt=0)
    """Episodes that are built; two of each task say enough, fewer over-state the hours."""
    workers: int = Field(2, gt=0)
    """Processes that simulate."""
    folder: Path = Path(tempfile.gettempdir())
    """Where the temporary folder is made."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check synth``."""
    config = parse_config(SynthCheckConfig, argv, "sole check synth", presets=False)
    return counted("synth", config, check, argv)


def check(config: SynthCheckConfig) -> tuple[list[Measured], dict[str, Any]]:
    """Build a share, extrapolate by episodes; simulators that are made once count in full.

    Raises:
        ConfigError: If the recipe is invalid or writes no examples, or the folder is no place.
    """
    if not os.access(config.folder, os.W_OK | os.X_OK):
        raise ConfigError(f"--folder {config.folder}: expected a folder that can be written to")
    with tempfile.TemporaryDirectory(dir=config.folder) as folder:
        out = Path(folder) / "share"
        recipe = _recipe(config, out)
        jobs = plan(recipe)
        share = recipe.model_copy(update={"limit_episodes": min(config.episodes, len(jobs))})
        began = time.perf_counter()
        build(share)
        hours = (time.perf_counter() - began) / 3600
        kinds = count_examples(out)["kinds"]
        size_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        shutil.rmtree(out)
    n_built = min(config.episodes, len(jobs))
    whole = len(jobs) / n_built
    return [
        Measured("synth.examples_per_hour", sum(kinds.values()) / hours, unit="examples/hour"),
        Measured("recipe.episodes", len(jobs), unit="episodes"),
        Measured("recipe.tasks", len({job.env_name for job in jobs}), unit="tasks"),
        Measured("recipe.steps", whole * kinds["progress"], unit="steps"),
        Measured("recipe.hours", whole * hours, unit="hours"),
        Measured("recipe.gb", whole * size_bytes / 1e9, unit="GB"),
    ], {"built_episodes": n_built, "workers": config.workers, "built_examples": kinds,
        "suites": dict(Counter(job.env_name.partition("/")[0] for job in jobs))}  # fmt: skip


def _recipe(config: SynthCheckConfig, out: Path) -> SynthConfig:
    given = {**load_preset(config.recipe), "out": out, "workers": config.workers}
    try:
        recipe = SynthConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{config.recipe}: {first_complaint(error)}") from error
    if not recipe.examples_per_episode:
        raise ConfigError(f"{config.recipe}: writes no examples (examples_per_episode)")
    return recipe
