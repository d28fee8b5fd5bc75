"""Several runs at a time, each a process of one thread; a run that fails stops no other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sole.bench.plan import finished_as, write_plan
from sole.errors import SoleError
from sole.rl.config import RlConfig
from sole.sims.registry import SUITES

_POLL_S = 0.1
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, and the last line it said."""

    run: RlConfig
    reason: str


def not_installed(runs: Sequence[RlConfig]) -> list[Failure]:
    """Those whose simulator is not on this machine, each with the command that installs it."""
    reasons = {
        name: f"{name} is not installed: {suite.install}"
        for name, suite in SUITES.items()
        if not suite.installed()
    }
    suites = [(run, run.env.partition("/")[0]) for run in runs]
    return [Failure(run, reasons[suite]) for run, suite in suites if suite in reasons]


Start = Callable[[RlConfig], "subprocess.Popen[bytes]"]


def start_worker(run: RlConfig, started_in: str | None = None) -> subprocess.Popen[bytes]:
    """Begin or continue one run; what it says goes to log.txt in its folder.

    Args:
        run: Its settings; with ``started_in``, an absolute folder.
        started_in: Where relative names are looked up; None for where we are.
    """
    write_plan(run)
    command = [sys.executable, "-m", "sole.bench.worker", str(run.run_dir)]
    environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
    # The worker ends when this pipe does, whatever ends us.
    with (run.run_dir / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=started_in,
        )


def run_all(
    runs: Sequence[RlConfig],
    jobs: int,
    *,
    start: Start = start_worker,
    advance: Callable[[float], None] = lambda n: None,
    finished: Callable[[RlConfig], None] = lambda run: None,
) -> list[Failure]:
    """Run everything in this order, ``jobs`` at a time; return what failed.

    ``finished`` is called with every other run as soon as it has ended.
    """
    waiting, running = deque(runs), list[tuple[RlConfig, subprocess.Popen[bytes]]]()
    failures: list[Failure] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.popleft()
                running.append((run, start(run)))
            time.sleep(_POLL_S)
            ended = [(run, process) for run, process in running if process.poll() is not None]
            running = [pair for pair in running if pair not in ended]
            for run, process in ended:
                _close(process)
                advance(1)
                if failure := take_ended(run, process.returncode, finished):
                    failures.append(failure)
    finally:
        for _, process in running:
            process.kill()
            process.wait()
            _close(process)
    return failures


def take_ended(
    run: RlConfig, code: int | None, finished: Callable[[RlConfig], None]
) -> Failure | None:
    """Tell ``finished`` of a run that has ended well, or say why it has not.

    What cannot be kept is a failure of that run alone; the others go on.
    """
    if code or finished_as(run) is None:
        return Failure(run, last_words(run.run_dir, code))
    try:
        finished(run)
    except SoleError as error:
        return Failure(run, str(error))
    return None


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()


def last_words(folder: Path, code: int | None) -> str:
    """The last line of a run's log, or its exit code."""
    path = folder / "log.txt"
    text = path.read_text(errors="replace") if path.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {code}"
