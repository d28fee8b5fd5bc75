"""``sole check labels``: is progress 100 exactly where a suite's own success holds?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from sole.check.output import CheckConfig, Measured, counted
from sole.config import parse_config
from sole.console import progress_bar
from sole.data.episode import Truth
from sole.errors import ConfigError
from sole.sims.registry import SUITES, split_of, task_names
from sole.synth.collect import close_simulators, collect_truth
from sole.synth.plan import has_expert, plan_jobs

#: A fall of an expert's progress by less than this is a wobble, as in `sole data inspect`.
_WOBBLE_POINTS = 2.0


class LabelsConfig(CheckConfig):
    """Compare progress with success in episodes of every suite that is installed."""

    suite: tuple[str, ...] = ()
    """Suites; all that are installed by default."""
    episodes: int = Field(200, gt=0)
    """Episodes of each suite, spread over its tasks and kinds of policies."""
    frames: int = Field(26, gt=1)
    """Moments of an episode; the longest tasks need 70."""
    held_out: bool = False
    """Check the tasks that are held out as well; nothing of their episodes is kept. Where a task
    has no expert, actions are random."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check labels``."""
    return counted("labels", parse_config(LabelsConfig, argv, "sole check labels"), check, argv)


def check(config: LabelsConfig) -> tuple[list[Measured], dict[str, Any]]:
    """Simulate and compare, suite by suite.

    Raises:
        ConfigError: If a suite is not installed or has no tasks to simulate.
    """
    chosen = config.suite or tuple(name for name in SUITES if _can_be_made(name, config))
    totals: Counter[str] = Counter()
    tasks: set[str] = set()
    about: dict[str, Any] = {}
    for suite in chosen:
        if not _can_be_made(suite, config):
            raise ConfigError(f"suite {suite!r}: nothing to simulate here; sole sims list says why")
        found = _of_suite(suite, config, tasks)
        about[suite] = dict(found)
        totals += found
    return [
        Measured("labels.frames_right", totals["frames_right"], totals["frames"]),
        Measured("labels.episodes_right", totals["episodes_right"], totals["episodes"]),
        Measured("labels.expert_steps_down", totals["steps_down"], totals["expert_steps"]),
        Measured("labels.expert_success", totals["experts_done"], totals["experts"]),
        Measured("suites.tasks_checked", len(tasks), unit="tasks"),
    ], about


def _can_be_made(suite: str, config: LabelsConfig) -> bool:
    known = SUITES.get(suite)
    return known is not None and known.installed() and bool(_tasks(suite, config))


def _tasks(suite: str, config: LabelsConfig) -> tuple[str, ...]:
    mine = [name for name in task_names() if name.startswith(suite + "/")]
    if config.held_out:
        return tuple(mine)
    return tuple(name for name in mine if split_of(name) == "train" and has_expert(name))


def _of_suite(suite: str, config: LabelsConfig, tasks: set[str]) -> Counter[str]:
    names = _tasks(suite, config)
    order = np.random.default_rng(config.seed).permutation(len(names))
    names = tuple(names[int(k)] for k in order)
    jobs = plan_jobs(names, -(-config.episodes // len(names)), config.seed)[: config.episodes]
    # One simulator at a time: by task, whatever the order of the plan.
    jobs = sorted(jobs, key=lambda job: job.env_name)
    found: Counter[str] = Counter()
    last = ""
    with progress_bar(suite, total=len(jobs)) as advance:
        for job in jobs:
            if job.env_name != last:
                close_simulators()
            last = job.env_name
            policy = job.policy if has_expert(job.env_name) else "random"
            truth = collect_truth(
                job.env_name, policy, job.seed, n_frames=config.frames, options=job.options
            )
            tasks.add(job.env_name)
            found += judged(truth, expert=policy == "expert")
            advance(1)
    return found


def judged(truth: Truth, *, expert: bool) -> Counter[str]:
    """Count the frames of an episode that keep the rule, and an expert's steps down.

    Example:
        >>> truth = Truth(np.float32([0, 50, 40, 100]), np.array([False, False, False, True]))
        >>> found = judged(truth, expert=True)
        >>> found["frames_right"], found["steps_down"], found["experts_done"]
        (4, 1, 1)
        >>> found["success_frames"]
        1
    """
    progress, success = truth.true_progress, truth.true_success
    right = ((progress == 100.0) == success) & (np.abs(progress) <= 100.0)
    whole = bool(right.all()) and abs(float(progress[0])) < 1e-3
    counts = Counter(frames=len(progress), frames_right=int(right.sum()))
    counts.update(success_frames=int(success.sum()), episodes=1, episodes_right=int(whole))
    if expert:
        down = int((np.diff(progress) < -_WOBBLE_POINTS).sum())
        counts.update(experts=1, experts_done=int(truth.any_success))
        counts.update(expert_steps=len(progress) - 1, steps_down=down)
    return counts
