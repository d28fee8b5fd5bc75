"""``sole synth``: simulate the planned episodes on all cores and write them as one data set.

Whoever simulates (own processes, or a Ray cluster) puts finished episodes and their examples into a
cache folder, and the main process appends them to the data set in the planned order. Whatever is
killed, running the same command again continues, and the files are those of an unbroken run.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sole import __version__
from sole.config import parse_config
from sole.console import progress_bar, stdout
from sole.data import layout
from sole.data.cache import get_episode
from sole.data.lerobot import EpisodeWriter, open_dataset, save_manifest
from sole.errors import ConfigError, DataError, SimError
from sole.run import make_folder, write_atomically
from sole.synth.config import NOT_THE_RESULT, SynthConfig
from sole.synth.plan import (
    Job,
    expand_tasks,
    plan_jobs,
    refuse_held_out,
    refuse_two_rates,
    refuse_without_expert,
    tasks_of,
)
from sole.synth.shards import EPISODES_PER_SHARD, count_examples, write_shard
from sole.synth.work import cached_episode, work

#: In a data set of what agents did: their seeds and actions, chosen when it was begun.
_ATTEMPTS = "attempts.parquet"
#: Called with the number of the episode that is needed next, until it is in the cache.
Wait = Callable[[int], None]


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole synth``."""
    config = parse_config(SynthConfig, argv, "sole synth")
    build(config)
    stdout.print(f"wrote {config.out}", markup=False, soft_wrap=True)
    return 0


def build(config: SynthConfig) -> Path:
    """Simulate what is missing and write the data set; return its folder.

    Raises:
        ConfigError: If the plan cannot be made, or the folder holds another one.
        SimError: If a simulation ends without an episode.
    """
    jobs = plan(config)
    make_folder(config.out)
    _check_same_plan(config)
    if config.from_runs:
        from sole.synth.replays import keep_attempts

        jobs = keep_attempts(config.out / _ATTEMPTS, jobs)
    cache = cached_episode(config.out, 0).parent
    cache.mkdir(exist_ok=True)
    begun = written(config.out)
    with _simulating(config, jobs, begun) as wait:
        _append(config, jobs, begun, wait)
    if _wants_examples(config):
        for number in range(_n_shards(len(jobs))):
            write_shard(config.out, number, len(jobs))
    # Only now: a part of the data set is safe when it is finished, not when an episode is added.
    shutil.rmtree(cache)
    save_manifest(config.out, _origin(config, jobs))
    return config.out


def plan(config: SynthConfig) -> list[Job]:
    """Every episode of the data set, in its order.

    Raises:
        ConfigError: If there is nothing to simulate, a task is held out or has no expert, or the
            tasks' films have different frame rates.
    """
    from sole.synth.replays import plan_replays

    if config.from_runs:
        begun = config.out / _ATTEMPTS
        sources = (begun,) if begun.exists() else config.from_runs
        replays = plan_replays(sources, config.per_run, config.seed)[: config.limit_episodes]
        refuse_two_rates([job.env_name for job in replays])
        return replays
    names = expand_tasks(config.tasks) if config.tasks else tasks_of(config.suite)
    refuse_held_out(names)
    refuse_without_expert(names)
    refuse_two_rates(names)
    jobs = plan_jobs(
        names,
        config.episodes_per_task,
        config.seed,
        arms=config.arms,
        placed=config.placed,
        policies=config.policies,
    )
    return jobs[: config.limit_episodes]


def written(out: Path) -> int:
    """Episodes that are in the data set for good."""
    path = out / layout.INFO_PATH
    if not path.exists():
        return 0
    counted = _read(path).get("total_episodes")
    if not isinstance(counted, int):
        raise DataError(f"{path}: counts no total_episodes; choose another --out")
    return counted


