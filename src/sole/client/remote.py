"""The served model as a :class:`~sole.rewarders.base.RewardModel`, blocking or asynchronous."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import numpy as np

from sole.client.calls import Call, Flow, Pause, Reply, Server
from sole.client.flows import Judging, SessionFlows, fetch_card
from sole.data.costs import CostCounters
from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ConfigError

TIMEOUT_S = 60.0
PATIENCE_S = 120.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
T = TypeVar("T")


class _Remote:
    """What both kinds share: a judging, under the names that every reward model has.

    Attributes:
        model_id: The served model's id: that of the same model in this process.
        views: Views that an episode must have.
        costs: What was asked through this object.
        settings: How the served model reads numbers (``from_zero_weight``).
        ways: How the server can judge when asked to (fast, think); empty if there is no choice.
        success_threshold: That of the served model's calibration; None if it has none.
        needs_whole_episode: Whether the served model judges no running episode.
    """

    def __init__(self, judging: Judging):
        self._judging = judging
        self.model_id: str = judging.model_id
        self.views: tuple[str, ...] = judging.card.views
        self.costs: CostCounters = judging.costs
        self.settings: Mapping[str, float] = judging.card.settings
        self.ways: tuple[str, ...] = tuple(judging.card.models)
        thresholds = judging.card.success_thresholds
        self.success_threshold: float | None = thresholds.get(judging.served_id)
        self.needs_whole_episode: bool = judging.card.needs_whole_episode

    @property
    def n_retries(self) -> int:
        """Calls that had to be made again: a full queue, a lost connection."""
        return self._judging.server.n_retries

    def _other_way(self, *, think: bool) -> Judging:
        now = self._judging
        return Judging(now.server, now.card, think, now.every) if now.offers(think=think) else now


class RemoteRewardModel(_Remote):
    """A reward model on a server, used like one in this process.

    Calls that meet a full queue, a restart or a broken connection are made again with their id, so
    that nothing is judged twice. Safe to use from several threads.

    Args:
        url: The server's address, for example ``http://127.0.0.1:8000``.
        token: What the server wants as bearer token.
        timeout_s: How long one answer may take.
        patience_s: How long to come back in all when turned away or not connected.
        every: Send every this many frames of an episode; the rest is interpolated.

    Raises:
        ConfigError: If the address is none, or the token is refused.
        ServerError: If the server cannot be reached.

    Example:
        ``RemoteRewardModel("http://robot-gpu:8000", token).score(episodes)``
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        *,
        every: int = 1,
    ):
        self._http = httpx.Client(**_options(url, token, timeout_s))
        server = Server(url.rstrip("/"), patience_s)
        # Siblings share the server record; when the last of them is forgotten, so is the line.
        weakref.finalize(server, self._http.close)
        super().__init__(Judging(server, self._drive(fetch_card(server)), every=every))

    def thinking(self) -> RemoteRewardModel:
        """The same model with reasoning; itself where the server leaves no choice."""
        return self._sibling(self._other_way(think=True))

    def fast(self) -> RemoteRewardModel:
        """The same model without reasoning; itself where the server leaves no choice."""
        return self._sibling(self._other_way(think=False))

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode, in as few requests as the server's limits allow."""
        return self._drive(self._judging.score(episodes))

    def start(self, task: str) -> RemoteSession:
        """Open a session that is fed one frame at a time."""
        return RemoteSession(self, SessionFlows(self._judging, task))

    def close(self) -> None:
        """Close the connections; models made by ``thinking`` and ``fast`` share them."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sibling(self, judging: Judging) -> RemoteRewardModel:
        if judging is self._judging:
            return self
        other = object.__new__(RemoteRewardModel)
        other._http = self._http
        _Remote.__init__(other, judging)
        return other

    def _drive(self, flow: Flow[T]) -> T:
        answer: Any = None
        while True:
            try:
                wanted = flow.send(answer)
            except StopIteration as end:
                return end.value
            answer = self._send(wanted) if isinstance(wanted, Call) else _sleep(wanted)

    def _send(self, call: Call) -> Reply:
        try:
            return _reply(self._http.request(**_request(call)))
        except httpx.TransportError as error:
            return _failure(error)


class RemoteSession:
    """One running episode on the server; use as a context manager, or close it when done.

    Args:
        model: Drives it.
        flows: Its state.
    """

    def __init__(self, model: RemoteRewardModel, flows: SessionFlows):
        self._model, self._flows = model, flows
        model._drive(flows.open())

    @property
    def n_recoveries(self) -> int:
        """How often the server lost the session and was shown its frames again."""
        return self._flows.n_recoveries

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Score the next frame (views uint8 RGB ``(H, W, 3)``); the first one is 0 percent.

        Raises:
            ValueError: If a picture is no such array, or a view is missing.
            ServerError: If the server refuses, fails or stays unreachable.
        """
        with closing(self._flows.step(views)) as flow:  # when interrupted it ends at once
            return self._model._drive(flow)

    def close(self) -> None:
        """Let the server forget it."""
        self._model._drive(self._flows.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncRemoteRewardModel(_Remote):
    """The same for asynchronous code; made by :meth:`connect`."""

    def __init__(self, http: httpx.AsyncClient, judging: Judging):
        super().__init__(judging)
        self._http = http

    @classmethod
    async def connect(
        cls,
        url: str,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
    ) -> AsyncRemoteRewardModel:
        """Connect to a server; arguments and errors are those of :class:`RemoteRewardModel`."""
        http = httpx.AsyncClient(**_options(url, token, timeout_s))
        server = Server(url.rstrip("/"), patience_s)
        connected = False
        try:
            card = await _drive_async(http, fetch_card(server))
            connected = True
        finally:
            if not connected:
                await http.aclose()
        return cls(http, Judging(server, card))

    def thinking(self) -> AsyncRemoteRewardModel:
        """The same model with reasoning, where the server leaves a choice."""
        return AsyncRemoteRewardModel(self._http, self._other_way(think=True))

    def fast(self) -> AsyncRemoteRewardModel:
        """The same model without reasoning, where the server leaves a choice."""
        return AsyncRemoteRewardModel(self._http, self._other_way(think=False))

    async def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode."""
        return await _drive_async(self._http, self._judging.score(episodes))

    async def start(self, task: str) -> AsyncRemoteSession:
        """Open a session that is fed one frame at a time."""
        flows = SessionFlows(self._judging, task)
        await _drive_async(self._http, flows.open())
        return AsyncRemoteSession(self._http, flows)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncRemoteSession:
    """One running episode on the server, for asynchronous code; steps must not overlap."""

    def __init__(self, http: httpx.AsyncClient, flows: SessionFlows):
        self._http, self._flows = http, flows

    async def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Score the next frame; see :meth:`RemoteSession.step`.

        A frame whose step was cancelled counts as not shown; the next step goes on without it.
        """
        with closing(self._flows.step(views)) as flow:  # when cancelled it ends at once
            return await _drive_async(self._http, flow)

    async def close(self) -> None:
        """Let the server forget it."""
        await _drive_async(self._http, self._flows.close())


async def _drive_async(http: httpx.AsyncClient, flow: Flow[T]) -> T:
    answer: Any = None
    while True:
        try:
            wanted = flow.send(answer)
        except StopIteration as end:
            return end.value
        if isinstance(wanted, Pause):
            answer = await asyncio.sleep(wanted.seconds)
        else:
            answer = await _send_async(http, wanted)


async def _send_async(http: httpx.AsyncClient, call: Call) -> Reply:
    try:
        return _reply(await http.request(**_request(call)))
    except httpx.TransportError as error:
        return _failure(error)


def _sleep(pause: Pause) -> None:
    time.sleep(pause.seconds)


def _options(url: str, token: str | None, timeout_s: float) -> dict[str, Any]:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"server {url}: no address ({error})") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise ConfigError(f"server {url}: expected an address such as http://127.0.0.1:8000")
    return {
        "base_url": url.rstrip("/"),
        "headers": {"Authorization": f"Bearer {token}"} if token else {},
        "timeout": timeout_s,
        "trust_env": address.host not in _LOOPBACK,  # no proxy stands between us and ourselves
        "limits": httpx.Limits(max_connections=None),
    }


def _request(call: Call) -> dict[str, Any]:
    request: dict[str, Any] = {"method": call.method, "url": call.path}
    request["headers"] = {"Idempotency-Key": call.request_id}
    if call.parts:
        request["files"] = list(call.parts)
    elif call.json is not None:
        request["json"] = call.json
    return request


def _reply(response: httpx.Response) -> Reply:
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = None
    after = response.headers.get("Retry-After", "")
    return Reply(response.status_code, body, retry_after_s=float(after) if after.isdigit() else 0.0)


def _failure(error: httpx.TransportError) -> Reply:
    return Reply(None, failure=f"{type(error).__name__}: {error}".rstrip(": "))
