"""Reward models that look at nothing, or at everything: what a real one must beat, or cannot.

A video that is played forwards makes any rising number look like understanding; these controls say
how much of a metric comes for free. All of them put frame 0 at 0 percent, as the protocol does, and
call ``progress / 100`` (not below 0) the probability of success.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence

import numpy as np

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.models.base import check_moment
from sole.rewarders.base import CostCounters, Session

DEFAULT_SESSION_STEPS = 25
_WALK_STEP_PERCENT = 8.0


def _step(progress: float) -> StepScore:
    held = float(np.clip(progress, -100.0, 100.0))
    return StepScore(held, success_probability=max(held, 0.0) / 100.0)


class _Control:
    """What the controls share: costs, and scoring an episode by stepping through it."""

    views: tuple[str, ...] = ()

    def __init__(self, model_id: str):
        self.model_id = model_id
        self.costs = CostCounters()

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode."""
        began = time.perf_counter()
        scores = [EpisodeScore(self._steps(e), self.model_id, e.task) for e in episodes]
        self.costs.episodes += len(episodes)
        self.costs.frames += sum(e.n_frames for e in episodes)
        self.costs.seconds += time.perf_counter() - began
        return scores

    def start(self, task: str) -> Session:
        """Open a session that is fed one frame at a time."""
        raise NotImplementedError

    def _steps(self, episode: Episode) -> tuple[StepScore, ...]:
        session = self.start(episode.task)
        frames = ({n: v[t] for n, v in episode.views.items()} for t in range(episode.n_frames))
        return tuple(session.step(frame) for frame in frames)


class Ramp(_Control):
    """Progress that rises with time alone: ``100 t / (T - 1)``, blind to the pictures.

    Args:
        expected_steps: Frames that a session takes the episode to have, at least 2; afterwards it
            stays at 100. Whole episodes know their own length.

    Example:
        >>> from sole.data.episode import make_example_episode
        >>> Ramp().score([make_example_episode(3)])[0].judged_progress.tolist()
        [0.0, 50.0, 100.0]
    """

    def __init__(self, expected_steps: int = DEFAULT_SESSION_STEPS):
        if expected_steps < 2:
            raise ValueError(f"ramp: expected at least 2 steps, got {expected_steps}")
        super().__init__("ramp")
        self.expected_steps = expected_steps

    def start(self, task: str) -> Session:
        """Open a session of ``expected_steps`` frames."""
        return _RampSession(self.expected_steps)

    def _steps(self, episode: Episode) -> tuple[StepScore, ...]:
        n = episode.n_frames
        return tuple(_step(100.0 * t / (n - 1) if n > 1 else 0.0) for t in range(n))


class _RampSession:
    def __init__(self, expected_steps: int):
        self._last = expected_steps - 1
        self._t = -1

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Count one more frame."""
        check_moment(views)
        self._t += 1
        return _step(100.0 * self._t / self._last)


class Constant(_Control):
    """The same progress at every frame but the first, which is 0.

    Args:
        value: Percent in [-100, 100].

    Example:
        >>> from sole.data.episode import make_example_episode
        >>> Constant(50).score([make_example_episode(3)])[0].judged_progress.tolist()
        [0.0, 50.0, 50.0]
    """

    def __init__(self, value: float):
        if not -100.0 <= value <= 100.0:
            raise ValueError(f"constant: expected percent in [-100, 100], got {value}")
        super().__init__(f"constant:{value:g}")
        self.value = float(value)

    def start(self, task: str) -> Session:
        """Open a session."""
        return _ConstantSession(self.value)


class _ConstantSession:
    def __init__(self, value: float):
        self._value = value
        self._begun = False

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Say the value again."""
        check_moment(views)
        value = self._value if self._begun else 0.0
        self._begun = True
        return _step(value)


class RandomWalk(_Control):
    """A smooth curve that means nothing: each frame moves it by chance (8 percent points, normal).

    The chance is drawn from the pixels so far, the instruction and the seed, so that the same
    episode always gets the same curve, alone or in any batch.

    Args:
        seed: Another seed is another walk.
    """

    def __init__(self, seed: int = 0):
        super().__init__(f"random:{seed}")
        self.seed = seed

    def start(self, task: str) -> Session:
        """Open a session."""
        return _WalkSession(f"{self.seed}\n{task}")


class _WalkSession:
    def __init__(self, origin: str):
        self._digest = hashlib.blake2b(origin.encode(), digest_size=8).digest()
        self._progress: float | None = None

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Move by a draw that this frame and all earlier ones decide."""
        check_moment(views)
        state = hashlib.blake2b(self._digest, digest_size=8)
        for name in sorted(views):
            state.update(name.encode())
            state.update(np.ascontiguousarray(views[name]).tobytes())
        self._digest = state.digest()
        if self._progress is None:
            self._progress = 0.0
        else:
            draw = np.random.default_rng(int.from_bytes(self._digest, "big")).normal()
            self._progress = float(
                np.clip(self._progress + _WALK_STEP_PERCENT * draw, -100.0, 100.0)
            )
        return _step(self._progress)


class Oracle(_Control):
    """The simulator's own truth as if a model had said it: the ceiling of any reward model.

    It copies ``Episode.truth`` and looks at no picture; an episode without truth is refused, and
    so are sessions, which are fed pictures only.
    """

    def __init__(self) -> None:
        super().__init__("oracle")

    def start(self, task: str) -> Session:
        """Refuse.

        Raises:
            ValueError: Always.
        """
        raise ValueError("oracle: a session is fed pictures, which hold no truth; use score()")

    def _steps(self, episode: Episode) -> tuple[StepScore, ...]:
        truth = episode.truth
        if truth is None:
            raise ValueError(
                f"oracle: expected an episode with a simulator's truth, got one of "
                f"{episode.n_frames} frames without ({episode.task!r})"
            )
        return tuple(
            StepScore(float(p), success_probability=float(s))
            for p, s in zip(truth.true_progress, truth.true_success, strict=True)
        )
