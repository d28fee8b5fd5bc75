"""What a served reward model does under load: ``python -m sole.evals.serving``.

Starts ``sole serve`` in a process of its own, asks it with one client and then with many at once,
and compares. Every client runs sessions of the clip that ships with the package, frame by frame;
the client itself checks that each answer is that of the frame it sent.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field
from rich.table import Table

from sole import samples
from sole.client import AsyncRemoteRewardModel
from sole.config import Config, parse_config
from sole.console import progress_bar, run_module, stderr, stdout
from sole.data.readers import read_episode
from sole.errors import ServerError, SoleError
from sole.evals.figures import Figure, record_figures
from sole.rewarders.catalogue import CATALOGUE

_STOP_S = 60
_ADDRESS = re.compile(r"http://\S+")
Moment = dict[str, np.ndarray]


class LoadConfig(Config):
    """Measure sole serve with many clients at once against one client alone."""

    model: str = "nano"
    """What is served: nano or the folder of a checkpoint."""
    requests: int = Field(2000, gt=9)
    """Judged steps of all clients together."""
    clients: int = Field(32, gt=0)
    """Clients that ask at the same time."""
    memory_requests: int = Field(8000, ge=0)
    """Further steps, after which the server's memory must not have grown."""
    sessions: int = Field(8, gt=0)
    """Clients of a second, smaller measurement: as many robots as one might have."""
    think: bool = True
    """Ask for reasoning; --no-think asks for numbers only."""
    side_px: int = Field(96, ge=16)
    """Longest side of the pictures that are sent."""
    figures: Path | None = None
    """Record the numbers in this figures file, as serve.*."""


