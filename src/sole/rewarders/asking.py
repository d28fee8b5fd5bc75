"""Reward models that only ask: a method writes questions about frames and reads the answers.

A method knows no model and a model knows no method. What is asked about a frame depends on the
pictures up to it, never on an earlier answer, so all frames of all episodes are asked together, a
session gives the same numbers as a whole episode, and the order of a batch changes nothing. Only
the reading goes through time, because some methods add up changes; a change whose reply cannot be
read is not added, nor made up for later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from sole.data.episode import EXTERNAL, Episode, EpisodeScore, StepScore
from sole.errors import ConfigError
from sole.models.backend import Backend, Prompt
from sole.models.base import check_moment
from sole.protocol.chain import fill_between, scored_frames
from sole.rewarders.base import CostCounters, check_sessions

START = StepScore(progress=0.0, success_probability=0.0, uncertainty=0.0)


@dataclass(frozen=True)
class Query:
    """One question to a model.

    Attributes:
        prompt: The pictures and words.
        candidates: Answers whose probabilities are wanted; empty for a reply in words.
    """

    prompt: Prompt
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """What came back: words, or log-probabilities of the candidates, or an error.

    Attributes:
        text: The reply; empty when probabilities were asked for.
        logprobs: ``(candidates,)``; empty when words were asked for.
        error: Why there is neither, or None.
    """

    text: str = ""
    logprobs: tuple[float, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Inquiry:
    """All that a method asks about one frame.

    Attributes:
        queries: The questions.
        read: Their answers and the last valid progress (percent) become the frame's score.
    """

    queries: tuple[Query, ...]
    read: Callable[[Sequence[Said], float], StepScore]


class Needs(Enum):
    """What a method needs of a model beside eyes."""

    WORDS = "words"
    FIRST_WORD = "probabilities of the first word"
    PLAIN_TEXT = "probabilities of words after a plain text"


class Method(Protocol):
    """A way of asking.

    Attributes:
        name: How it is called on a command line.
        max_new_tokens: Where a reply in words is cut off.
        needs: What a backend must be able to do, whichever way is chosen.
    """

    name: str
    max_new_tokens: int
    needs: Needs

    def ask(self, task: str, frames: Sequence[np.ndarray], *, think: bool) -> Inquiry:
        """Ask about the last of the frames, at least two, uint8 RGB ``(H, W, 3)`` each.

        Args:
            task: The instruction.
            frames: All scored frames so far, the first one included.
            think: With words before the answer, where the method has both ways.
        """
        ...


class AskingModel:
    """A method and a model as a reward model; looks at the external view, as all methods do.

    Args:
        backend: The model.
        method: What it is asked.
        think: With words before the answer, where the method has both ways.
        every: Score every this many frames, and the last one; the rest is interpolated.
    """

    views: tuple[str, ...] = (EXTERNAL,)

    def __init__(self, backend: Backend, method: Method, *, think: bool = False, every: int = 1):
        self.backend, self.method = backend, method
        self.think, self.every = think, every
        self.model_id = f"{method.name}:{backend.model_id}{self._way}/e{every}"
        self.costs = CostCounters()
        if not _can(backend, method.needs):
            raise ConfigError(
                f"model {self.model_id}: {method.name} needs {method.needs.value}, which this "
                "backend cannot give; sole models list says what does"
            )

    @property
    def _way(self) -> str:
        return ""

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode."""
        began = time.perf_counter()
        films = [external_view(episode.views) for episode in episodes]
        indices = [scored_frames(e.n_frames, self.every) for e in episodes]
        inquiries = [
            self._inquire(e.task, [film[t] for t in kept[: k + 1]])
            for e, film, kept in zip(episodes, films, indices, strict=True)
            for k in range(1, len(kept))
        ]
        answers = iter(self._answer(inquiries))
        steps = [self._read_all(kept[1:], answers) for kept in indices]
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.seconds += time.perf_counter() - began
        return [
            EpisodeScore(fill_between(found, episode.n_frames), self.model_id, episode.task)
            for found, episode in zip(steps, episodes, strict=True)
        ]

    def start(self, task: str) -> AskingSession:
        """Open a session that is fed frame by frame; every frame is scored."""
        return AskingSession(self, task)

    def step_sessions(
        self, sessions: Sequence[AskingSession], views: Sequence[Mapping[str, np.ndarray]]
    ) -> list[StepScore]:
        """Judge the next moment of several sessions of this model in one batch.

        Raises:
            ValueError: If a session is named twice or is another model's, or a picture is wrong;
                then no session has moved.
        """
        check_sessions(self, sessions)
        for moment in views:
            check_moment(moment)
        pictures = [external_view(moment).copy() for moment in views]
        pairs = list(zip(sessions, pictures, strict=True))
        running = [(s, picture) for s, picture in pairs if s.frames]
        inquiries = [self._inquire(s.task, [*s.frames, picture]) for s, picture in running]
        answers = iter(self._answer(inquiries))
        self.costs.frames += len(pairs)
        return [s.take(picture, answers) for s, picture in pairs]

    def read(self, inquiry: Inquiry, said: Sequence[Said], before: float) -> StepScore:
        """Turn the answers about one frame into its score, counting a failure."""
        failed = next((s.error for s in said if s.error), None)
        score = StepScore(None, error=failed) if failed else inquiry.read(said, before)
        self.costs.parse_failures += score.error is not None
        return score

    def _inquire(self, task: str, frames: Sequence[np.ndarray]) -> Inquiry:
        return self.method.ask(task, frames, think=self.think)

    def _answer(self, inquiries: Sequence[Inquiry]) -> list[tuple[Inquiry, list[Said]]]:
        said = iter(self._say([q for inquiry in inquiries for q in inquiry.queries]))
        return [(inquiry, [next(said) for _ in inquiry.queries]) for inquiry in inquiries]

    def _say(self, queries: Sequence[Query]) -> list[Said]:
        """Ask everything, what has the same candidates together; answers in the given order."""
        found: list[Said] = [Said()] * len(queries)
        for candidates in dict.fromkeys(query.candidates for query in queries):
            places = [i for i, query in enumerate(queries) if query.candidates == candidates]
            prompts = [queries[i].prompt for i in places]
            answers = self._weigh(prompts, candidates) if candidates else self._write(prompts)
            for i, answer in zip(places, answers, strict=True):
                found[i] = answer
        self.costs.model_calls += len(queries)
        return found

    def _write(self, prompts: Sequence[Prompt]) -> list[Said]:
        replies = self.backend.generate(prompts, max_new_tokens=self.method.max_new_tokens)
        self.costs.generated_tokens += sum(reply.n_tokens for reply in replies)
        return [Said(text=reply.text, error=reply.error) for reply in replies]

    def _weigh(self, prompts: Sequence[Prompt], candidates: tuple[str, ...]) -> list[Said]:
        rows = self.backend.logprobs(prompts, candidates)
        self.costs.generated_tokens += len(prompts)
        lacking = "the model gave no probabilities of the answers"
        return [
            Said(error=lacking) if np.isnan(row).any() else Said(logprobs=tuple(map(float, row)))
            for row in rows
        ]

    def _read_all(
        self, indices: np.ndarray, answers: Iterator[tuple[Inquiry, list[Said]]]
    ) -> dict[int, StepScore]:
        steps, before = {0: START}, 0.0
        for t in indices:
            steps[int(t)] = score = self.read(*next(answers), before)
            before = before if score.progress is None else score.progress
        return steps


