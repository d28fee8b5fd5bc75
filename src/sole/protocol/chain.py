"""Stepping through an episode: which frames are scored, what is carried, what lies between.

The chain states the last *valid* progress and shows the frame it belongs to as "previous". A reply
that failed changes neither; it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sole.data.episode import EpisodeScore, StepScore


@dataclass(frozen=True)
class ChainState:
    """What one running episode carries from a scored frame to the next.

    Attributes:
        first_views: The first frame, uint8 RGB ``(H, W, 3)`` by view name.
        previous_views: The last frame whose score was valid.
        progress: Its progress in percent; 0 at the first frame by definition.
        n_failures: Replies so far that gave no progress.
        n_failures_in_a_row: The same since the last valid one.
        n_reused: Frames that took over the last score because nothing had changed.
    """

    first_views: Mapping[str, np.ndarray]
    previous_views: Mapping[str, np.ndarray]
    progress: float = 0.0
    n_failures: int = 0
    n_failures_in_a_row: int = 0
    n_reused: int = 0

    @classmethod
    def start(cls, views: Mapping[str, np.ndarray]) -> ChainState:
        """Open the chain at the first frame; the pixels are copied, callers may reuse theirs."""
        held = _held(views)
        return cls(first_views=held, previous_views=held)

    @property
    def stated_progress(self) -> int:
        """The integer that the next prompt states.

        Example:
            >>> ChainState({}, {}, progress=41.6).stated_progress
            42
        """
        return round(self.progress)

    def after(self, views: Mapping[str, np.ndarray], progress: float | None) -> ChainState:
        """The state once a frame was scored.

        Args:
            views: The scored frame; copied.
            progress: Percent in [-100, 100], or None when the reply failed.

        Raises:
            ValueError: If ``progress`` is a number outside [-100, 100], or NaN.

        Example:
            >>> state = ChainState.start({}).after({}, 30.0).after({}, None)
            >>> state.stated_progress, state.n_failures
            (30, 1)
        """
        if progress is None:
            return replace(
                self,
                n_failures=self.n_failures + 1,
                n_failures_in_a_row=self.n_failures_in_a_row + 1,
            )
        if not -100.0 <= progress <= 100.0:
            raise ValueError(f"chain: expected a progress in [-100, 100], got {progress}")
        return replace(
            self, previous_views=_held(views), progress=float(progress), n_failures_in_a_row=0
        )

    def after_reuse(self) -> ChainState:
        """The state once a frame took over the last score; the frame compared with stays."""
        return replace(self, n_reused=self.n_reused + 1)


def scored_frames(n_frames: int, every: int) -> np.ndarray:
    """Indices of the frames a model is asked about: each ``every``-th, the first and the last.

    Returns:
        int64, strictly increasing, from 0 to ``n_frames - 1``.

    Raises:
        ValueError: If either argument is below 1.

    Example:
        >>> scored_frames(8, 3).tolist(), scored_frames(7, 3).tolist(), scored_frames(1, 3).tolist()
        ([0, 3, 6, 7], [0, 3, 6], [0])
    """
    if n_frames < 1 or every < 1:
        raise ValueError(f"frames: expected n_frames and every >= 1, got {n_frames} and {every}")
    return np.unique(np.append(np.arange(0, n_frames, every), n_frames - 1))


def interpolate_scores(
    values: Sequence[float | None] | np.ndarray, indices: np.ndarray, n_frames: int
) -> np.ndarray:
    """Spread the scores of some frames linearly over all of them.

    A missing value (None or NaN) takes the last valid one before it, as the chain does. Frames
    before the first valid value stay NaN: nothing is known about them. After the last index its
    value is held.

    Args:
        values: One per index, percent.
        indices: Strictly increasing frame indices.
        n_frames: Length of the episode.

    Returns:
        float64 ``(n_frames,)``.

    Raises:
        ValueError: If the lengths differ or the indices are not increasing and within range.

    Example:
        >>> interpolate_scores([0.0, None, 40.0], np.array([0, 2, 4]), 6).tolist()
        [0.0, 0.0, 0.0, 20.0, 40.0, 40.0]
    """
    known = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    frames = np.asarray(indices)
    within = frames.size > 0 and frames[0] >= 0 and frames[-1] < n_frames
    if known.shape != frames.shape or not within or np.any(np.diff(frames) <= 0):
        raise ValueError(
            f"scores: expected one value per increasing index below {n_frames}, "
            f"got {len(known)} values at {frames.tolist()}"
        )
    valid = np.flatnonzero(~np.isnan(known))
    everywhere = np.full(n_frames, np.nan)
    if valid.size:
        held = known[valid[np.searchsorted(valid, np.arange(valid[0], len(known)), "right") - 1]]
        start = frames[valid[0]]
        everywhere[start:] = np.interp(np.arange(start, n_frames), frames[valid[0] :], held)
    return everywhere


def spread_score(score: EpisodeScore, frames: np.ndarray, n_frames: int) -> EpisodeScore:
    """Put the score of some frames onto all of them; what lies between is interpolated.

    Args:
        score: One step per entry of ``frames``.
        frames: Increasing frame indices.
        n_frames: Length of the result.
    """
    if len(frames) == n_frames:
        return score
    steps = dict(zip((int(t) for t in frames), score.steps, strict=True))
    between = interpolate_scores(score.judged_progress, frames, n_frames)
    filled = [steps.get(t) or _between(float(between[t])) for t in range(n_frames)]
    return replace(score, steps=tuple(filled))


def _between(progress: float) -> StepScore:
    if np.isnan(progress):
        return StepScore(None, error="no frame before this one has a progress", scored=False)
    return StepScore(progress, scored=False)


def fill_between(steps: Mapping[int, StepScore], n_frames: int) -> tuple[StepScore, ...]:
    """Interpolate the frames that were not scored; failures stay failures where they happened.

    Args:
        steps: Scores by frame; frame 0 is among them and has a progress.
        n_frames: Length of the episode.

    Example:
        >>> filled = fill_between({0: StepScore(0.0), 2: StepScore(40.0)}, 3)
        >>> filled[1].progress, filled[1].scored
        (20.0, False)
    """
    indices = np.array(sorted(steps))
    between = interpolate_scores([steps[t].progress for t in indices], indices, n_frames)
    return tuple(
        steps[t] if t in steps else StepScore(float(between[t]), scored=False)
        for t in range(n_frames)
    )


def fuse(chained: np.ndarray | float, from_zero: np.ndarray | float, weight: float) -> np.ndarray:
    """Mix chained and from-zero reads, because they fail differently.

    A chained read can stay anchored to an old number; a from-zero read cannot, but sees no change.

    Args:
        chained: Percent; NaN where the read failed.
        from_zero: The same, of an equal or broadcastable shape.
        weight: Share of the from-zero read, in [0, 1].

    Returns:
        float64; where one read is missing the other one stands alone, NaN where both are.

    Raises:
        ValueError: If ``weight`` is outside [0, 1].

    Example:
        >>> fuse(np.array([20.0, np.nan]), np.array([40.0, 50.0]), 0.25).tolist()
        [25.0, 50.0]
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"fuse: expected a weight in [0, 1], got {weight}")
    first, second = np.broadcast_arrays(np.asarray(chained, float), np.asarray(from_zero, float))
    mixed = (1.0 - weight) * first + weight * second
    mixed = np.clip(mixed, np.minimum(first, second), np.maximum(first, second))
    return np.where(np.isnan(first), second, np.where(np.isnan(second), first, mixed))


