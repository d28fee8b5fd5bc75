"""Jump cuts: frames of an expert are left out, or played again. Does the judge go along at once?

A judge that is told its own last number may cling to it (anchoring). Here true progress jumps by
more than 30 points between two neighbouring frames, up or down, and the judge has two frames to
follow. Definition: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sole.data.episode import Episode

#: True progress changes by more than this in a cut, percent points.
JUMP_POINTS = 30.0
#: Frames that a judge has for following: that of the jump and the next.
WITHIN_FRAMES = 2
#: As near to the truth is right, percent points.
NEAR_POINTS = 10.0
#: Less is no movement: being near by luck counts for nothing, percent points.
MOVED_POINTS = 10.0
#: A film with a cut upwards is at least this long: in a shorter one a ramp in time is so steep that
#: it seems to follow.
CLIP_FRAMES = 26
_CONTEXT_FRAMES = 3
_APART_FRAMES = 3


@dataclass(frozen=True)
class Cut:
    """A place where a film of one episode is cut.

    Attributes:
        before: Frame of the episode after which it is cut.
        after: Frame at which it goes on, earlier or later than the one that would follow.
    """

    before: int
    after: int


def jump_cuts(true_progress: Sequence[float] | np.ndarray) -> list[Cut]:
    """Up to two cuts upwards and two downwards, each time the earliest and the latest.

    A cut goes to the nearest frame at which, and at the one after which, the truth is more than 30
    points away. The two of a direction are at least three frames apart.

    Args:
        true_progress: ``(T,)`` percent, up to the first success.

    Example:
        >>> [(cut.before, cut.after) for cut in jump_cuts(range(0, 101, 10))]
        [(2, 6), (5, 9), (6, 1), (10, 5)]
    """
    true = np.asarray(true_progress, float)
    return [*_first_and_last(true, 1), *_first_and_last(true, -1)]


def _first_and_last(true: np.ndarray, sign: int) -> list[Cut]:
    places = range(_CONTEXT_FRAMES - 1, len(true))
    cuts = [cut for before in places if (cut := _nearest(true, before, sign))]
    if not cuts or cuts[-1].before - cuts[0].before < _APART_FRAMES:
        return cuts[:1]
    return [cuts[0], cuts[-1]]


def _nearest(true: np.ndarray, before: int, sign: int) -> Cut | None:
    """The shortest cut after frame ``before``; frame 0 itself is never cut to."""
    last_start = len(true) - WITHIN_FRAMES
    # The frame that follows by itself is no cut; before this one, any is.
    starts = range(before + 2, last_start + 1) if sign > 0 else range(before - 1, 0, -1)
    for after in starts:
        seen = true[after : after + WITHIN_FRAMES]
        if np.all(sign * (seen - true[before]) > JUMP_POINTS):
            return Cut(before, after)
    return None


def cut_clip(forward: Episode, cut: Cut) -> Episode:
    """The film with the cut in it.

    After a cut back it ends when the judge has had its two frames. After a cut upwards it plays on,
    and holds its last picture, up to 26 frames in all.

    Args:
        forward: The episode up to its first success.
        cut: One of :func:`jump_cuts` of its truth.
    """
    n_after = WITHIN_FRAMES
    if cut.after > cut.before:
        n_after = max(CLIP_FRAMES - (cut.before + 1), WITHIN_FRAMES)
    goes_on = np.minimum(np.arange(cut.after, cut.after + n_after), forward.n_frames - 1)
    return forward.subset(np.concatenate([np.arange(cut.before + 1), goes_on]))


def follows(before: int, true: np.ndarray, judged: np.ndarray) -> bool:
    """Whether judged progress goes along with a jump after frame ``before``, within two frames.

    At one of them it has moved in the jump's direction by half of the true jump, or by 10 points
    and is within 10 points of the truth.

    Args:
        before: Last frame before the jump.
        true: ``(T,)`` percent.
        judged: ``(T,)`` percent.

    Example:
        >>> true = np.array([0.0, 10.0, 60.0, 65.0])
        >>> follows(1, true, np.array([0.0, 10.0, 12.0, 40.0]))
        True
        >>> follows(1, true, np.array([0.0, 10.0, 14.0, 18.0]))
        False
    """
    jump = float(true[before + 1] - true[before])
    seen = slice(before + 1, before + 1 + WITHIN_FRAMES)
    moved = np.sign(jump) * (judged[seen] - judged[before])
    near = np.abs(judged[seen] - true[seen]) <= NEAR_POINTS
    return bool(np.any((moved >= abs(jump) / 2) | (near & (moved >= MOVED_POINTS))))
