"""``sole synth``: simulate the planned episodes on all cores and write them as one data set.

Workers put finished episodes into a cache folder, one npz each, and the main process appends them
to the data set in the planned order. Whatever is killed, running the same command again continues.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from sole import __version__
from sole.config import Config, parse_config
from sole.data.cache import get_episode, put_episode
from sole.data.episode import Episode
from sole.data.lerobot import EpisodeWriter, save_manifest
from sole.errors import ConfigError, SimError
from sole.run import write_atomically
from sole.synth.plan import (
    Job,
    expand_tasks,
    plan_jobs,
    refuse_held_out,
    refuse_without_expert,
    tasks_of,
)


class SynthConfig(Config):
    """Simulate episodes by many kinds of policies, with true progress and facts."""

    out: Path
    """Folder of the data set (LeRobot v3)."""
    suite: str = "metaworld"
    """Suite whose training tasks are simulated: metaworld or worlds."""
    tasks: tuple[str, ...] = ()
    """Full task names (suite/name) instead of the whole training split."""
    episodes_per_task: int = Field(72, gt=0)
    """Episodes of each task."""
    from_runs: tuple[Path, ...] = ()
    """Folders of `sole rl` runs on training tasks: film their agents instead of our policies."""
    per_run: int = Field(48, gt=0)
    """Episodes of each run in --from-runs: half the most overrated ones, half at random."""
    n_frames: int = Field(31, gt=1)
    """Frames per episode, 13 a second."""
    size_px: int = Field(96, ge=32)
    """Height and width of each view."""
    seed: int = 0
    """Seeds the plan: policies, layouts, wordings, looks."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, gt=0)
    """Processes that simulate."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole synth``."""
    build(parse_config(SynthConfig, argv, "sole synth"))
    return 0


def build(config: SynthConfig) -> Path:
    """Simulate what is missing and write the data set; return its folder."""
    jobs = plan(config)
    config.out.mkdir(parents=True, exist_ok=True)
    _check_same_plan(config)
    workers = _start_workers(config, jobs)
    with EpisodeWriter(config.out, fps=80 / 6, resume=True) as writer:
        begun = writer.n_episodes
        for episode in _in_order(config, jobs, workers, begun):
            writer.add(episode)
    for worker in workers:
        worker.join()
    # Only now: a part of the data set is safe when it is finished, not when an episode is added.
    shutil.rmtree(_cached(config, 0).parent)
    _write_manifest(config, jobs)
    return config.out


def plan(config: SynthConfig) -> list[Job]:
    """Every episode of the data set, in its order.

    Raises:
        ConfigError: If there is nothing to simulate, or a task is held out.
    """
    from sole.synth.replays import plan_replays

    if config.from_runs:
        return plan_replays(config.from_runs, config.per_run, config.seed)
    names = expand_tasks(config.tasks) if config.tasks else tasks_of(config.suite)
    refuse_held_out(names)
    refuse_without_expert(names)
    return plan_jobs(names, config.episodes_per_task, config.seed)


def work(config_json: str, worker: int) -> None:
    """Simulate every job of this worker that is not in the cache yet."""
    config = SynthConfig.model_validate_json(config_json)
    for i, job in enumerate(plan(config)):
        path = _cached(config, i)
        if i % config.workers == worker and not path.exists() and i >= _written(config):
            put_episode(path, _simulate(config, job))


def _simulate(config: SynthConfig, job: Job) -> Episode:
    from sole.synth.collect import collect_episode
    from sole.synth.replays import AGENT, replay

    if job.policy == AGENT:
        return replay(job, size_px=config.size_px)
    return collect_episode(
        job.env_name,
        job.policy,
        job.seed,
        size_px=config.size_px,
        n_frames=config.n_frames,
        options=job.options,
    )


def _start_workers(config: SynthConfig, jobs: Sequence[Job]) -> list[multiprocessing.Process]:
    _cached(config, 0).parent.mkdir(exist_ok=True)
    context = multiprocessing.get_context("spawn")
    text = config.model_dump_json()
    workers = [
        context.Process(target=work, args=(text, k), daemon=True) for k in range(config.workers)
    ]
    for process in workers:
        process.start()
    return workers  # type: ignore[return-value]


def _in_order(
    config: SynthConfig,
    jobs: Sequence[Job],
    workers: Sequence[multiprocessing.Process],
    begin: int,
) -> Iterator[Episode]:
    from sole.console import progress_bar

    with progress_bar("simulating", total=len(jobs), completed=begin) as advance:
        for i in range(begin, len(jobs)):
            path = _cached(config, i)
            while not path.exists():
                if all(not w.is_alive() for w in workers) and not path.exists():
                    raise SimError(
                        f"the simulation of {jobs[i].env_name} ({jobs[i].policy}, seed "
                        f"{jobs[i].seed}) ended without an episode; its error stands above"
                    )
                time.sleep(0.02)
            yield get_episode(path)
            advance(1)


def _cached(config: SynthConfig, index: int) -> Path:
    return config.out / "cache" / f"{index:07d}.npz"


def _written(config: SynthConfig) -> int:
    path = config.out / "meta" / "info.json"
    return json.loads(path.read_text())["total_episodes"] if path.exists() else 0


def _check_same_plan(config: SynthConfig) -> None:
    """A folder continues one plan only: mixing two would make its manifest a lie."""
    path = config.out / "synth.json"
    text = config.model_dump_json(indent=2, exclude={"out", "workers"})
    if path.exists() and path.read_text() != text:
        raise ConfigError(f"{path} was written with other settings; choose another --out")
    write_atomically(path, text)


def _write_manifest(config: SynthConfig, jobs: Sequence[Job]) -> None:
    manifest = {
        "sole": __version__,
        "command": sys.argv,
        "settings": json.loads(config.model_dump_json(exclude={"out", "workers"})),
        "episodes": len(jobs),
        "tasks": dict(Counter(job.env_name for job in jobs)),
        "policies": dict(Counter(job.policy for job in jobs)),
    }
    save_manifest(config.out, manifest)
