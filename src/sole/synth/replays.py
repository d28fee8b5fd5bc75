"""Films what RL agents did on training tasks: hard negatives for the next training.

An agent maximises what the model says, so its episodes gather where the model is wrong. They are
simulated again from their seeds and actions, with the truth beside them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sole.data.attempt_table import (
    TaskAttempt,
    read_attempt_row,
    read_attempt_table,
    write_attempt_table,
)
from sole.data.attempts import Attempt, read_attempts
from sole.data.episode import Episode
from sole.errors import ConfigError, DataError, SimError
from sole.sims.base import TaskEnv
from sole.sims.registry import make_env
from sole.synth.collect import pack_episode
from sole.synth.plan import Job, refuse_held_out

#: Kind of policy of these episodes in a data set.
AGENT = "agent"
#: Films whose truth differs by more at any moment are of another episode.
SAME_WITHIN_POINTS = 0.5
_MADE: dict[tuple[str, int, int], TaskEnv] = {}


def plan_replays(sources: Sequence[Path], per_run: int, seed: int) -> list[Job]:
    """Choose ``per_run`` episodes of each run: half the most overrated ones, half at random.

    The random half keeps what the model judged rightly, or training would learn that agents fail.
    Runs that the truth paid (oracle, env) overrate nothing, so all of theirs are drawn at random:
    agents that succeed in other ways than an expert does, hard positives.
    A source that is a file (:mod:`sole.data.attempt_table`) holds chosen ones: all are taken.

    Raises:
        ConfigError: If a source is of a held-out task or neither a run nor a file.
        DataError: If a run kept no attempts, or a file is damaged.
    """
    rng = np.random.default_rng(seed)
    jobs = []
    for source in sources:
        jobs += _jobs_of_file(source) if source.is_file() else _jobs_of_run(source, per_run, rng)
    refuse_held_out(list(dict.fromkeys(job.env_name for job in jobs)))
    return jobs


def _jobs_of_file(path: Path) -> list[Job]:
    return [_job(path, number, tried) for number, tried in enumerate(read_attempt_table(path))]


def _jobs_of_run(run: Path, per_run: int, rng: np.random.Generator) -> list[Job]:
    env_name, task = run_settings(run)
    refuse_held_out([env_name])
    attempts = read_attempts(run / "attempts")
    count = min(per_run, len(attempts))
    n_worst = 0 if _paid_by_truth(run) else count // 2
    chosen = _choose(attempts, n_worst, count, rng)
    return [_job(run, a.episode, TaskAttempt(env_name, task, run.name, a)) for a in chosen]


def _job(source: Path, number: int, tried: TaskAttempt) -> Job:
    options = {"source": str(source), "number": number}
    if tried.task:
        options["task"] = tried.task
    return Job(tried.env_name, AGENT, tried.attempt.seed, options)


def keep_attempts(path: Path, jobs: Sequence[Job]) -> list[Job]:
    """Write the attempts behind ``jobs`` into one file, unless it is there; the jobs of that file.

    From then on the runs are not needed, and what else they do changes the data set no more.

    Raises:
        DataError: If a run has lost its attempts, or the file cannot be written.
    """
    if not path.exists():
        write_attempt_table(path, [_tried(job) for job in jobs])
    return _jobs_of_file(path)


def _tried(job: Job) -> TaskAttempt:
    source, number = Path(job.options["source"]), job.options["number"]
    if source.is_file():
        return read_attempt_row(source, number)
    found = [a for a in read_attempts(source / "attempts") if a.episode == number]
    if not found:
        raise DataError(f"{source}: has lost its attempt {number}")
    return TaskAttempt(job.env_name, job.options.get("task"), source.name, found[0])


def replay(job: Job, *, size_px: int, keep_divergent: bool = False) -> Episode:
    """Simulate one attempt again, a frame per decision.

    Args:
        job: Of :func:`plan_replays`.
        size_px: Height and width of the views.
        keep_divergent: Take the episode as it comes out here, with its truth.

    Raises:
        SimError: If it is not the episode that the agent had, unless that is allowed.
    """
    tried = _tried(job)
    episode, off = film_again(tried, size_px=size_px)
    if off > SAME_WITHIN_POINTS and not keep_divergent:
        raise SimError(
            f"{job.options['source']}: episode {tried.attempt.episode} of {tried.run} "
            f"({tried.env_name}) does not come out again on this machine, by {off:.0f} points; "
            "make the run here, leave it out of --from-runs, or take such episodes as they come "
            "(--keep-divergent)"
        )
    return episode


def film_again(tried: TaskAttempt, *, size_px: int) -> tuple[Episode, float]:
    """The film of an attempt, and by how many points its truth is another one than it was."""
    attempt = tried.attempt
    env = _environment(tried.env_name, attempt.column, size_px)
    env.reset(seed=attempt.seed, options={"task": tried.task} if tried.task else None)
    views, moments, proprio = [env.views()], [env.truth()], [env.proprio()]
    for action in attempt.actions:
        env.step(action)
        views.append(env.views())
        moments.append(env.truth())
        proprio.append(env.proprio())
    true_progress = np.array([progress for progress, _, _ in moments])
    episode = pack_episode(
        env, views, moments, list(attempt.actions), proprio,
        env_name=tried.env_name, policy=AGENT, seed=attempt.seed, fps=env.control_hz,
    )  # fmt: skip
    return episode, float(np.abs(true_progress - attempt.true_progress).max())


def _choose(
    attempts: list[Attempt], n_worst: int, count: int, rng: np.random.Generator
) -> list[Attempt]:
    by_error = sorted(attempts, key=lambda a: (-a.overrated, a.episode))
    worst, rest = by_error[:n_worst], by_error[n_worst:]
    drawn = rng.choice(len(rest), size=count - len(worst), replace=False)
    return [*worst, *(rest[int(k)] for k in drawn)]


def run_settings(run: Path) -> tuple[str, str | None]:
    """The full name of a run's task, and the wording that replaced its sentence.

    Raises:
        ConfigError: If it is no folder of a run.
    """
    config = _config(run)
    try:
        return config["env"], config["task"]
    except KeyError as error:
        raise ConfigError(f"{run}: expected the folder of a `sole rl` run ({error})") from error


def _paid_by_truth(run: Path) -> bool:
    return _config(run).get("reward") in ("oracle", "env")


def _config(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"{run}: expected the folder of a `sole rl` run ({error})") from error


def _environment(env_name: str, column: int, size_px: int) -> TaskEnv:
    """The simulator as the run had it: a procedural one was made with its column as seed."""
    is_world = env_name.startswith("worlds/")
    key = (env_name, column if is_world else 0, size_px)
    if key not in _MADE:
        seed = {"seed": column} if is_world else {}
        _MADE[key] = make_env(env_name, size_px=size_px, **seed)
    return _MADE[key]
