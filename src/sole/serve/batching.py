"""Work of many clients, judged together: one thread owns the model, the event loop never waits.

Requests put jobs in a queue. Whenever the thread is free, the oldest job decides what is done next,
and all waiting jobs of its kind go with it: steps of other sessions, or other episodes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ModelError
from sole.rewarders.base import RewardModel, StepsTogether
from sole.rewarders.calibrated import Calibrated
from sole.serve.sessions import OpenSession

_WAIT_SHARE = 0.15
_LOOK_S = 0.002
_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class Job(ABC):
    """Something to judge; ``done`` holds the answer once there is one.

    Attributes:
        model: Who judges.
        done: Resolved on the event loop.
        harmless: Errors of a batch after which each of its jobs may be judged again, alone.
    """

    harmless: ClassVar[tuple[type[Exception], ...]]
    model: RewardModel
    done: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()

    @property
    @abstractmethod
    def weight(self) -> int:
        """How much of a batch it fills."""

    @property
    @abstractmethod
    def alone(self) -> Hashable:
        """No two jobs with the same value go into one batch."""

    @property
    def together(self) -> bool:
        """Whether the model judges a batch at once; if not, each job succeeds or fails alone."""
        return True

    @classmethod
    @abstractmethod
    def judge(cls, model: RewardModel, jobs: Sequence[Any]) -> list[Any]:
        """Answer a batch; runs on the model's thread."""


@dataclass(eq=False)
class StepJob(Job):
    """The next moment of one session; its answer is the frame's index and score."""

    # After a ValueError no session has moved, as models that step together promise. After anything
    # else some may have: judged again, they would see their frame twice.
    harmless: ClassVar[tuple[type[Exception], ...]] = (ValueError,)
    opened: OpenSession
    views: Mapping[str, np.ndarray]

    @property
    def weight(self) -> int:
        """One moment."""
        return 1

    @property
    def alone(self) -> Hashable:
        """A session's frames have an order, so each waits for the one before."""
        return self.opened

    @property
    def together(self) -> bool:
        """Not where sessions are stepped one after the other: some would have moved, some not."""
        # A calibrated model has the method whatever is inside.
        inner = self.model.model if isinstance(self.model, Calibrated) else self.model
        return isinstance(inner, StepsTogether)

    @classmethod
    def judge(cls, model: RewardModel, jobs: Sequence[StepJob]) -> list[tuple[int, StepScore]]:
        """Judge one moment of each session; a session counts only what was judged."""
        sessions = [job.opened.session for job in jobs]
        if isinstance(model, StepsTogether):
            scores = model.step_sessions(sessions, [job.views for job in jobs])
        else:
            scores = [s.step(job.views) for s, job in zip(sessions, jobs, strict=True)]
        return [(job.opened.count(), score) for job, score in zip(jobs, scores, strict=True)]


@dataclass(eq=False)
class ScoreJob(Job):
    """Whole episodes of one request."""

    harmless: ClassVar[tuple[type[Exception], ...]] = (ValueError, ModelError)
    episodes: Sequence[Episode]

    @property
    def weight(self) -> int:
        """The number of episodes."""
        return len(self.episodes)

    @property
    def alone(self) -> Hashable:
        """Any two requests may be scored together."""
        return id(self)

    @classmethod
    def judge(cls, model: RewardModel, jobs: Sequence[ScoreJob]) -> list[list[EpisodeScore]]:
        """Score all episodes of all requests in one batch."""
        scores = iter(model.score([episode for job in jobs for episode in job.episodes]))
        return [[next(scores) for _ in job.episodes] for job in jobs]


@dataclass
class BatchCounts:
    """What the batcher has done so far."""

    batches: int = 0
    jobs: int = 0
    failures: int = 0


