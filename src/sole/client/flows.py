"""What a remote reward model does, as flows: neither blocking nor asynchronous."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sole.client.calls import Call, Flow, LostSessionError, Part, Server
from sole.client.wire import Card, moment_parts, read_episode_score, read_step, score_batches
from sole.data.costs import CostCounters
from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ServerError
from sole.protocol.chain import fill_between, scored_frames

# Whoever mistypes an address should not wait as long as whoever restarts a server.
_FIRST_PATIENCE_S = 5.0
_RECOVERIES = 3


def fetch_card(server: Server) -> Flow[Card]:
    """Ask which model is served."""
    patience_s = min(server.patience_s, _FIRST_PATIENCE_S)
    body = yield from server.ask(Call("GET", "/v1/model"), patience_s)
    return Card.read(body)


class Judging:
    """A served model in one way of judging.

    Args:
        server: Where it is.
        card: What it says of itself.
        think: Ask for reasoning or for none; None leaves it to the server.
        every: Send every this many frames of an episode, and the last; the rest is interpolated.

    Attributes:
        model_id: The served model's; with ``every`` above 1 that is added.
        costs: What was asked through this object; calls and tokens are in the server's card.
    """

    def __init__(self, server: Server, card: Card, think: bool | None = None, every: int = 1):
        self.server, self.card, self.every = server, card, every
        self.think = think if card.models else None
        way = {None: None, True: "think", False: "fast"}[self.think]
        self.served_id = card.model_id if way is None else card.models[way]
        self.model_id = self.served_id if every == 1 else f"{self.served_id}/client-e{every}"
        self.costs = CostCounters()

    def offers(self, *, think: bool) -> bool:
        """Whether the server judges this way when asked to."""
        return ("think" if think else "fast") in self.card.models

    def score(self, episodes: Sequence[Episode]) -> Flow[list[EpisodeScore]]:
        """Judge whole episodes."""
        began = time.perf_counter()
        for episode in episodes:
            self.card.check_views(tuple(episode.views))
        kept = [scored_frames(e.n_frames, self.every) for e in episodes]
        sent = [e.subset(frames) for e, frames in zip(episodes, kept, strict=True)]
        scores: list[EpisodeScore] = []
        for n, parts in score_batches(sent, self.think, self.card.limits):
            body = yield from self.server.ask(Call("POST", "/v1/score", parts=parts))
            self.check_model(body)
            answers = body["episodes"]
            if len(answers) != n:
                raise ServerError(f"server {self.server.url}: {n} episodes, {len(answers)} scores")
            scores += [read_episode_score(answer, self.model_id) for answer in answers]
        self._count(scores, episodes, time.perf_counter() - began)
        return [
            replace(s, steps=_spread(s, frames, e.n_frames), task=e.task)
            for s, frames, e in zip(scores, kept, episodes, strict=True)
        ]

    def check_model(self, body: Mapping[str, object]) -> None:
        """Raise ServerError if another model answers than the one this object was made for."""
        if body.get("model_id") != self.served_id:
            raise ServerError(
                f"server {self.server.url}: now serves {body.get('model_id')}, but this began with "
                f"{self.served_id}; scores of two models cannot be mixed"
            )

    def _count(
        self, scores: Sequence[EpisodeScore], episodes: Sequence[Episode], seconds: float
    ) -> None:
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.parse_failures += sum(s.n_errors for s in scores)
        self.costs.seconds += seconds


class SessionFlows:
    """One episode on the server, and its frames so far, should the server lose it.

    Args:
        judging: The model.
        task: The instruction.
    """

    def __init__(self, judging: Judging, task: str):
        self.n_recoveries = 0
        self._judging = judging
        self._task = task
        self._id = ""
        self._closed = False
        self._abandoned: list[str] = []
        self._sent: list[list[Part]] = []

    def open(self) -> Flow[None]:
        """Begin the episode on the server."""
        asked = {"task": self._task, "think": self._judging.think}
        body = yield from self._judging.server.ask(Call("POST", "/v1/sessions", json=asked))
        self._judging.check_model(body)
        self._id = body["session_id"]

    def step(self, views: Mapping[str, np.ndarray]) -> Flow[StepScore]:
        """Judge the next frame; a session that the server lost is built up again first.

        If that fails or is cancelled, the frame counts as not shown.
        """
        if self._closed:
            raise ValueError("session: it was closed; start another one")
        began = time.perf_counter()
        self._judging.card.check_views(tuple(views))
        parts = moment_parts(views)
        score = yield from self._step_or_recover(parts)
        self._sent.append(parts)
        costs = self._judging.costs
        costs.frames += 1
        costs.parse_failures += score.error is not None
        costs.seconds += time.perf_counter() - began
        return score

    def close(self) -> Flow[None]:
        """End the episode; that the server has forgotten it already is no error."""
        self._abandon()
        self._sent, self._closed = [], True
        yield from self._forget_abandoned()

    def _step_or_recover(self, parts: list[Part]) -> Flow[StepScore]:
        for _ in range(1 + _RECOVERIES):
            try:
                if not self._id:
                    yield from self._recover()
                return (yield from self._step(parts, len(self._sent)))
            except LostSessionError:
                self._id = ""
            except BaseException:  # a failure, or whoever drives this has been cancelled
                # The server may or may not have judged the frame: the next step starts over.
                self._abandon()
                raise
        raise ServerError(
            f"server {self._judging.server.url}: forgot the session {1 + _RECOVERIES} times while "
            "one frame was judged; does it restart over and over?"
        )

    def _recover(self) -> Flow[None]:
        """Open a new session and show it the frames so far; its answers were had before."""
        self.n_recoveries += 1
        yield from self._forget_abandoned()
        yield from self.open()
        for index, parts in enumerate(self._sent):
            yield from self._step(parts, index)

    def _abandon(self) -> None:
        """Use the session no more; the server is told when it is asked for something anyway."""
        if self._id:
            self._abandoned.append(self._id)
        self._id = ""

    def _forget_abandoned(self) -> Flow[None]:
        while self._abandoned:
            call = Call("DELETE", f"/v1/sessions/{self._abandoned.pop()}")
            try:
                yield from self._judging.server.ask(call)
            except LostSessionError:
                continue  # the server has forgotten it already

    def _step(self, parts: list[Part], index: int) -> Flow[StepScore]:
        path = f"/v1/sessions/{self._id}/step"
        body = yield from self._judging.server.ask(Call("POST", path, parts=parts))
        score = read_step(body)
        if body.get("index") != index:
            raise ServerError(
                f"server {self._judging.server.url}: judged frame {body.get('index')} when asked "
                f"for frame {index}; does somebody else use this session?"
            )
        return score


def _spread(score: EpisodeScore, frames: np.ndarray, n_frames: int) -> tuple[StepScore, ...]:
    steps = {int(t): step for t, step in zip(frames, score.steps, strict=True)}
    return fill_between(steps, n_frames)
