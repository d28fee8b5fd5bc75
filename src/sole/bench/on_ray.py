"""Runs of a sweep over Ray: on the machines of a cluster, or the cores of this one.

A Ray task only starts, and waits for, the same worker process as the local pool, so a run is
resumed, finished and locked in the same way. On a cluster the run folders must lie where every
machine sees them under the same name, and so must the folder where the sweep is started.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sole.bench.pool import Failure, start_worker, take_ended
from sole.errors import ConfigError
from sole.rl.config import RlConfig

_ADDRESS = "RAY_ADDRESS"


def run_all_on_ray(
    runs: Sequence[RlConfig],
    jobs: int,
    *,
    advance: Callable[[float], None] = lambda n: None,
    finished: Callable[[RlConfig], None] = lambda run: None,
) -> list[Failure]:
    """Run everything, each run on one CPU of the cluster; return what failed.

    Args:
        runs: In this order, as CPUs become free.
        jobs: CPUs of a Ray of our own; the cluster that RAY_ADDRESS names has its own number.
        advance: Told of every run that ended.
        finished: Called with every run that did not fail, as soon as it has ended.

    Raises:
        ConfigError: If Ray is not installed, or cannot be reached.
    """
    ray = _start_ray(jobs)
    try:
        work = ray.remote(num_cpus=1, max_retries=0)(_work)
        waiting = {work.remote(_everywhere(run), str(Path.cwd())): run for run in runs}
        failures = []
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            run = waiting.pop(ended)
            code = _code(ray, ended)
            advance(1)
            if failure := take_ended(run, code, finished):
                failures.append(failure)
        return failures
    finally:
        ray.shutdown()


def _everywhere(run: RlConfig) -> str:
    """A run's settings with a folder that does not depend on where a process was started."""
    return run.model_copy(update={"run_dir": run.run_dir.resolve()}).model_dump_json()


def _start_ray(jobs: int) -> Any:
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError("--ray needs Ray: pip install 'sole-rewards[ray]'") from error
    own: dict[str, Any] = {} if os.environ.get(_ADDRESS) else {"num_cpus": jobs}
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = os.environ.get(_ADDRESS, "this machine")
        raise ConfigError(f"--ray: no Ray on {where} ({error})") from error
    return ray


def _work(plan: str, started_in: str) -> int:
    """One run on whatever machine this is; its exit code.

    Settings name weights, calibrations and ``package.module:function`` from where the sweep was
    started, so the run is started there too and not where Ray was.
    """
    run = RlConfig.model_validate_json(plan)
    if not Path(started_in).is_dir():
        run.run_dir.mkdir(parents=True, exist_ok=True)
        reason = f"{socket.gethostname()} has no folder {started_in}, where the sweep was started"
        (run.run_dir / "log.txt").write_text(f"{reason}\n")
        return 1
    process = start_worker(run, started_in)  # ends when we do: its standard input is our pipe
    try:
        return process.wait()
    finally:
        process.kill()
        if process.stdin:
            process.stdin.close()


def _code(ray: Any, ended: Any) -> int:
    """The exit code of a task that ended; 1 where its machine was lost."""
    try:
        return int(ray.get(ended))
    except ray.exceptions.RayError:
        return 1
