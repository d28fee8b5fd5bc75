"""Labelled episodes and the model that judges them: what evaluations with truth share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from sole.config import Config
from sole.console import progress_bar, stderr
from sole.data.episode import Episode, EpisodeScore
from sole.data.lerobot import read_episodes
from sole.errors import ConfigError, DataError
from sole.evals.collection import POLICIES, collect
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import Calibrated
from sole.rewarders.controls import Oracle
from sole.rewarders.load import load_reward_model
from sole.sims.registry import task_names
from sole.synth.plan import has_expert
from sole.synth.policies import WITHOUT_EXPERT


class LabelledConfig(Config):
    """A model, and the episodes with truth that it is measured on."""

    model: str = "nano"
    """nano, a folder, a model on Hugging Face, METHOD:MODEL, an address, or a control (oracle, ramp
    ..): sole models list names them all."""
    suite: str = "metaworld"
    """Suite that is simulated."""
    tasks: tuple[str, ...] = ()
    """Full task names instead of a split."""
    data: Path | None = None
    """A data set with truth instead of simulation."""
    episodes_per_task: int = Field(10, gt=0)
    """Episodes of each task; ten use nine kinds of policies, experts twice."""
    policies: tuple[str, ...] = POLICIES
    """Policies of a task's episodes, in turn."""
    n_frames: int = Field(26, gt=2)
    """Frames per episode."""
    seed: int = Field(900_000_000, ge=0)
    """First seed of the episodes."""
    cache: Path = Path("runs/eval-cache")
    """Where simulated episodes are kept."""
    think: bool = False
    """Judge with reasoning, and check its claims where quality is measured."""
    from_zero_weight: float = Field(0.25, ge=0, le=1)
    """Share of the read that knows no earlier number."""
    batch: int = Field(10, gt=0)
    """Episodes judged together."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""
    figures: Path | None = None
    """Record the numbers in this figures file."""


def labelled_episodes(config: LabelledConfig, split: str) -> list[Episode]:
    """The episodes of ``--data``, of ``--tasks``, or else of the suite's tasks in ``split``.

    Raises:
        ConfigError: If the split has no such tasks.
        DataError: If the data set holds no episode, or one without truth.
    """
    if config.data is not None:
        return labelled_data(config.data)
    names = config.tasks or tuple(
        name for name in task_names(split) if name.startswith(config.suite + "/")
    )
    if not names:
        raise ConfigError(f"suite {config.suite!r} has no tasks in split {split!r}")
    if n_without := sum(not has_expert(name) for name in names):
        stderr.print(
            f"{n_without} of {len(names)} tasks have no scripted expert: of their policies only "
            f"{', '.join(WITHOUT_EXPERT)} is filmed",
            soft_wrap=True,
        )
    return collect(
        names,
        config.episodes_per_task,
        config.seed,
        config.cache,
        config.n_frames,
        policies=config.policies,
    )


def labelled_data(folder: Path) -> list[Episode]:
    """Every episode of a data set with truth; a task without a name is called by its sentence.

    Raises:
        DataError: If it holds no episode, or one without truth.
    """
    episodes = list(read_episodes(folder))
    if not episodes or any(e.truth is None for e in episodes):
        raise DataError(
            f"{folder}: expected episodes with true progress, got some without or none; sole eval "
            "quality --recorded takes recordings without"
        )
    return [e if e.env_name else replace(e, env_name=task_name(e.task)) for e in episodes]


def task_name(sentence: str) -> str:
    """What a recorded task without a name of its own is called.

    Example:
        >>> task_name("Pick up the cube, please.")
        'recorded/pick-up-the-cube-please'
    """
    return "recorded/" + re.sub(r"\W+", "-", sentence.lower()).strip("-")


def labelled_judge(config: LabelledConfig, calibration: Path | None = None) -> RewardModel:
    """The model as the settings want it read."""
    import torch

    torch.set_num_threads(config.threads)
    think = "always" if config.think else "fast"
    return load_reward_model(
        config.model,
        think=think,
        calibration=calibration,
        from_zero_weight=config.from_zero_weight,
    )


def judge(
    model: RewardModel,
    episodes: Sequence[Episode],
    batch: int,
    what: str,
    change: Callable[[Episode], Episode] | None = None,
) -> list[EpisodeScore]:
    """Score episodes without their truth, which only the oracle is shown.

    Args:
        model: The model.
        episodes: The episodes.
        batch: How many are judged together.
        what: Name of the progress bar.
        change: Made to each episode just before it is judged, so that only one batch is held twice.
    """
    scores: list[EpisodeScore] = []
    with progress_bar(f"{what} ({model.model_id})", total=len(episodes)) as advance:
        for start in range(0, len(episodes), batch):
            part = [change(e) if change else e for e in episodes[start : start + batch]]
            scores += score_blind(model, part)
            advance(len(part))
    return scores


def score_blind(model: RewardModel, episodes: Sequence[Episode]) -> list[EpisodeScore]:
    """Score one batch without the truth; the oracle alone is shown it."""
    shown = episodes if sees_truth(model) else [e.without_truth() for e in episodes]
    return model.score(shown)


def sees_truth(model: RewardModel) -> bool:
    """Whether the model is the oracle, calibrated or not: the only one that is shown the truth."""
    return isinstance(model.model if isinstance(model, Calibrated) else model, Oracle)


def task_labels(episodes: Sequence[Episode]) -> list[str]:
    """What a bootstrap draws together: each episode's task, or its sentence where none is named."""
    return [e.env_name or e.task for e in episodes]