@dataclass
class Measured:
    """What a number of clients found.

    Attributes:
        latencies_s: Of every answered step, retries included.
        seconds: From the first request to the last answer.
        errors: What was answered with anything but a score; a full queue (429) is retried.
        n_retries: Requests that were turned away, or lost, and made again.
        rss_mb: Memory of the server by the number of answered steps.
    """

    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    n_retries: int = 0
    rss_mb: dict[int, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Answered steps per second."""
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Latency that this share of the steps does not exceed."""
        if not self.latencies_s:
            return float("nan")
        return 1000 * float(np.percentile(self.latencies_s, percent))


def main(argv: Sequence[str]) -> int:
    """Measure, print, record; 1 if any request failed."""
    config = parse_config(LoadConfig, argv, "python -m sole.evals.serving")
    moments = _moments(config.side_px)
    n_alone = max(config.requests // 10, 5)
    with serve(config.model) as (url, pid):
        _run(url, pid, moments, config.think, clients=2, requests=10, what="warming up")
        alone = _run(url, pid, moments, config.think, clients=1, requests=n_alone, what="alone")
        many = _run(url, pid, moments, config.think, config.clients, config.requests, "together")
        robots = _run(url, pid, moments, config.think, config.sessions, 2 * n_alone, "robots")
        longer = Measured()
        if config.memory_requests:
            # Without words: it is the same memory, in a fraction of the time.
            longer = _run(url, pid, moments, False, config.clients, config.memory_requests, "on")
    figures = _figures(alone, many, robots, longer)
    _show(config, figures, many)
    if config.figures:
        record_figures(config.figures, figures, " ".join(["python -m sole.evals.serving", *argv]))
    return int(any(found.errors for found in (alone, many, robots, longer)))


@contextmanager
def serve(model: str, port: int = 0) -> Iterator[tuple[str, int]]:
    """Run ``sole serve`` on this machine, on any free port; yield its address and process id.

    It may be killed meanwhile.

    Args:
        model: What is served.
        port: 0 for any.

    Raises:
        ServerError: If it does not start.
    """
    command = [sys.executable, "-m", "sole.cli", "serve", "--model", model, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    show: threading.Thread | None = None
    try:
        line = process.stderr.readline()
        found = _ADDRESS.search(line)
        if found is None:
            raise ServerError(f"sole serve does not start: {line.strip() or 'no output'}")
        # What it says later is shown; unread it would fill the pipe, and then stop the server.
        show = threading.Thread(target=shutil.copyfileobj, args=(process.stderr, sys.stderr))
        show.start()
        yield found.group(), process.pid
    finally:
        process.terminate()
        process.wait(_STOP_S)
        if show is not None:
            show.join()
        process.stderr.close()


def _run(
    url: str,
    pid: int,
    moments: Sequence[Moment],
    think: bool,
    clients: int,
    requests: int,
    what: str,
) -> Measured:
    with progress_bar(what, total=requests) as advance:
        return asyncio.run(_Load(url, pid, moments, requests, advance).run(clients, think=think))


class _Load:
    """One measurement: clients that take their turns from a common number of requests."""

    def __init__(self, url, pid, moments, requests, advance):  # noqa: ANN001
        self._url, self._pid, self._moments, self._advance = url, pid, moments, advance
        self._requests, self._begun = requests, 0
        self.found = Measured()

    async def run(self, clients: int, *, think: bool) -> Measured:
        models = [await AsyncRemoteRewardModel.connect(self._url) for _ in range(clients)]
        began = time.perf_counter()
        chosen = [model.thinking() if think else model.fast() for model in models]
        await asyncio.gather(*(self._client(model) for model in chosen))
        self.found.seconds = time.perf_counter() - began
        self.found.n_retries = sum(model.n_retries for model in models)
        for model in models:
            await model.close()
        return self.found

    async def _client(self, model: AsyncRemoteRewardModel) -> None:
        while self._begun < self._requests:
            try:
                await self._episode(model)
            except SoleError as error:
                self.found.errors.append(str(error))
                self._begun += 1  # even a server that is gone comes to an end

    async def _episode(self, model: AsyncRemoteRewardModel) -> None:
        session = await model.start("open the drawer")
        # The first frame is 0 by definition: it costs no judgement, so it is not counted as one.
        await session.step(self._moments[0])
        for moment in self._moments[1:]:
            if self._begun >= self._requests:
                break
            self._begun += 1
            began = time.perf_counter()
            await session.step(moment)
            self.found.latencies_s.append(time.perf_counter() - began)
            self._note()
        await session.close()

    def _note(self) -> None:
        self._advance(1)
        n_answered = len(self.found.latencies_s)
        if n_answered % max(self._requests // 10, 1) == 0:
            self.found.rss_mb[n_answered] = _rss_mb(self._pid)


def _moments(side_px: int) -> list[Moment]:
    episode = read_episode("open the drawer", both=samples.path(), max_side_px=side_px)
    return [{n: v[t] for n, v in episode.views.items()} for t in range(min(episode.n_frames, 25))]


def _rss_mb(pid: int) -> float:
    """Resident memory of a process, or NaN where the system does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return float("nan")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found.group(1)) / 1000 if found else float("nan")


def _figures(alone: Measured, many: Measured, robots: Measured, longer: Measured) -> list[Figure]:
    # The first tenths are left out: buffers of the largest batches are allocated once.
    rss = [*many.rss_mb.values(), *longer.rss_mb.values()]
    settled = rss[min(2, len(rss) - 1)] if rss else float("nan")
    growth = rss[-1] - settled if rss else float("nan")
    n_errors = sum(len(found.errors) for found in (alone, many, robots, longer))
    n_answered = sum(len(found.latencies_s) for found in (alone, many, robots, longer))
    gain = many.per_second / alone.per_second
    return [
        Figure("serve.requests", float(len(many.latencies_s)), "requests"),
        Figure("serve.requests_in_all", float(n_answered), "requests"),
        Figure("serve.errors", float(n_errors), "requests"),
        Figure("serve.p50_ms", many.percentile_ms(50), "ms"),
        Figure("serve.p95_ms", many.percentile_ms(95), "ms"),
        Figure("serve.batching_gain", gain, "times one by one"),
        Figure("serve.rss_growth_mb", growth, "MB"),
        Figure("serve.session_p50_ms", robots.percentile_ms(50), "ms"),
        Figure("rewarders.count", float(len(CATALOGUE)), "reward models"),
    ]


def _show(config: LoadConfig, figures: Sequence[Figure], many: Measured) -> None:
    how = "with reasoning" if config.think else "numbers only"
    table = Table("what", "value", "unit", title=f"{config.clients} clients, {how}")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.4g}", figure.unit)
    table.add_row("throughput", f"{many.per_second:.4g}", "steps/s")
    table.add_row("made again", str(many.n_retries), "requests")
    stdout.print(table)
    for error in many.errors[:5]:
        stderr.print(f"error: {error}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_module(main, "serving")
