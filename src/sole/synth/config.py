"""Settings of ``sole synth``: what a recipe (a TOML file) may say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field

from sole.config import Config


class SynthConfig(Config):
    """Simulate episodes by many kinds of policies, with true progress and facts."""

    out: Path
    """Folder of the data set (LeRobot v3)."""
    suite: str = "metaworld"
    """Suite whose training tasks are simulated: metaworld or worlds (its first 39 tasks)."""
    tasks: tuple[str, ...] = ()
    """Full task names (suite/name) or patterns (worlds/*) instead of the suite's training tasks."""
    episodes_per_task: int = Field(72, gt=0)
    """Episodes of each task."""
    policies: tuple[str, ...] = ()
    """Only these kinds of policies, such as leave and linger, which are never drawn unasked: what
    was done stays done though the arm is gone, and being near is not doing."""
    limit_episodes: int | None = Field(None, gt=0)
    """Stop after so many episodes of the plan; any beginning of it is balanced over the tasks."""
    from_runs: tuple[Path, ...] = ()
    """Film what agents did on training tasks instead of our policies: folders of `sole rl` runs, of
    searches or exploits of `sole redteam`, or the attempts.parquet of such a data set."""
    keep_divergent: bool = False
    """Keep attempts that come out otherwise than recorded (contacts may, on another processor),
    with the truth of what happens here; else such an attempt stops the build."""
    per_run: int = Field(48, gt=0)
    """Episodes of each run in --from-runs: half the most overrated ones, half at random; all at
    random of runs that the truth paid (--reward oracle)."""
    n_frames: int = Field(31, gt=1)
    """Frames per episode, 13 a second; 7 of robosuite, ManiSkill and LIBERO."""
    size_px: int = Field(96, ge=32)
    """Height and width of each view."""
    seed: int = Field(0, ge=0)
    """Seeds the plan: policies, layouts, wordings, looks."""
    arms: tuple[str, ...] = ()
    """Robot arms of `worlds`, one drawn for each episode; the Sawyer alone without."""
    placed: bool = False
    """Sentences of `worlds` say where an object stands when there are two."""
    examples_per_episode: int = Field(0, ge=0)
    """Moments of each episode written as examples with reasoning (parquet, for TRL)."""
    questions_per_episode: int = Field(0, ge=0)
    """Questions about space and time for each episode, among the examples."""
    prompt: Literal["sole_r1", "nano"] = "sole_r1"
    """Wording of the examples' questions."""
    tile_px: int = Field(96, ge=16)
    """Side of each view in the examples' composite picture."""
    annotator: str | None = None
    """openai:http://HOST:PORT/v1#MODEL puts the reasoning of the examples into richer words."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, gt=0)
    """Processes that simulate."""
    ray: bool = False
    """Simulate on a Ray cluster (RAY_ADDRESS, else this machine) instead of own processes."""


#: What may change when a stopped data set is continued: the result is the same.
NOT_THE_RESULT = {"out", "workers", "ray"}
