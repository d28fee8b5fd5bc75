"""Asking a server until it answers, written once for blocking and asynchronous use.

A *flow* is a generator that yields what it wants (a :class:`Call` to be made, a :class:`Pause` to
be waited) and is sent what came back. It knows nothing of sockets; whoever drives it does.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sole.errors import ConfigError, ServerError

_RETRIED = frozenset({408, 429, 502, 503, 504})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

#: A file of a multipart body as httpx takes it: part name, (file name, bytes, type).
Part = tuple[str, tuple[str | None, bytes, str]]


@dataclass(frozen=True)
class Call:
    """One request; sent again it keeps its id, so that the server does the work once.

    Attributes:
        method: GET, POST or DELETE.
        path: Below the server's address, for example ``/v1/model``.
        json: Body as JSON, or None.
        parts: Body as multipart, or none.
        request_id: What makes repeating it harmless.
    """

    method: str
    path: str
    json: Any = None
    parts: Sequence[Part] = field(default=(), repr=False)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Pause:
    """Wait before going on."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """What came back: a status with JSON, or no status and why the connection failed."""

    status: int | None
    body: Any = None
    failure: str = ""
    retry_after_s: float = 0.0

    @property
    def complaint(self) -> str:
        """What the server says is wrong."""
        if self.status is None:
            return self.failure
        said = self.body.get("error") if isinstance(self.body, dict) else None
        return f"{self.status}: {said or 'no explanation'}"


ResultT = TypeVar("ResultT")
Flow = Generator[Call | Pause, Any, ResultT]


class LostSessionError(ServerError):
    """The server does not know the session any more: it expired, or the server was restarted."""


@dataclass
class Server:
    """A server's address and how patient to be with it.

    Attributes:
        url: Without a slash at the end.
        patience_s: Seconds of waiting in all before a call that is turned away is given up.
        n_retries: Calls that had to be made again so far.
    """

    url: str
    patience_s: float
    n_retries: int = 0

    def ask(self, call: Call, patience_s: float | None = None) -> Flow[Any]:
        """Make a call until it is answered; return the answer's JSON.

        Raises:
            LostSessionError: If the call names a session that the server does not know.
            ConfigError: If the token is refused.
            ServerError: If the server refuses the call, fails at it, or cannot be reached.
        """
        left_s = self.patience_s if patience_s is None else patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            reply: Reply = yield call
            if reply.status is not None and reply.status < 300:
                return reply.body
            if reply.status is not None and reply.status not in _RETRIED:
                raise self._error(call, reply)
            if left_s <= 0:
                raise self._given_up(reply)
            # Not all at the same moment, or the clients that were turned away come back together.
            wanted = max(reply.retry_after_s, pause_s) * random.uniform(0.5, 1.0)
            wait_s = min(wanted, left_s)
            yield Pause(wait_s)
            left_s -= max(wait_s, 1e-3)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self.n_retries += 1

    def _error(self, call: Call, reply: Reply) -> ServerError | ConfigError:
        if reply.status == 401:
            return ConfigError(f"server {self.url}: refuses the token; set SOLE_TOKEN to its token")
        if reply.status == 404 and "/sessions/" in call.path:
            return LostSessionError(f"server {self.url}: {reply.complaint}")
        return ServerError(f"server {self.url}: {reply.complaint}")

    def _given_up(self, reply: Reply) -> ServerError:
        if reply.status is None:
            return ServerError(
                f"server {self.url}: cannot be reached ({reply.failure}); is `sole serve` running?"
            )
        return ServerError(f"server {self.url}: still says {reply.complaint}")
