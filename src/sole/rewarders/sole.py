"""SOLE: progress by reasoning over first, previous and current frame, chained through time.

Schroeder et al. 2026 (arXiv 2603.28730). Two departures, both against the published decoder's
measured weakness of repeating its last number: the progress is the expectation over the answer
tokens, and each step mixes the chained read with one from zero, which knows no last number.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.models.base import Answer, Question, Reader, Seen
from sole.protocol.chain import fill_between, fuse, scored_frames
from sole.protocol.prompt import parse_reply
from sole.rewarders.base import CostCounters, check_sessions

START = StepScore(progress=0.0, success_probability=0.0, uncertainty=0.0)


@dataclass(frozen=True)
class Decoding:
    """How progress is read from a reader.

    Attributes:
        think: Write reasoning at every scored frame; otherwise one forward pass without words.
        from_zero_weight: Share of the read that knows no earlier number; 0 is the published chain.
        every: Score every this many frames (and the last one); the rest is interpolated.
    """

    think: bool = False
    from_zero_weight: float = 0.25
    every: int = 1


@dataclass
class _Chain:
    """What one episode's next question needs."""

    task: str
    first: Seen
    previous: Seen
    stated: int = 0
    steps: dict[int, StepScore] = field(default_factory=lambda: {0: START})


class SoleRewardModel:
    """Any :class:`Reader` as a reward model.

    Args:
        reader: The model.
        decoding: How to read it.

    Example:
        A look at a video's final progress: ``model.score([episode])[0].judged_progress[-1]``.
    """

    views: tuple[str, ...] = ()

    def __init__(self, reader: Reader, decoding: Decoding | None = None):
        self.reader = reader
        self.decoding = decoding or Decoding()
        mode = "think" if self.decoding.think else "fast"
        weight, every = self.decoding.from_zero_weight, self.decoding.every
        self.model_id = f"{reader.model_id}/{mode}/z{weight:g}/e{every}"
        self.costs = CostCounters()

    def thinking(self) -> SoleRewardModel:
        """The same model writing its reasoning at every scored frame."""
        return SoleRewardModel(self.reader, replace(self.decoding, think=True))

    def fast(self) -> SoleRewardModel:
        """The same model without words: one forward pass per read."""
        return SoleRewardModel(self.reader, replace(self.decoding, think=False))

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame; episodes move through time together, shorter ones end early."""
        began = time.perf_counter()
        for episode in episodes:
            _check_views(episode.views)
        indices = [scored_frames(e.n_frames, self.decoding.every) for e in episodes]
        seen = self._see(episodes, indices)
        chains = [_Chain(e.task, s[0], s[0]) for e, s in zip(episodes, seen, strict=True)]
        for k in range(1, max((len(s) for s in seen), default=0)):
            active = [i for i, s in enumerate(seen) if k < len(s)]
            moments = [seen[i][k] for i in active]
            scores = self._judge([chains[i] for i in active], moments)
            for i, score in zip(active, scores, strict=True):
                chains[i].steps[int(indices[i][k])] = score
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.seconds += time.perf_counter() - began
        return [
            EpisodeScore(fill_between(chain.steps, episode.n_frames), self.model_id, episode.task)
            for chain, episode in zip(chains, episodes, strict=True)
        ]

    def start(self, task: str) -> SoleSession:
        """Open a session that is fed frame by frame; every frame is scored."""
        return SoleSession(self, task)

    def step_sessions(
        self, sessions: Sequence[SoleSession], views: Sequence[Mapping[str, np.ndarray]]
    ) -> list[StepScore]:
        """Judge the next moment of several sessions of this model in one batch.

        Args:
            sessions: Each at most once; how far each has come does not matter.
            views: One moment for each session.

        Raises:
            ValueError: If a session is named twice or is another model's, or a picture is wrong;
                then no session has moved.
        """
        check_sessions(self, sessions)
        for moment in views:
            _check_views(moment)
        pairs = list(zip(sessions, self.reader.see(views), strict=True))
        running = [(s.chain, moment) for s, moment in pairs if s.chain is not None]
        judged = iter(self._judge([c for c, _ in running], [m for _, m in running]))
        self.costs.frames += len(pairs)
        return [START if s.begin(moment) else next(judged) for s, moment in pairs]

    def _see(self, episodes: Sequence[Episode], indices: list[np.ndarray]) -> list[list[Seen]]:
        moments = [
            {name: frames[t] for name, frames in episode.views.items()}
            for episode, kept in zip(episodes, indices, strict=True)
            for t in kept
        ]
        flat = iter(self.reader.see(moments))
        return [[next(flat) for _ in kept] for kept in indices]

    def _judge(self, chains: Sequence[_Chain], moments: Sequence[Seen]) -> list[StepScore]:
        """Score one moment of each chain, and move the chains on."""
        pairs = list(zip(chains, moments, strict=True))
        chained = [Question(c.task, c.first, m, c.previous, c.stated) for c, m in pairs]
        zero = [Question(c.task, c.first, m) for c, m in pairs]
        weight = self.decoding.from_zero_weight
        if self.decoding.think or weight == 0.0:
            answers = self._ask(chained, think=self.decoding.think)
            fresh = self._ask(zero, think=False) if weight else list(answers)
        else:
            both = self._ask([*chained, *zero], think=False)
            answers, fresh = both[: len(pairs)], both[len(pairs) :]
        scores = [_merge(a, f, weight) for a, f in zip(answers, fresh, strict=True)]
        for (chain, moment), score in zip(pairs, scores, strict=True):
            self.costs.parse_failures += score.error is not None
            if score.progress is not None:  # a failed reply never enters the next prompt
                chain.previous, chain.stated = moment, round(score.progress)
        return scores

    def _ask(self, questions: Sequence[Question], *, think: bool) -> list[Answer]:
        answers = self.reader.ask(questions, think=think)
        self.costs.model_calls += len(questions)
        self.costs.generated_tokens += sum(a.n_tokens for a in answers)
        return answers


class SoleSession:
    """One running episode: the first frame is 0 percent, every later one is judged.

    Attributes:
        model: Who judges it.
        chain: What the next question needs; None before the first frame.
    """

    def __init__(self, model: SoleRewardModel, task: str):
        self.model = model
        self.chain: _Chain | None = None
        self._task = task

    def begin(self, moment: Seen) -> bool:
        """Take ``moment`` as the first frame, unless there was one; whether it was taken."""
        if self.chain is not None:
            return False
        self.chain = _Chain(self._task, moment, moment)
        return True

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next moment; each view is uint8 RGB ``(H, W, 3)``."""
        return self.model.step_sessions([self], [views])[0]


