"""Which episodes a data set consists of: decided before the first one is simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sole.errors import ConfigError
from sole.sims.metaworld_tasks import TASKS
from sole.sims.registry import split_of
from sole.synth.policies import policies_of


@dataclass(frozen=True)
class Job:
    """One episode to be simulated; equal jobs give equal episodes."""

    env_name: str
    policy: str
    seed: int
    options: dict[str, Any] = field(default_factory=dict)


def refuse_held_out(env_names: Sequence[str]) -> None:
    """Raise ConfigError if a dev or test task would enter training data (design section 10)."""
    held_out = [name for name in env_names if split_of(name) != "train"]
    if held_out:
        raise ConfigError(
            f"these tasks are held out and must not be trained on: {', '.join(held_out)}; "
            "remove them from --tasks"
        )


def plan_jobs(env_names: Sequence[str], episodes_per_task: int, seed: int) -> list[Job]:
    """Draw policies, layouts, wordings and looks; task-major, so that any prefix is balanced.

    Half of the episodes keep the suite's stock look; the others get redrawn colours and a slightly
    moved camera. The kinds of policy follow their shares in
    :func:`~sole.synth.policies.policies_of`.
    """
    rng = np.random.default_rng(seed)
    jobs = []
    for round_number in range(episodes_per_task):
        for env_name in env_names:
            suite, _, name = env_name.partition("/")
            kinds = policies_of(suite)
            shares = np.array([share for _, share in kinds.values()])
            kind = str(rng.choice(list(kinds), p=shares / shares.sum()))
            episode_seed = int(rng.integers(1, 2**31))
            options: dict[str, Any] = {}
            if suite == "metaworld":
                wordings = (TASKS[name].sentence, *TASKS[name].paraphrases)
                options["task"] = str(rng.choice(wordings))
                if round_number % 2:
                    options["look"] = int(rng.integers(2**31))
            jobs.append(Job(env_name, kind, episode_seed, options))
    return jobs