class TwoWayModel(AskingModel):
    """A method with two ways: words before the answer, or the probabilities of all answers.

    Raises:
        ConfigError: If probabilities are wanted of a backend that has none.
    """

    def __init__(self, backend: Backend, method: Method, *, think: bool = False, every: int = 1):
        super().__init__(backend, method, think=think, every=every)
        if not think and backend.capabilities.logprobs != "exact":
            raise ConfigError(
                f"model {self.model_id}: this endpoint gives no probabilities of whole answers, so "
                "its replies must be read: add --think (sole serve: --think always)"
            )

    @property
    def _way(self) -> str:
        return "/think" if self.think else "/fast"

    def thinking(self) -> TwoWayModel:
        """The same method, its replies read."""
        return TwoWayModel(self.backend, self.method, think=True, every=self.every)

    def fast(self) -> TwoWayModel:
        """The same method, its answers weighed by their probabilities, without words."""
        return TwoWayModel(self.backend, self.method, think=False, every=self.every)


class AskingSession:
    """One running episode: the first frame is 0 percent, every later one is judged.

    Attributes:
        model: Who judges it.
        task: The instruction.
        frames: All frames so far, because a method may show any of them again.
    """

    def __init__(self, model: AskingModel, task: str):
        self.model, self.task = model, task
        self.frames: list[np.ndarray] = []
        self._progress = 0.0

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next moment; each view is uint8 RGB ``(H, W, 3)``."""
        return self.model.step_sessions([self], [views])[0]

    def take(self, picture: np.ndarray, answers: Iterator[tuple[Inquiry, list[Said]]]) -> StepScore:
        """Add a frame, and its score from the next of ``answers`` unless it is the first."""
        self.frames.append(picture)
        if len(self.frames) == 1:
            return START
        score = self.model.read(*next(answers), self._progress)
        if score.progress is not None:
            self._progress = score.progress
        return score


def _can(backend: Backend, needs: Needs) -> bool:
    able = backend.capabilities
    if needs is Needs.PLAIN_TEXT:
        return able.plain and able.logprobs == "exact"
    return needs is Needs.WORDS or able.logprobs != "none"


def external_view(views: Mapping[str, np.ndarray]) -> np.ndarray:
    """The view of the fixed camera.

    Raises:
        ValueError: If there is none.
    """
    if EXTERNAL not in views:
        raise ValueError(f"expected a view named {EXTERNAL}, got {tuple(views)}")
    return views[EXTERNAL]