class Batcher:
    """The queue, and the one thread that owns the model.

    Args:
        max_batch: Weight of a batch at most; a heavier job goes alone.
        wait_s: How long an idle thread waits for company of a first job.
    """

    def __init__(self, max_batch: int, wait_s: float):
        self.counts = BatchCounts()
        self._max_batch = max_batch
        self._wait_s = wait_s
        self._queue: deque[Job] = deque()
        self._lately: deque[WeakSet[OpenSession]] = deque(maxlen=2)
        self._batch_s = 0.0
        self._arrived = asyncio.Event()
        self._turn = asyncio.Lock()
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self._worker = asyncio.get_running_loop().create_task(self._work())

    def submit(self, job: Job) -> asyncio.Future[Any]:
        """Put a job in the queue; the future is its answer, or ModelError.

        Await it through :func:`asyncio.shield`: a client that has gone must not take its step back.
        """
        if self._closed:
            self._give_up([job])
        else:
            self._queue.append(job)
            self._arrived.set()
        return job.done

    async def close(self) -> None:
        """Let the batch end that is running, then stop; what still waits is given up.

        The server asks for it when all requests were answered or its time to stop is over.
        """
        self._closed = True
        waiting, self._queue = list(self._queue), deque()
        self._give_up(waiting)
        async with self._turn:
            if self._worker is not None:
                self._worker.cancel()
                await asyncio.wait([self._worker])
        self._thread.shutdown()

    async def _work(self) -> None:
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather()
            async with self._turn:
                await self._judge(self._take())

    async def _gather(self) -> None:
        """Wait a moment for company: robots that stepped together soon step again.

        Judged in two halves they would wait for each other every time. Whoever was in the last two
        batches of steps is waited for, but for no more than a share of what such a batch takes.
        """
        began = time.monotonic()
        most_s = max(self._wait_s, _WAIT_SHARE * self._batch_s)
        usual = {opened for batch in self._lately for opened in batch if not opened.ended}
        await asyncio.sleep(self._wait_s)
        if not isinstance(self._queue[0], StepJob):
            return
        while usual - {job.alone for job in self._queue} and time.monotonic() < began + most_s:
            await asyncio.sleep(_LOOK_S)

    def _take(self) -> list[Job]:
        """The oldest job and those that can go with it; the others keep their order."""
        first = self._queue[0]
        taken: list[Job] = []
        left: deque[Job] = deque()
        room, present = max(self._max_batch, first.weight), set()
        for job in self._queue:
            same = type(job) is type(first) and job.model is first.model
            if same and job.weight <= room and job.alone not in present:
                room -= job.weight
                taken.append(job)
            else:
                left.append(job)
            present.add(job.alone)
        self._queue = left
        return taken

    async def _judge(self, jobs: list[Job]) -> None:
        began = time.monotonic()
        await self._each([jobs] if jobs[0].together else [[job] for job in jobs])
        stepped = WeakSet(job.opened for job in jobs if isinstance(job, StepJob))
        if stepped:
            self._batch_s = time.monotonic() - began
            self._lately.append(stepped)
        self.counts.batches += 1
        self.counts.jobs += len(jobs)

    async def _each(self, groups: Sequence[list[Job]]) -> None:
        for group in groups:
            if self._closed:
                self._give_up(group)
            else:
                await self._answer(group)

    async def _answer(self, jobs: list[Job]) -> None:
        """Judge jobs at once; if that fails and may be repeated, alone, so that one fails alone."""
        loop, first = asyncio.get_running_loop(), jobs[0]
        done = loop.run_in_executor(self._thread, first.judge, first.model, jobs)
        await asyncio.wait([done])
        error = done.exception()
        if isinstance(error, first.harmless) and len(jobs) > 1:
            await self._each([[job] for job in jobs])
        elif error is not None:
            self._fail(jobs, error)
        else:
            for job, answer in zip(jobs, done.result(), strict=True):
                if not job.done.done():
                    job.done.set_result(answer)

    def _fail(self, jobs: list[Job], error: BaseException) -> None:
        """A batch that breaks is its clients' answer and a line in the log; the next one runs."""
        self.counts.failures += len(jobs)
        _LOG.error("a batch of %d failed", len(jobs), exc_info=error)
        reason = (str(error).splitlines() or [""])[0]
        _refuse(jobs, f"{type(error).__name__}: {reason}")

    def _give_up(self, jobs: list[Job]) -> None:
        """Nobody waits for them: their clients have gone, or were sent away."""
        if jobs:
            _LOG.warning("stopping: %d waiting jobs were given up", len(jobs))
        _refuse(jobs, "the server was stopped before it came to this; ask again when it is back")


def _refuse(jobs: Sequence[Job], message: str) -> None:
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(ModelError(message))
            job.done.exception()  # a client that has gone must not make asyncio complain
