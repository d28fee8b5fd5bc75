"""``sole synth --ray``: the same episodes from a Ray cluster.

Tasks are sent in the planned order, a few for each CPU at a time, and their results come back to
the one process that writes. A machine of the cluster needs this package and its simulators; nothing
of the data set is read or written there.
"""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sole.data.episode import Episode
from sole.errors import ConfigError
from sole.synth.config import SynthConfig
from sole.synth.plan import Job
from sole.synth.work import cached_episode, keep, make_episode

#: Results that are made ahead of the writer, for each CPU of the cluster.
_AHEAD_PER_CPU = 4
_ADDRESS = "RAY_ADDRESS"


@contextmanager
def ray_waiting(
    config: SynthConfig, jobs: Sequence[Job], begun: int
) -> Iterator[Callable[[int], None]]:
    """Start (or join) a cluster; yields what fetches an episode into the cache.

    Raises:
        ConfigError: If Ray is not installed, or cannot be reached.
    """
    ray, ours = _start_ray(config.workers)
    try:
        yield _Fetching(ray, config, jobs, begun).fetch
    finally:
        if ours:
            ray.shutdown()


def _start_ray(workers: int) -> tuple[Any, bool]:
    """Ray, and whether it is ours to stop: a program may have started it already."""
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install 'sole-rewards[ray]'") from error
    if ray.is_initialized():
        return ray, False
    own: dict[str, Any] = {} if os.environ.get(_ADDRESS) else {"num_cpus": workers}
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = os.environ.get(_ADDRESS, "this machine")
        raise ConfigError(f"--ray: no Ray on {where} ({error})") from error
    return ray, True


class _Fetching:
    """Keeps the cluster busy a little ahead of the episode that is needed."""

    def __init__(self, ray: Any, config: SynthConfig, jobs: Sequence[Job], begun: int):
        self._ray, self._config, self._jobs = ray, config, jobs
        self._text = config.model_dump_json()
        self._make = ray.remote(num_cpus=1)(_make)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        self._most = max(cpus, 1) * _AHEAD_PER_CPU
        self._next = begun
        self._sent: deque[tuple[int, Any]] = deque()

    def fetch(self, index: int) -> None:
        """Return when episode ``index`` is in the cache."""
        self._send()
        while self._sent and self._sent[0][0] <= index:
            number, reference = self._sent.popleft()
            keep(self._config, number, *self._ray.get(reference))
            self._send()

    def _send(self) -> None:
        while self._next < len(self._jobs) and len(self._sent) < self._most:
            number, self._next = self._next, self._next + 1
            if not cached_episode(self._config.out, number).exists():
                job = self._jobs[number]
                self._sent.append((number, self._make.remote(self._text, number, job)))


def _make(config_json: str, index: int, job: Job) -> tuple[Episode, Any]:
    return make_episode(SynthConfig.model_validate_json(config_json), index, job)
