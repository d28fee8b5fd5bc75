"""The contract of a reward model; every implementation passes :func:`check_reward_model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sole.data.costs import CostCounters
from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ServerError

__all__ = [
    "CostCounters",
    "RewardModel",
    "Session",
    "StepsTogether",
    "check_sessions",
    "close_session",
]


class Session(Protocol):
    """One running episode, scored frame by frame with the state kept between steps."""

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Score the next frame (views uint8 RGB ``(H, W, 3)``); the first one is 0 percent."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A session that somebody else keeps, a server say, until it is told to forget it."""

    def close(self) -> None:
        """Forget it."""
        ...


def close_session(session: Session) -> None:
    """End a session; one of this process needs no word.

    A server that cannot be reached forgets it by itself after a while, so that is no error.
    """
    if isinstance(session, Closes):
        with suppress(ServerError):
            session.close()


@runtime_checkable
class RewardModel(Protocol):
    """Something that watches episodes and judges their progress, from pictures and a sentence.

    Attributes:
        model_id: Names weights and protocol, so that two scores can be compared.
        views: The view names it needs; an episode that lacks one is refused with ValueError.
        costs: What it has spent so far.
    """

    model_id: str
    views: tuple[str, ...]
    costs: CostCounters

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode; the order of the batch does not matter."""
        ...

    def start(self, task: str) -> Session:
        """Open a session that is fed one frame at a time."""
        ...


@runtime_checkable
class StepsTogether(Protocol):
    """A reward model that can judge the next moment of several sessions in one batch."""

    def step_sessions(
        self, sessions: Sequence[Any], views: Sequence[Mapping[str, np.ndarray]]
    ) -> list[StepScore]:
        """The same answers as stepping each of its own sessions by itself, only sooner."""
        ...


def check_sessions(model: RewardModel, sessions: Sequence[Any]) -> None:
    """Before several sessions are stepped together: each is there once, and is this model's.

    Raises:
        ValueError: If one is named twice, or is another model's.
    """
    if len({id(session) for session in sessions}) < len(sessions):
        raise ValueError("sessions: expected each one once, because its frames have an order")
    if any(session.model is not model for session in sessions):
        raise ValueError(f"sessions: expected those that {model.model_id} has started")
