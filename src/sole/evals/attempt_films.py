"""Films of what the agents of `sole rl` did, made again from their seeds and actions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sole.console import progress_bar
from sole.data.attempt_table import TaskAttempt, read_attempt_table
from sole.data.attempts import Attempt, read_attempts
from sole.data.cache import episode_made_once
from sole.data.episode import Episode
from sole.errors import ConfigError, SimError
from sole.run import make_folder
from sole.synth.replays import SAME_WITHIN_POINTS, film_again, run_settings

_SIZE_PX = 96


def chosen_attempts(sources: Sequence[Path], per_run: int) -> list[TaskAttempt]:
    """``per_run`` attempts of every run, evenly spaced from its first to its last.

    Args:
        sources: Folders of runs, folders with runs in them, or files of attempts
            (:mod:`sole.data.attempt_table`), of which all are taken.
        per_run: Attempts of a run; all of them where it has fewer.

    Raises:
        ConfigError: If a source is neither.
        DataError: If a run kept no attempts, or a file is damaged.
    """
    chosen: list[TaskAttempt] = []
    for source in sources:
        if source.is_file():
            chosen += read_attempt_table(source)
            continue
        for run in _runs_in(source):
            env_name, task = run_settings(run)
            found = _evenly(read_attempts(run / "attempts"), per_run)
            chosen += [TaskAttempt(env_name, task, _name(run, source), a) for a in found]
    return chosen


def film(tried: Sequence[TaskAttempt], cache: Path) -> list[Episode]:
    """A frame for every decision of every attempt, kept in ``cache``.

    Raises:
        ConfigError: If the cache cannot be made.
        DataError: If a cached film is damaged.
        SimError: If an attempt does not come out again on this machine.
    """
    make_folder(cache)
    films = []
    with progress_bar("filming", total=len(tried)) as advance:
        for one in tried:
            films.append(episode_made_once(cache / f"{_digest(one)}.npz", partial(_film, one)))
            advance(1)
    return films


def _runs_in(source: Path) -> list[Path]:
    found = sorted(folder.parent for folder in source.glob("**/attempts") if folder.is_dir())
    if not found:
        raise ConfigError(
            f"{source}: expected a folder of `sole rl` or `sole bench rl`, or a file of attempts"
        )
    return found


def _evenly(attempts: list[Attempt], count: int) -> list[Attempt]:
    """Some of them, the first and the last among them.

    Example:
        >>> _evenly([0, 1, 2, 3, 4], 3)
        [0, 2, 4]
    """
    places = np.linspace(0, len(attempts) - 1, min(count, len(attempts)))
    return [attempts[int(place)] for place in places]


def _name(run: Path, source: Path) -> str:
    return source.name if run == source else str(run.relative_to(source))


def _film(tried: TaskAttempt) -> Episode:
    episode, off = film_again(tried, size_px=_SIZE_PX)
    if off > SAME_WITHIN_POINTS:
        raise SimError(
            f"{tried.run}: episode {tried.attempt.episode} of {tried.env_name} does not come out "
            f"again on this machine, by {off:.0f} points; take runs that were made here"
        )
    return episode


def _digest(tried: TaskAttempt) -> str:
    """A name for the film: what was done, where, under which sentence."""
    attempt = tried.attempt
    about = f"{tried.env_name} {tried.task} {attempt.column} {attempt.seed}"
    digest = hashlib.sha256(about.encode() + np.ascontiguousarray(attempt.actions).tobytes())
    return f"agent-{tried.env_name.replace('/', '-')}-{digest.hexdigest()[:16]}"