def _append(config: SynthConfig, jobs: Sequence[Job], begun: int, wait: Wait) -> None:
    """Add the episodes in their order; what is finished leaves the cache."""
    if begun == len(jobs):
        return
    wait(begun)
    with (
        # What a stop ends is in the cache still, and a short part would shift all later ones.
        EpisodeWriter(
            config.out, fps=_fps(config.out, begun), resume=True, keep_unfinished=False
        ) as writer,
        progress_bar("simulating", total=len(jobs), completed=begun) as advance,
    ):
        kept_from = begun
        for index in range(begun, len(jobs)):
            wait(index)
            writer.add(get_episode(cached_episode(config.out, index)))
            kept_from = _forget(config.out, kept_from)
            shard, place = divmod(index + 1, EPISODES_PER_SHARD)
            if _wants_examples(config) and place == 0:
                write_shard(config.out, shard - 1, len(jobs))
            advance(1)


def _fps(out: Path, begun: int) -> float:
    """Frames per second: those of what is written, else of the first episode; suites differ."""
    return open_dataset(out).fps if begun else get_episode(cached_episode(out, 0)).fps


def _forget(out: Path, kept_from: int) -> int:
    """Remove finished episodes from the cache: twenty thousand would be 34 GB."""
    finished = written(out)
    for index in range(kept_from, finished):
        cached_episode(out, index).unlink(missing_ok=True)
    return max(kept_from, finished)


@contextmanager
def _simulating(config: SynthConfig, jobs: Sequence[Job], begun: int) -> Iterator[Wait]:
    """Start whoever simulates; yields what waits for an episode."""
    if config.ray:
        from sole.synth.on_ray import ray_waiting

        with ray_waiting(config, jobs, begun) as wait:
            yield wait
        return
    context = multiprocessing.get_context("spawn")
    text = config.model_dump_json()
    workers = [
        context.Process(target=work, args=(text, k, plan, begun), daemon=True)
        for k in range(config.workers if begun < len(jobs) else 0)
    ]
    for process in workers:
        process.start()
    try:
        yield lambda index: _wait_for(config, jobs, workers, index)
    except BaseException:
        # What the others would still make nobody waits for.
        for process in workers:
            process.terminate()
        raise
    finally:
        for process in workers:
            process.join()


def _wait_for(config: SynthConfig, jobs: Sequence[Job], workers: Sequence[Any], index: int) -> None:
    """Return when the episode is in the cache; its worker may have put it there and ended."""
    path, worker = cached_episode(config.out, index), workers[index % len(workers)]
    while not path.exists():
        if not worker.is_alive() and not path.exists():
            raise SimError(
                f"the simulation of {jobs[index].env_name} ({jobs[index].policy}, seed "
                f"{jobs[index].seed}) ended without an episode; its error stands above"
            )
        time.sleep(0.02)


def _wants_examples(config: SynthConfig) -> bool:
    return config.examples_per_episode > 0 or config.questions_per_episode > 0


def _n_shards(n_episodes: int) -> int:
    return -(-n_episodes // EPISODES_PER_SHARD)


def _check_same_plan(config: SynthConfig) -> None:
    """A folder continues one plan only: mixing two would make its manifest a lie."""
    path = config.out / "synth.json"
    now = json.loads(config.model_dump_json(exclude=NOT_THE_RESULT))
    if path.exists():
        # A setting that came later had its default when the folder was begun.
        defaults = json.loads(
            SynthConfig.model_validate({"out": config.out}).model_dump_json(exclude=NOT_THE_RESULT)
        )
        if {**defaults, **_read(path)} != now:
            raise ConfigError(f"{path} was written with other settings; choose another --out")
        return
    write_atomically(path, json.dumps(now, indent=2))


def _read(path: Path) -> dict[str, Any]:
    try:
        return layout.read_json(path)
    except DataError as error:
        raise DataError(f"{error}; choose another --out") from error


def _origin(config: SynthConfig, jobs: Sequence[Job]) -> dict[str, Any]:
    """What the manifest says about where the data set comes from."""
    return {
        "sole": __version__,
        "command": sys.argv,
        "settings": json.loads(config.model_dump_json(exclude=NOT_THE_RESULT)),
        "episodes": len(jobs),
        "tasks": dict(Counter(job.env_name for job in jobs)),
        "policies": dict(Counter(job.policy for job in jobs)),
        "examples": count_examples(config.out),
    }
