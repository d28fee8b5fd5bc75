"""Several judgements of one film: other reward models, and the same film a little altered.

An agent finds what a judge gets wrong. What several models, or one model on pictures that mean the
same, do not agree on is more likely such a mistake: the mean is the progress, and the standard
deviation between them the uncertainty, for ``caution`` and ``gate`` (:mod:`sole.progress.caution`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.models.base import check_moment
from sole.rewarders.base import CostCounters, RewardModel, Session, close_session
from sole.rewarders.beside import in_way
from sole.rewarders.calibrated import success_at

#: Of a picture's side: how far a copy is moved, up, down, left and right in turn.
_SHIFT = 0.04
_DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))
#: By how much the colour channels of a copy are strengthened or weakened, in turn.
_GAINS = ((1.12, 0.94, 0.94), (0.94, 1.12, 0.94), (0.94, 0.94, 1.12), (0.85, 0.85, 0.85))


def altered(frames: np.ndarray, copy: int) -> np.ndarray:
    """Copy number ``copy`` of pictures: 0 as they are, others moved by 4 % and recoloured.

    Which way and which colour follow from the number alone, so all moments of a film are altered
    alike. What leaves the picture is gone; the edge that is left is repeated.

    Args:
        frames: uint8 RGB ``(..., H, W, 3)``.
        copy: At least 0.

    Example:
        >>> frames = np.full((2, 50, 50, 3), 100, np.uint8)
        >>> altered(frames, 1)[0, 0, 0].tolist()
        [112, 94, 94]
    """
    if copy == 0:
        return frames
    down, right = _DIRECTIONS[(copy - 1) % 4]
    times = 1 + (copy - 1) // 4
    height, width = frames.shape[-3:-1]
    rows = np.clip(np.arange(height) - down * times * round(_SHIFT * height), 0, height - 1)
    columns = np.clip(np.arange(width) - right * times * round(_SHIFT * width), 0, width - 1)
    moved = frames[..., rows[:, None], columns[None, :], :]
    gains = np.asarray(_GAINS[(copy - 1) % 4], np.float32)
    return np.rint(np.clip(moved * gains, 0, 255)).astype(np.uint8)


def agree(steps: Sequence[StepScore]) -> StepScore:
    """One score of several of the same moment.

    The progress is the mean of those that could be read, the uncertainty their standard deviation,
    the success probability the lowest. It fails when all of them do.

    Example:
        >>> one = agree([StepScore(40.0, 0.5), StepScore(60.0, 0.1)])
        >>> one.progress, one.uncertainty, one.success_probability
        (50.0, 10.0, 0.1)
    """
    said = [s.progress for s in steps if s.progress is not None]
    if not said:
        return StepScore(None, reasoning=steps[0].reasoning, error=steps[0].error)
    sure = [s.success_probability for s in steps if s.success_probability is not None]
    return StepScore(
        float(np.mean(said)),
        success_probability=min(sure) if sure else None,
        reasoning=steps[0].reasoning,
        uncertainty=float(np.std(said)),
        scored=steps[0].scored,
    )


class EnsembleRewardModel:
    """Every member judges every copy.

    Args:
        members: At least one.
        copies: Of each film, the unaltered one included.
        first_copy: 1 leaves the unaltered one out.

    Raises:
        ValueError: If there is no member or no copy.
    """

    def __init__(self, members: Sequence[RewardModel], copies: int = 1, *, first_copy: int = 0):
        if not members or not 0 <= first_copy < copies:
            raise ValueError(
                f"ensemble: expected members and copies, got {len(members)} and "
                f"{first_copy}..{copies}"
            )
        self.members, self.copies = tuple(members), range(first_copy, copies)
        names = "+".join(member.model_id for member in members)
        self.model_id = f"{names}/copies{first_copy}-{copies - 1}"
        self.costs = CostCounters()
        self.views = tuple(dict.fromkeys(view for m in members for view in m.views))

    def count(self) -> None:
        """Bring the costs up to date: episodes and frames as they came, the rest of all members."""
        spent = [member.costs for member in self.members]
        self.costs.model_calls = sum(one.model_calls for one in spent)
        self.costs.generated_tokens = sum(one.generated_tokens for one in spent)
        self.costs.parse_failures = sum(one.parse_failures for one in spent)
        self.costs.seconds = sum(one.seconds for one in spent)

    @property
    def success_threshold(self) -> float:
        """That of the first member: the others can only lower the success probability."""
        return success_at(self.members[0], None)

    def thinking(self) -> RewardModel:
        """The first member alone, writing its reasoning where it can."""
        return in_way(self.members[0], "thinking")

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode; each member gets all copies in one batch."""
        films = [_altered(episode, k) for k in self.copies for episode in episodes]
        n = len(episodes)
        scores = [member.score(films) for member in self.members]
        self.costs.episodes += n
        self.costs.frames += sum(episode.n_frames for episode in episodes)
        self.count()
        votes = [[s[k * n + i] for s in scores for k in range(len(self.copies))] for i in range(n)]
        return [
            EpisodeScore(
                tuple(agree(steps) for steps in zip(*(v.steps for v in of_one), strict=True)),
                self.model_id,
                episode.task,
            )
            for episode, of_one in zip(episodes, votes, strict=True)
        ]

    def start(self, task: str) -> EnsembleSession:
        """Open a session that is fed one frame at a time."""
        sessions = [m.start(task) for m in self.members for _ in self.copies]
        return EnsembleSession(self, sessions)


class EnsembleSession:
    """One running episode before all members.

    Args:
        model: The ensemble.
        sessions: Of each member one for every copy, member by member.
    """

    def __init__(self, model: EnsembleRewardModel, sessions: Sequence[Session]):
        self._model, self._sessions = model, tuple(sessions)

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next frame; each view is uint8 RGB ``(H, W, 3)``."""
        check_moment(views)
        seen = [{n: altered(v, k) for n, v in views.items()} for k in self._model.copies]
        steps = [s.step(seen[i % len(seen)]) for i, s in enumerate(self._sessions)]
        self._model.costs.frames += 1
        self._model.count()
        return agree(steps)

    def close(self) -> None:
        """Let whoever keeps the members' sessions forget them."""
        for session in self._sessions:
            close_session(session)


def _altered(episode: Episode, copy: int) -> Episode:
    if copy == 0:
        return episode
    return replace(episode, views={n: altered(v, copy) for n, v in episode.views.items()})
