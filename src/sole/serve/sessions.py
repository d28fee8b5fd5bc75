"""Running episodes on the server, and the answers that a client may ask for again."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sole.rewarders.base import RewardModel, Session
from sole.serve.refusal import refusal

_REMEMBERED_ENDS = 1024
_ANSWERS_KEPT = 64


class Answers:
    """Answers by request id: a request that is sent again is answered again, not done again.

    Args:
        kept: How many; the oldest is forgotten first.
    """

    def __init__(self, kept: int = _ANSWERS_KEPT):
        self._kept = kept
        self._answers: OrderedDict[str, tuple[bytes, asyncio.Future[Any]]] = OrderedDict()

    def once(
        self, request_id: str | None, digest: bytes, do: Callable[[], asyncio.Future[Any]]
    ) -> Awaitable[Any]:
        """Return the earlier answer to this id (it may still be under way), else ``do`` it.

        Args:
            request_id: What the client calls the request; None does it every time.
            digest: Of the request's contents.
            do: Starts it.

        Raises:
            HTTPException: 422 if the id was used for other contents.
        """
        if request_id is None:
            return asyncio.shield(do())
        if request_id in self._answers:
            known, answer = self._answers[request_id]
            if known != digest:
                raise refusal(422, f"Idempotency-Key {request_id}: was used for another request")
            return asyncio.shield(answer)
        answer = do()
        self._answers[request_id] = (digest, answer)
        answer.add_done_callback(lambda done: self._forget_failure(request_id, done))
        if len(self._answers) > self._kept:
            self._answers.popitem(last=False)
        return asyncio.shield(answer)

    def _forget_failure(self, request_id: str, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._answers.pop(request_id, None)


@dataclass(eq=False)
class OpenSession:
    """One running episode.

    Attributes:
        model: Who judges it.
        session: Its state.
        used_s: When it was last used, on the monotonic clock.
        asked: The request that opened it, if it had an id.
        busy: Requests of it that are under way; it does not expire meanwhile.
        n_steps: Frames judged.
        views: Those of its first frame.
        ended: Whether no further step of it will come.
        answers: Those to its steps.
    """

    model: RewardModel
    session: Session
    used_s: float
    asked: tuple[str, str, str] | None = None
    busy: int = 0
    n_steps: int = 0
    views: frozenset[str] = frozenset()
    ended: bool = False
    answers: Answers = field(default_factory=Answers)

    def count(self) -> int:
        """Note that a frame was judged; return its index."""
        self.n_steps += 1
        return self.n_steps - 1

    def check_views(self, names: Collection[str]) -> None:
        """Refuse a frame whose views are not those of the first one.

        Raises:
            HTTPException: 422 with what the session began with.
        """
        # A first frame that failed was none; of two that came at once the first to get here is.
        if not self.views or (not self.n_steps and self.busy < 2):
            self.views = frozenset(names)
        if self.views != frozenset(names):
            began, got = (", ".join(sorted(some)) for some in (self.views, names))
            raise refusal(
                422, f"views: this session began with {began}, got {got}; open a new one for these"
            )


def begin(model: RewardModel, task: str) -> Session:
    """A session of ``model``.

    Raises:
        HTTPException: 422 if it has none.
    """
    try:
        return model.start(task)
    except ValueError as error:
        raise refusal(422, str(error)) from error


class SessionTable:
    """All open sessions.

    Args:
        max_sessions: How many at the same time.
        idle_timeout_s: After how long without a step one is closed.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        max_sessions: int,
        idle_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.n_expired = 0
        self._max = max_sessions
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self._open: dict[str, OpenSession] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._asked: dict[tuple[str, str, str] | None, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, model: RewardModel, task: str, request_id: str | None = None) -> str:
        """Start an episode; return the session's id, which nobody can guess.

        The same request sent again under its id returns the session it opened before.

        Raises:
            HTTPException: 429 if too many are open, 422 if the model has no sessions.
        """
        self.expire()
        asked = None if request_id is None else (request_id, task, model.model_id)
        if asked in self._asked:
            return self._asked[asked]
        if len(self._open) >= self._max:
            raise refusal(429, f"{self._max} sessions are open; close one, or come back later")
        session_id = secrets.token_urlsafe(16)
        self._open[session_id] = OpenSession(model, begin(model, task), self._clock(), asked)
        if asked is not None:
            self._asked[asked] = session_id
        return session_id

    @contextmanager
    def using(self, session_id: str) -> Iterator[OpenSession]:
        """Work with an open session, which does not expire meanwhile.

        Raises:
            HTTPException: 404 if it never existed, was closed or has expired; which, it says.
        """
        self.expire()
        if session_id not in self._open:
            raise self._absent(session_id)
        session = self._open[session_id]
        session.busy += 1
        try:
            yield session
        finally:
            session.busy -= 1
            session.used_s = self._clock()

    def close(self, session_id: str, why: str = "was closed") -> None:
        """Forget a session; one that has ended already is no error.

        Raises:
            HTTPException: 404 if it never existed.
        """
        if session_id not in self._open and session_id not in self._ended:
            raise self._absent(session_id)
        ended = self._open.pop(session_id, None)
        if ended is not None:
            ended.ended = True
            self._ended[session_id] = why
            self._asked.pop(ended.asked, None)
        if len(self._ended) > _REMEMBERED_ENDS:
            self._ended.popitem(last=False)

    def expire(self) -> None:
        """Close what has been idle for too long."""
        oldest = self._clock() - self._idle_timeout_s
        idle = [k for k, s in self._open.items() if s.used_s < oldest and not s.busy]
        for session_id in idle:
            self.close(session_id, f"has expired after {self._idle_timeout_s:g} s without a step")
        self.n_expired += len(idle)

    def _absent(self, session_id: str) -> Exception:
        again = "open a new one and send its frames again"
        if session_id in self._ended:
            return refusal(404, f"session {session_id} {self._ended[session_id]}; {again}")
        return refusal(
            404, f"no session {session_id[:40]!r} (was the server started anew?); {again}"
        )