def _merge(chained: Answer, fresh: Answer, weight: float) -> StepScore:
    """Mix two answers into one score; a reply that cannot be read is an error, never a number."""
    reply = parse_reply(chained.reply)
    if reply.error is not None or chained.progress is None or fresh.progress is None:
        error = chained.error or fresh.error or reply.error or "the reply has no number"
        return StepScore(None, reasoning=reply.reasoning, error=error)
    spread = _fuse_known(chained.spread, fresh.spread, weight)
    apart = abs(chained.progress - fresh.progress) / 2
    return StepScore(
        progress=float(np.clip(fuse(chained.progress, fresh.progress, weight), -100, 100)),
        success_probability=_fuse_known(
            chained.success_probability, fresh.success_probability, weight
        ),
        reasoning=reply.reasoning,
        uncertainty=None if spread is None else float(np.hypot(spread, apart)),
    )


def _fuse_known(chained: float | None, fresh: float | None, weight: float) -> float | None:
    """Mix two values of a read-out; what a model does not say stays unsaid."""
    if chained is None or fresh is None:
        return None
    return float(fuse(chained, fresh, weight))


def _check_views(views: Mapping[str, np.ndarray]) -> None:
    if "external" not in views and "wrist" not in views:
        raise ValueError(f"expected a view named external or wrist, got {tuple(views)}")


def load_sole(
    name_or_path: str = "nano", *, device: str = "cpu", **options: object
) -> SoleRewardModel:
    """Make the reward model of the shipped nano, or of a nano checkpoint folder.

    Args:
        name_or_path: ``nano`` or a folder.
        device: Where to run.
        options: Fields of :class:`Decoding`.

    Raises:
        ModelError: If there are no weights.
    """
    from sole.models.nano.reader import NanoReader

    folder = None if name_or_path == "nano" else Path(name_or_path)
    return SoleRewardModel(NanoReader(folder, device), Decoding(**options))  # type: ignore[arg-type]
