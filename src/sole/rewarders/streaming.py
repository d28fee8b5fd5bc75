"""``stream:MODEL``: an episode as one conversation, see :mod:`sole.protocol.streaming`.

Each moment is a turn after all earlier ones, so whoever serves the model with a prefix cache (vLLM)
reads only that turn: for 25 frames with two views about a third of what the three-column picture
takes (``sole bench tokens`` counts). With ``think`` the reply's words are read; without, the
probabilities of all 201 answers, whose expectation is the progress. A reply that cannot be read is
an error of its frame, and what follows is asked as if that frame had not been shown.

The source of the form is ours. The released SOLE-R1-8B was trained on pictures and not on this.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ConfigError
from sole.models.backend import Backend, Prompt
from sole.models.base import check_moment
from sole.protocol.chain import fill_between, scored_frames
from sole.protocol.prompt import parse_reply, write_reply
from sole.protocol.readout import PROGRESS_VALUES, read_expectation
from sole.protocol.streaming import Conversation
from sole.rewarders.base import CostCounters, check_sessions

NAME = "stream"
MAX_NEW_TOKENS = 400
SUCCESS_ABOVE = 97
_ANSWERS = tuple(write_reply("", int(value)) for value in PROGRESS_VALUES)
_START = StepScore(progress=0.0, success_probability=0.0, uncertainty=0.0)


class StreamingModel:
    """A backend that is told an episode as it goes.

    Args:
        backend: The model.
        think: Let it write words before each number.
        every: Show every this many frames, and the last one; the rest is interpolated.

    Raises:
        ConfigError: If probabilities are wanted of a backend that has none.
    """

    views: tuple[str, ...] = ()

    def __init__(self, backend: Backend, *, think: bool = False, every: int = 1):
        self.backend, self.think, self.every = backend, think, every
        self.max_new_tokens = MAX_NEW_TOKENS
        self.model_id = f"{NAME}:{backend.model_id}/{'think' if think else 'fast'}/e{every}"
        self.costs = CostCounters()
        if not think and backend.capabilities.logprobs != "exact":
            raise ConfigError(
                f"model {self.model_id}: this endpoint gives no probabilities of whole answers, so "
                "its replies must be read: add --think (sole serve: --think always)"
            )

    def thinking(self) -> StreamingModel:
        """The same model, its replies read."""
        return StreamingModel(self.backend, think=True, every=self.every)

    def fast(self) -> StreamingModel:
        """The same model without words, its numbers weighed by their probabilities."""
        return StreamingModel(self.backend, think=False, every=self.every)

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode; episodes move through time together.

        Raises:
            ValueError: If an episode has neither of the views.
        """
        began = time.perf_counter()
        shown = [scored_frames(e.n_frames, self.every) for e in episodes]
        sessions = [self.start(episode.task) for episode in episodes]
        judged: list[dict[int, StepScore]] = [{} for _ in episodes]
        for k in range(max((len(indices) for indices in shown), default=0)):
            active = [i for i, indices in enumerate(shown) if k < len(indices)]
            frames = [int(shown[i][k]) for i in active]
            views = [_moment(episodes[i], t) for i, t in zip(active, frames, strict=True)]
            steps = self._step([sessions[i] for i in active], views)
            for i, t, step in zip(active, frames, steps, strict=True):
                judged[i][t] = step
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.seconds += time.perf_counter() - began
        return [
            EpisodeScore(fill_between(steps, e.n_frames), self.model_id, e.task)
            for steps, e in zip(judged, episodes, strict=True)
        ]

    def start(self, task: str) -> StreamingSession:
        """Open a session that is fed frame by frame; every frame is shown."""
        return StreamingSession(self, task)

    def step_sessions(
        self,
        sessions: Sequence[StreamingSession],
        views: Sequence[Mapping[str, np.ndarray]],
    ) -> list[StepScore]:
        """Judge the next moment of several sessions of this model together.

        Raises:
            ValueError: If a session is named twice or is another model's, or a picture is wrong;
                then no session has moved.
        """
        check_sessions(self, sessions)
        steps = self._step(sessions, views)
        self.costs.frames += len(sessions)
        return steps

    def _step(
        self, sessions: Sequence[StreamingSession], views: Sequence[Mapping[str, np.ndarray]]
    ) -> list[StepScore]:
        for moment in views:
            check_moment(moment)
        talks = [s.ask(moment) for s, moment in zip(sessions, views, strict=True)]
        running = [i for i, s in enumerate(sessions) if s.told is not None]
        said = iter(self._say([talks[i] for i in running]))
        return [
            s.begin(talk) if s.told is None else s.take(talk, *next(said))
            for s, talk in zip(sessions, talks, strict=True)
        ]

    def _say(self, talks: Sequence[Conversation]) -> list[tuple[StepScore, str]]:
        """A score and the reply that the conversation goes on with; no reply where it failed."""
        prompts = [Prompt(talk.images, talk.messages) for talk in talks]
        self.costs.model_calls += len(prompts)
        if not prompts:
            return []
        if not self.think:
            rows = self.backend.logprobs(prompts, _ANSWERS)
            self.costs.generated_tokens += len(prompts)
            return [self._weighed(row) for row in rows]
        replies = self.backend.generate(prompts, max_new_tokens=self.max_new_tokens)
        self.costs.generated_tokens += sum(reply.n_tokens for reply in replies)
        return [self._read(reply.text, reply.error) for reply in replies]

    def _weighed(self, row: np.ndarray) -> tuple[StepScore, str]:
        if np.isnan(row).any():
            return self._failed("the model gave no probabilities of the answers")
        mean, spread = read_expectation(row)
        shares = np.exp(row - row.max())
        success = float(shares[PROGRESS_VALUES > SUCCESS_ABOVE].sum() / shares.sum())
        step = StepScore(float(mean), success_probability=success, uncertainty=float(spread))
        return step, write_reply("", round(float(mean)))

    def _read(self, text: str, error: str | None) -> tuple[StepScore, str]:
        found = parse_reply(text)
        if error or found.progress is None:
            return self._failed(error or found.error or "the reply has no number", found.reasoning)
        return StepScore(found.progress, reasoning=found.reasoning), text

    def _failed(self, error: str, reasoning: str = "") -> tuple[StepScore, str]:
        self.costs.parse_failures += 1
        return StepScore(None, reasoning=reasoning, error=error), ""


class StreamingSession:
    """One running episode.

    Attributes:
        model: Who judges it.
        told: The conversation so far; None before the first frame.
    """

    def __init__(self, model: StreamingModel, task: str):
        self.model = model
        self.told: Conversation | None = None
        self._task = task

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next moment; each view is uint8 RGB ``(H, W, 3)``."""
        return self.model.step_sessions([self], [views])[0]

    def ask(self, views: Mapping[str, np.ndarray]) -> Conversation:
        """The conversation with one more moment; nothing is kept of it yet."""
        if self.told is None:
            return Conversation.start(self._task, views)
        return self.told.asking(views)

    def begin(self, talk: Conversation) -> StepScore:
        """Keep the first moment, which is 0 percent."""
        self.told = talk
        return _START

    def take(self, talk: Conversation, step: StepScore, reply: str) -> StepScore:
        """Keep the moment and the reply, unless it failed."""
        if reply:
            self.told = talk.answered(reply)
        return step


def _moment(episode: Episode, index: int) -> dict[str, np.ndarray]:
    return {name: frames[index] for name, frames in episode.views.items()}
