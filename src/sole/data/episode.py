"""The records that every stage exchanges; this module decides their layout and nothing else does.

Frames are uint8 RGB ``(T, H, W, 3)``. Progress is percent. ``true_*`` comes from a simulator,
``judged_*`` from a reward model. Records are frozen and check themselves when made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np

RECORD_VERSION = 1
EXTERNAL = "external"
WRIST = "wrist"
VIEW_NAMES = (EXTERNAL, WRIST)


class Facts(TypedDict):
    """What a simulator knows about one moment, so that a sentence about it can be checked.

    Distances in metres, ``offset_m`` in the world frame of the suite (x right, y away from the
    robot's base, z up in Meta-World), ``done_fraction`` the share of the task's own motion that is
    complete (0 at the start, 1 at the goal, negative when worse than at the start).
    """

    object_name: str
    goal_name: str
    gripper_to_object_m: float
    offset_m: tuple[float, float, float]
    contact: bool
    grasped: bool
    gripper_open: float
    object_moved_m: float
    object_height_m: float
    object_to_goal_m: float
    done_fraction: float
    complete: bool


def check_frames(frames: np.ndarray, what: str = "frames") -> np.ndarray:
    """Return ``frames`` unchanged if they are uint8 RGB ``(T, H, W, 3)`` with T >= 1.

    Raises:
        ValueError: Otherwise; the message names what was expected and what came.

    Example:
        >>> check_frames(np.zeros((2, 4, 4, 3), np.uint8)).shape
        (2, 4, 4, 3)
    """
    if not isinstance(frames, np.ndarray):
        raise ValueError(
            f"{what}: expected a uint8 array (T, H, W, 3), got {type(frames).__name__}"
        )
    good = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3
    if not good or 0 in frames.shape:
        raise ValueError(
            f"{what}: expected uint8 RGB (T, H, W, 3) with no empty axis, "
            f"got {frames.dtype} {frames.shape}"
        )
    return frames


@dataclass(frozen=True)
class Truth:
    """What the simulator knows about every frame of an episode.

    Attributes:
        true_progress: ``(T,)`` float32 percent in [-100, 100]; 100 exactly when succeeded.
        true_success: ``(T,)`` bool, the suite's own success at that frame.
        facts: One :class:`Facts` per frame, or empty when the suite has none.
    """

    true_progress: np.ndarray
    true_success: np.ndarray
    facts: tuple[Facts, ...] = ()

    def __post_init__(self) -> None:
        n_frames = len(self.true_progress)
        if len(self.true_success) != n_frames or (self.facts and len(self.facts) != n_frames):
            raise ValueError(
                f"truth: lengths differ: progress {n_frames}, success {len(self.true_success)}, "
                f"facts {len(self.facts)}"
            )

    @property
    def any_success(self) -> bool:
        """Whether the task was ever complete: the suites' convention for a successful episode."""
        return bool(np.any(self.true_success))


@dataclass(frozen=True)
class Episode:
    """One attempt at one task, as seen by cameras, with the truth beside it when there is one.

    Attributes:
        task: The instruction in English.
        views: Frames by view name (``external``, ``wrist``); uint8 RGB ``(T, H, W, 3)``, equal T.
        fps: Frames per second of the views as stored here.
        actions: ``(T, A)`` float32; row t led from frame t to t+1, the last row is zeros.
        proprio: ``(T, P)`` float32, what the robot feels of itself.
        truth: None for real video.
        suite, env_name, policy, seed: Where the episode comes from.
        extra: Small JSON-able notes.
    """

    task: str
    views: Mapping[str, np.ndarray]
    fps: float = 10.0
    actions: np.ndarray | None = None
    proprio: np.ndarray | None = None
    truth: Truth | None = None
    suite: str = ""
    env_name: str = ""
    policy: str = ""
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_episode(self)

    @property
    def n_frames(self) -> int:
        """Number of frames T, the same in every view."""
        return len(next(iter(self.views.values())))

    def subset(self, indices: np.ndarray | list[int]) -> Episode:
        """Return the episode at these frames only, in this order (actions are dropped)."""
        index = np.asarray(indices, dtype=int)
        truth = self.truth
        if truth is not None:
            facts = tuple(truth.facts[i] for i in index) if truth.facts else ()
            truth = Truth(truth.true_progress[index], truth.true_success[index], facts)
        views = {name: frames[index] for name, frames in self.views.items()}
        proprio = None if self.proprio is None else self.proprio[index]
        return replace(self, views=views, truth=truth, proprio=proprio, actions=None)

    def without_truth(self) -> Episode:
        """Return what a reward model may see: pictures and the instruction."""
        return replace(self, truth=None)


def _check_episode(episode: Episode) -> None:
    if not episode.task.strip():
        raise ValueError("episode: expected a task sentence, got an empty one")
    if not episode.views or not set(episode.views) <= set(VIEW_NAMES):
        raise ValueError(f"episode: expected views among {VIEW_NAMES}, got {tuple(episode.views)}")
    lengths = {}
    for name, frames in episode.views.items():
        lengths[f"view {name}"] = len(check_frames(frames, f"view {name}"))
    if episode.actions is not None:
        lengths["actions"] = len(episode.actions)
    if episode.proprio is not None:
        lengths["proprio"] = len(episode.proprio)
    if episode.truth is not None:
        lengths["truth"] = len(episode.truth.true_progress)
    if len(set(lengths.values())) > 1:
        raise ValueError(f"episode: lengths differ: {lengths}")


@dataclass(frozen=True)
class StepScore:
    """What a reward model said about one frame.

    Attributes:
        progress: Percent in [-100, 100], or None when the model failed (see ``error``).
        success_probability: In [0, 1], or None when the model does not say.
        reasoning: The text between the think tags; empty in fast mode.
        uncertainty: Standard deviation of the read-out in percent points, or None.
        error: Why there is no progress, or None.
        scored: False when the value was interpolated between two scored frames.
    """

    progress: float | None
    success_probability: float | None = None
    reasoning: str = ""
    uncertainty: float | None = None
    error: str | None = None
    scored: bool = True

    def __post_init__(self) -> None:
        if (self.progress is None) == (self.error is None):
            raise ValueError("step score: exactly one of progress and error must be given")
        if self.progress is not None and not -100.0 <= self.progress <= 100.0:
            raise ValueError(f"step score: progress {self.progress} is outside [-100, 100]")


@dataclass(frozen=True)
class EpisodeScore:
    """A reward model's verdict on one episode: one :class:`StepScore` per frame."""

    steps: tuple[StepScore, ...]
    model_id: str
    task: str = ""

    @property
    def judged_progress(self) -> np.ndarray:
        """``(T,)`` float32 percent; NaN where the model failed. Callers choose what NaN means."""
        values = [np.nan if s.progress is None else s.progress for s in self.steps]
        return np.asarray(values, dtype=np.float32)

    @property
    def judged_success(self) -> np.ndarray:
        """``(T,)`` float32 success probability; NaN where the model does not say.

        All of it is NaN for a model that never says (see :attr:`says_success`).
        """
        if not self.says_success:
            return np.full(len(self.steps), np.nan, np.float32)
        said = [s.success_probability for s in self.steps]
        return np.asarray([np.nan if p is None else p for p in said], dtype=np.float32)

    @property
    def says_success(self) -> bool:
        """Whether success probabilities are said of the frames after the first one.

        The first frame is often given and not judged, so what stands there says nothing of the
        model. A model that failed on all others may well say some.

        Example:
            >>> given = StepScore(0.0, success_probability=0.0)
            >>> EpisodeScore((given, StepScore(60.0)), "m").says_success
            False
        """
        later = [s for s in self.steps[1:] if s.scored and s.error is None]
        return not later or any(s.success_probability is not None for s in later)

    @property
    def reasoning(self) -> tuple[str, ...]:
        """The text at each frame."""
        return tuple(s.reasoning for s in self.steps)

    @property
    def n_errors(self) -> int:
        """How many frames the model failed on."""
        return sum(s.error is not None for s in self.steps)


def make_facts(**changes: Any) -> Facts:
    """Return valid example facts: a gripper 20 cm from a puck that has not moved."""
    facts: Facts = {
        "object_name": "puck",
        "goal_name": "goal",
        "gripper_to_object_m": 0.2,
        "offset_m": (0.0, 0.1, -0.17),
        "contact": False,
        "grasped": False,
        "gripper_open": 1.0,
        "object_moved_m": 0.0,
        "object_height_m": 0.0,
        "object_to_goal_m": 0.25,
        "done_fraction": 0.0,
        "complete": False,
    }
    facts.update(changes)  # type: ignore[typeddict-item]
    return facts


def make_example_episode(
    n_frames: int = 6, size_px: int = 32, seed: int = 0, *, truth: bool = True
) -> Episode:
    """Return a small valid episode of random pictures, for tests and documentation.

    Example:
        >>> make_example_episode(4).n_frames
        4
    """
    rng = np.random.default_rng(seed)
    views = {
        name: rng.integers(0, 256, (n_frames, size_px, size_px, 3), dtype=np.uint8)
        for name in VIEW_NAMES
    }
    progress = np.linspace(0.0, 95.0, n_frames).astype(np.float32)
    known = Truth(progress, np.zeros(n_frames, bool), tuple(make_facts() for _ in range(n_frames)))
    return Episode(
        task="push the puck to the goal",
        views=views,
        actions=rng.uniform(-1, 1, (n_frames, 4)).astype(np.float32),
        proprio=rng.uniform(-1, 1, (n_frames, 4)).astype(np.float32),
        truth=known if truth else None,
        suite="example",
        env_name="example",
        policy="random",
        seed=seed,
    )
