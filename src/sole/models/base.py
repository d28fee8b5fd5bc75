"""What a rewarder asks of a model: read these moments, with or without thinking aloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sole.data.episode import check_frames

#: One moment as the model's own eye sees it; opaque to everyone else, so it can be kept and reused.
Seen = Any


@dataclass(frozen=True)
class SeenPictures:
    """The views of one moment, kept as they came: uint8 RGB ``(H, W, 3)`` by name."""

    views: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Question:
    """One progress question: where is the task now, given the start and (maybe) a step before?

    Attributes:
        task: The instruction.
        first: The first moment, from :meth:`Reader.see`.
        current: The moment to judge.
        previous: The moment shown in between, or None (from-zero).
        previous_progress: Percent stated for ``previous``, or None when it is not stated.
    """

    task: str
    first: Seen
    current: Seen
    previous: Seen | None = None
    previous_progress: int | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
        progress: Expectation over the answer tokens, percent; None if the reply has no number.
        spread: Standard deviation of that distribution.
        success_probability: Its mass above 97 percent.
        reply: The whole reply as text.
        n_tokens: Tokens generated.
        error: Why there is no reply, when the model did not answer at all.
    """

    progress: float | None
    spread: float | None
    success_probability: float | None
    reply: str
    n_tokens: int
    error: str | None = None


class Reader(Protocol):
    """A model behind the progress protocol."""

    model_id: str

    def see(self, views: Sequence[Mapping[str, np.ndarray]]) -> list[Seen]:
        """Encode moments once; each is view name -> uint8 RGB ``(H, W, 3)``."""
        ...

    def ask(self, questions: Sequence[Question], *, think: bool) -> list[Answer]:
        """Answer a batch; with ``think`` the reply holds reasoning, without it one forward pass."""
        ...


def keep_pictures(views: Sequence[Mapping[str, np.ndarray]]) -> list[SeenPictures]:
    """Check and copy the pictures of each moment, for models that look anew at each question."""
    for moment in views:
        check_moment(moment)
    # Copies: a slice would keep the whole film alive as long as one session lasts.
    return [SeenPictures({n: p.copy() for n, p in moment.items()}) for moment in views]


def check_moment(views: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless every view is one uint8 RGB picture ``(H, W, 3)``."""
    for name, picture in views.items():
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            shape = getattr(picture, "shape", type(picture).__name__)
            raise ValueError(f"view {name}: expected one uint8 RGB picture (H, W, 3), got {shape}")
        check_frames(picture[None], f"view {name}")