def frame_changed(
    previous: Mapping[str, np.ndarray], current: Mapping[str, np.ndarray], threshold: float
) -> bool:
    """Whether any view differs from before by more than ``threshold``.

    Args:
        previous: uint8 frames by view name.
        current: The same views, of equal shapes.
        threshold: Mean absolute difference over a view's pixels and channels, in levels (0-255).

    Raises:
        ValueError: If the views or their shapes differ, or a frame is not uint8.

    Example:
        >>> old, new = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 3, np.uint8)
        >>> frame_changed({"wrist": old}, {"wrist": new}, 2.0)
        True
    """
    if set(previous) != set(current):
        raise ValueError(f"views: expected {tuple(previous)}, got {tuple(current)}")
    return any(_mean_difference(previous[name], current[name]) > threshold for name in current)


def _mean_difference(previous: np.ndarray, current: np.ndarray) -> float:
    if previous.shape != current.shape or {previous.dtype, current.dtype} != {np.dtype(np.uint8)}:
        raise ValueError(
            f"frames: expected two of equal shape, uint8, got {previous.dtype} {previous.shape} "
            f"and {current.dtype} {current.shape}"
        )
    return float(np.abs(current.astype(np.int16) - previous.astype(np.int16)).mean())


def _held(views: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: frame.copy() for name, frame in views.items()}
