"""Settings of ``sole redteam`` and ``sole redteam replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import Field

from sole.config import Config

OptimiserName = Literal["random", "cem", "sac"]
OPTIMISERS: tuple[OptimiserName, ...] = ("random", "cem", "sac")
DEFAULT_EPISODES = 96


class JudgeConfig(Config):
    """Which reward model is asked, and how."""

    model: str = "nano"
    """nano, a checkpoint folder, a model's name, a server's address, ramp, random, constant:VALUE
    or oracle."""
    think: bool = False
    """Judge with reasoning (slower); else one forward pass for every picture."""
    from_zero_weight: float = Field(0.25, ge=0, le=1)
    """Share of the read that knows no earlier number."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model; its threshold says what is judged success."""
    threads: int = Field(1, gt=0)
    """CPU threads; results depend on the number."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


class RedteamConfig(JudgeConfig):
    """Search for episodes that a reward model takes for progress although there is none."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Full task names (suite/name). Test tasks may be attacked, but never trained on."""
    out: Path
    """Where searches, exploits and the report go; an interrupted search there is continued."""
    optimisers: tuple[OptimiserName, ...] = Field(OPTIMISERS, min_length=1)
    """Who searches; each one on every task."""
    episodes: int | None = Field(None, gt=0)
    """Episodes of each optimiser on each task, rounded up to whole rounds; 96, or no limit where
    --minutes is given."""
    minutes: float | None = Field(None, gt=0)
    """Minutes for all of the search: each one gets an equal share of what those before it left; a
    round that has begun is finished."""
    population: int = Field(16, gt=1)
    """Episodes of a round; they are judged together."""
    generations: int = Field(6, gt=0)
    """Rounds in which CEM stays on one layout; then it begins anew on another."""
    knots: int = Field(6, gt=1)
    """Points of a motion in random search and CEM; actions between them are interpolated."""
    updates_per_episode: int = Field(60, ge=0)
    """Gradient steps of SAC for each of its episodes, as in sole rl."""
    truth_weight: float = Field(1.0, ge=0)
    """Points taken off CEM's objective for each point of true progress at the end."""
    score_every: int = Field(2, gt=0)
    """Take and judge a picture every this many decisions."""
    seed: int = Field(0, ge=0)
    """Seeds layouts, motions and networks."""
    judged_from: float = Field(50.0, gt=0, le=100)
    """An exploit ends with at least this judged progress (or is judged successful) ..."""
    true_below: float = Field(40.0, gt=0, le=100)
    """... where true progress is below this ..."""
    min_gap: float = Field(30.0, ge=0)
    """... and the judged one is at least this many points higher."""
    judged_success_at: float | None = Field(None, gt=0, le=1)
    """Success probability that counts as judged success; 0.5, or what the calibration says."""
    alike: float = Field(0.7, gt=0, le=1)
    """Exploits of one task whose change pictures have at least this cosine are the same one."""
    keep: int = Field(12, gt=0)
    """Exploits saved for each task, the most overrated first; all are counted."""
    figures: Path | None = None
    """Record exploits per hour in this figures file."""
    label: str = Field("", pattern=r"^[a-z0-9_]*$")
    """Ending of the figures' names, such as before or after."""

    @property
    def most_episodes(self) -> int | None:
        """Episodes of one search; None for no limit but time."""
        if self.episodes is None and self.minutes is None:
            return DEFAULT_EPISODES
        return self.episodes


class ReplayConfig(JudgeConfig):
    """Judge saved exploits again; exit code 1 when too many still fool the model."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """What sole redteam wrote, or any part of it that holds exploits."""
    max_share: float = Field(0.0, ge=0, le=1)
    """Share of the exploits that may still fool the model."""
    judged_success_at: float | None = Field(None, gt=0, le=1)
    """Success probability that counts as judged success; what the search was told, else what the
    calibration says, else as the exploit was found."""
    batch: int = Field(16, gt=0)
    """Episodes judged together."""
