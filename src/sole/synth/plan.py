"""Which episodes a data set consists of: decided before the first one is simulated."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sole.errors import ConfigError
from sole.sims.metaworld_tasks import TASKS
from sole.sims.registry import SUITES, split_of, task_names
from sole.synth.policies import named_policies, policies_of


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


def refuse_without_expert(env_names: Sequence[str]) -> None:
    """Raise ConfigError before anything is simulated: every kind of policy is made of the expert.

    Tasks without one (see ``sole sims list --json``) can still be filmed from an RL agent's runs.
    """
    without = [name for name in env_names if not has_expert(name)]
    if without:
        raise ConfigError(
            f"these tasks have no scripted expert: {', '.join(without)}; leave them out of --tasks "
            "('suite/*' does), or train agents on them and use --from-runs"
        )


def refuse_two_rates(env_names: Sequence[str]) -> None:
    """Raise ConfigError if suites' films differ in frames per second: a data set has one rate."""
    by_rate: dict[float, set[str]] = {}
    for suite in {name.partition("/")[0] for name in env_names}:
        by_rate.setdefault(SUITES[suite].steps_hz, set()).add(suite)
    if len(by_rate) > 1:
        kinds = " and ".join(sorted(", ".join(sorted(suites)) for suites in by_rate.values()))
        raise ConfigError(
            f"these suites' films differ in frames per second: {kinds}; make a data set of each "
            "kind, with its own --out"
        )


def tasks_of(suite: str) -> tuple[str, ...]:
    """The training tasks of a suite; of ``worlds`` the first 39, so that old commands repeat.

    Raises:
        ConfigError: If there are none.
    """
    names = tuple(name for name in task_names("train") if name.startswith(suite + "/"))
    if suite == "worlds":
        from sole.sims.worlds import FIRST_TASKS

        names = tuple(name for name in names if name.partition("/")[2] in FIRST_TASKS)
    if not names:
        raise ConfigError(f"suite {suite!r} has no training tasks; sole sims list shows them")
    return names


def expand_tasks(patterns: Sequence[str]) -> tuple[str, ...]:
    """Full names, with ``metaworld/*`` or ``worlds/*-to-bin-*`` standing for training tasks.

    A pattern stands for tasks that may be trained on and have an expert; a plain name stays as it
    is, and is judged by :func:`refuse_held_out` and :func:`refuse_without_expert`.

    Raises:
        ConfigError: If a pattern matches nothing.

    Example:
        >>> expand_tasks(["metaworld/push-*", "metaworld/reach"])
        ('metaworld/push-back', 'metaworld/push-wall', 'metaworld/reach')
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        found = [pattern]
        if set(pattern) & set("*?["):
            found = [n for n in fnmatch.filter(task_names("train"), pattern) if has_expert(n)]
        if not found:
            raise ConfigError(f"--tasks {pattern!r}: no training task is called so")
        names |= dict.fromkeys(found)
    return tuple(names)


def has_expert(full_name: str) -> bool:
    """Whether a task's suite has a scripted expert for it."""
    suite, _, name = full_name.partition("/")
    known = SUITES[suite].tasks.get(name) if suite in SUITES else None
    return getattr(known, "expert", True)


def plan_jobs(
    env_names: Sequence[str],
    episodes_per_task: int,
    seed: int,
    *,
    arms: Sequence[str] = (),
    placed: bool = False,
    policies: Sequence[str] = (),
) -> list[Job]:
    """Draw policies, layouts, wordings and looks; task-major, so that any prefix is balanced.

    Half of the episodes keep the suite's stock look; the others get redrawn colours and a slightly
    moved camera. The kinds of policy follow their shares in
    :func:`~sole.synth.policies.policies_of`, or are those of the chosen ``policies``. ``arms`` and
    ``placed`` are for ``worlds`` (see :meth:`sole.sims.worlds.WorldEnv.reset`) and change nothing
    else in the plan.
    """
    rng, arm_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    jobs = []
    for round_number in range(episodes_per_task):
        for env_name in env_names:
            suite, _, name = env_name.partition("/")
            kinds = named_policies(policies, suite) if policies else policies_of(suite)
            shares = np.array([share for _, share in kinds.values()])
            kind = str(rng.choice(list(kinds), p=shares / shares.sum()))
            episode_seed = int(rng.integers(1, 2**31))
            options: dict[str, Any] = {}
            if suite == "metaworld":
                wordings = (TASKS[name].sentence, *TASKS[name].paraphrases)
                options["task"] = str(rng.choice(wordings))
                if round_number % 2:
                    options["look"] = int(rng.integers(2**31))
            if suite == "worlds" and arms:
                options["arm"] = str(arm_rng.choice(arms))
            if suite == "worlds" and placed:
                options["placed"] = True
            jobs.append(Job(env_name, kind, episode_seed, options))
    return jobs
