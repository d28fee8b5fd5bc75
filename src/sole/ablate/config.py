"""What one ablation changes, and how all of them are run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from sole.config import Config


class AblationConfig(Config):
    """One training of nano from nothing; every default is that of the whole recipe."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    """What its figures are called: ablation.NAME.spearman and so on."""
    about: str
    """The row of the table."""
    data: tuple[Path, ...] = (Path("data/metaworld-1"), Path("data/worlds-5"))
    """Folders of episodes."""
    negatives: tuple[Path, ...] = (Path("data/agents-2"),)
    """Folders of what agents did to be rated highly; none leaves the hard negatives out."""
    negative_share: float = Field(0.25, ge=0, lt=1)
    """Of the episodes that are trained on, at most so many are from there. Where policies or
    families leave few others, the negatives become fewer too."""
    policies: tuple[str, ...] = ()
    """Only episodes of these kinds; none for all."""
    families: tuple[str, ...] = ()
    """Only tasks whose name begins with one of these words; none for all."""
    n_episodes: int = Field(1600, gt=0)
    """Episodes drawn from what is left, or all if there are fewer."""
    think_share: float = Field(0.5, ge=0, le=1)
    """Share of batches with reasoning; 0 also leaves it out of the rewards' stage."""
    example_settings: dict[str, float] = {}
    """Changes of how moments are drawn (ExampleSettings)."""
    sft_steps: int = Field(250, gt=0)
    """Supervised steps."""
    rlvr_steps: int = Field(20, ge=0)
    """Steps by verifiable rewards after them; 0 leaves the stage out."""
    max_seeds: int | None = Field(None, gt=0)
    """At most so many seeds, however many are asked for."""


class AblateConfig(Config):
    """Train nano without one part of the recipe after the other, and compare on dev tasks."""

    presets: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """Files like presets/ablation-no_reasoning.toml."""
    out: Path = Path("runs/ablations")
    """Where the runs go; what is finished there is not done again."""
    raw: Path | None = None
    """Also keep every result in this JSON file (docs/raw/ablations.json); a training whose result
    stands there is not done again, on whatever machine it was."""
    seeds: int = Field(2, gt=0)
    """Trainings of each, where its preset does not say fewer."""
    tasks: tuple[str, ...] = ()
    """Dev tasks that are measured on; default: Meta-World's."""
    episodes_per_task: int = Field(5, gt=0)
    """Labelled episodes of each."""
    rl_tasks: tuple[str, ...] = ("metaworld/door-unlock", "metaworld/button-press-wall")
    """Dev tasks on which an agent is paid by the trained model."""
    rl_episodes: int = Field(64, ge=0)
    """Its training episodes; 0 leaves the agents out, and `hacked` unmeasured."""
    tiny: bool = False
    """A few steps, episodes and tokens of each, to see that all of it runs; says nothing."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    figures: Path | None = None
    """Record the numbers in this figures file."""
    page: Path | None = None
    """Write the table here; it quotes the figures by name."""
