"""What the truth is when the same frames are shown in another order, from another first frame.

Most of what a simulator knows is about one moment and moves with its frame. Three facts and the
progress count from the start of the recording; a clip that starts elsewhere has them re-based here,
or loses them where they cannot be known. What is dropped is missing, never wrong.
"""

from __future__ import annotations

import numpy as np

from sole.data.episode import Facts, Truth
from sole.sims.staged import NEARLY

#: An object this close to where it started has not moved, whatever the new first frame is.
STILL_M = 0.002
#: Lowest done fraction (as in :mod:`sole.sims.staged`).
_LEAST_DONE = -1.5


def rebased(values: np.ndarray, top: float, lowest: float) -> np.ndarray:
    """Count values from their first one: it becomes 0, and ``top`` stays ``top``.

    What is gained is a share of what was left to gain, so that finishing is worth the same
    wherever a clip begins (:func:`sole.sims.staged.from_start` and ReWiND, arXiv 2505.10911, do
    so). What is lost counts as it is: undoing finished work costs all of it.

    Args:
        values: ``(T,)``, on a scale that ends at ``top``.
        top: Value of the finished task.
        lowest: Results are cut off here.

    Returns:
        ``(T,)`` in [lowest, top]. The order of the values does not change.

    Example:
        >>> rebased(np.array([60.0, 80.0, 100.0, 30.0]), 100.0, -100.0)
        array([  0.,  50., 100., -30.])
    """
    gained = values - values[0]
    if values[0] == 0:
        return np.clip(gained, lowest, top)
    left = max(top - float(values[0]), 1e-6)
    return np.clip(np.where(gained > 0, gained * (top / left), gained), lowest, top)


def rebased_progress(progress: np.ndarray, success: np.ndarray) -> np.ndarray:
    """True progress of a clip, in percent, from that of its source at the same frames.

    0 at the first frame, 100 exactly where the task is complete, at most 95 elsewhere, negative
    where things are worse than at the first frame. One case is special: a clip whose first frame is
    complete already has nothing left to do, so complete moments stay at 0 and all others are below.

    Args:
        progress: ``(T,)`` percent on the source's scale.
        success: ``(T,)`` bool, the suite's own success at these frames.

    Returns:
        ``(T,)`` float32 in [-100, 100].

    Example:
        >>> rebased_progress(np.array([50.0, 95.0, 100.0, 20.0]), np.array([0, 0, 1, 0], bool))
        array([  0.,  95., 100., -30.], dtype=float32)
        >>> rebased_progress(np.array([100.0, 100.0, 70.0]), np.array([1, 1, 0], bool))
        array([  0.,   0., -30.], dtype=float32)
    """
    values = np.asarray(progress, np.float64)
    if success[0]:
        return np.clip(values - values[0], -100.0, 0.0).astype(np.float32)
    counted = rebased(values, NEARLY, -100.0)
    return np.where(success, 100.0, counted).astype(np.float32)


def rebased_truth(truth: Truth, progress: np.ndarray, done: np.ndarray | None) -> Truth:
    """The truth of a clip whose first frame is the new start.

    Success, contact, grasp, opening, distance and offset to the object, distance to the goal and
    completeness are about one moment and stay. Progress, the done fraction and the object's height
    are re-based. How far the object has moved is known only from the old start: when the object had
    not moved yet at the new start (2 mm), that is the same number; otherwise all facts are dropped,
    because a direction would be needed that nobody wrote down.

    Args:
        truth: Of the clip's frames, still as the source has it (or an earlier clip).
        progress: ``(T,)`` percent on the source's scale.
        done: ``(T,)`` done fraction on the source's scale, None without facts.
    """
    counted = rebased_progress(progress, truth.true_success)
    facts = truth.facts
    if facts and done is not None:
        facts = _rebased_facts(facts, rebased(done, 1.0, _LEAST_DONE))
    return Truth(counted, truth.true_success, facts)


def _rebased_facts(facts: tuple[Facts, ...], done: np.ndarray) -> tuple[Facts, ...]:
    start = facts[0]
    if start["object_moved_m"] > STILL_M:
        return ()
    low_m, moved_m = start["object_height_m"], start["object_moved_m"]
    return tuple(
        {
            **now,
            "object_height_m": round(now["object_height_m"] - low_m, 4),
            "object_moved_m": round(abs(now["object_moved_m"] - moved_m), 4),
            "done_fraction": round(float(fraction), 4),
        }
        for now, fraction in zip(facts, done, strict=True)
    )
