"""One definition of task progress for every suite: reach, contact, actuate, done.

The same words and the same numbers mean the same thing wherever the robot is (design: section 7):
reaching is worth 35 points, touching 15 more, the task's own motion the next 45, and only the
suite's own success is 100. Shaped rewards of the suites are never used: scales differ by task.
"""

from __future__ import annotations

import math

REACH_POINTS = 35.0
CONTACT_POINTS = 15.0
ACTUATE_POINTS = 45.0
NEARLY = REACH_POINTS + CONTACT_POINTS + ACTUATE_POINTS
#: Once this share of the motion is done, the robot has evidently had contact.
EVIDENT_FRACTION = 0.1


def staged_progress(
    *,
    reach_fraction: float,
    contact: bool,
    done_fraction: float,
    success: bool,
) -> float:
    """Return true progress in percent.

    Args:
        reach_fraction: 0 at the start, 1 at the object, negative when farther than at the start.
        contact: Whether the gripper touches (or holds) the object that matters.
        done_fraction: Share of the task's own motion that is complete; negative when undone.
        success: The suite's own success at this moment.

    Returns:
        Percent in [-100, 100]: 100 exactly at success, at most 95 without it. It is continuous but
        for the contact bonus, and rises with each argument.

    Example:
        >>> staged_progress(reach_fraction=0.5, contact=False, done_fraction=0.0, success=False)
        17.5
        >>> staged_progress(reach_fraction=1.0, contact=True, done_fraction=0.5, success=False)
        72.5
    """
    if success:
        return 100.0
    approach = REACH_POINTS * _clip(reach_fraction, -1.0, 1.0) + CONTACT_POINTS * contact
    # A puck that slides on by itself was pushed: leaving it does not undo the reaching.
    evident = _clip(done_fraction / EVIDENT_FRACTION, 0.0, 1.0)
    approach += evident * max(REACH_POINTS + CONTACT_POINTS - approach, 0.0)
    return _clip(approach + ACTUATE_POINTS * _clip(done_fraction, -1.5, 1.0), -100.0, NEARLY)


def free_progress(done_fraction: float, *, success: bool) -> float:
    """Progress of a task without an object (reach a point): the whole way is the motion.

    Example:
        >>> free_progress(0.5, success=False)
        47.5
    """
    return 100.0 if success else _clip(NEARLY * done_fraction, -100.0, NEARLY)


def fraction(start_m: float, now_m: float, slack_m: float = 0.0, worse_m: float = 0.3) -> float:
    """Share of a distance that has been covered: 0 at ``start_m``, 1 within ``slack_m``.

    Going away counts against a fixed ``worse_m``, not against the way itself: a short way would
    make a small detour look like a disaster.

    Example:
        >>> fraction(0.2, 0.1)
        0.5
        >>> round(fraction(0.05, 0.20), 3)
        -0.5
    """
    if now_m > start_m:
        return _clip((start_m - now_m) / worse_m, -1.5, 0.0)
    way_m = max(start_m - slack_m, 1e-3)
    return _clip(1.0 - max(now_m - slack_m, 0.0) / way_m, -1.5, 1.0)


def from_start(progress: float, at_start: float) -> float:
    """Shift progress so that an episode that begins in contact still begins at 0.

    Example:
        >>> from_start(50.0, 50.0), from_start(95.0, 50.0), from_start(100.0, 50.0)
        (0.0, 95.0, 100.0)
    """
    if progress >= 100.0 or at_start == 0.0:
        return progress
    if progress <= at_start:
        # Contact that the start gave away is not a merit: losing it costs less than undoing work.
        price = 0.3 if at_start > REACH_POINTS else 1.0
        return _clip(price * (progress - at_start), -100.0, NEARLY)
    return NEARLY * (progress - at_start) / (NEARLY - at_start)


def _clip(value: float, low: float, high: float) -> float:
    if math.isnan(value):
        raise ValueError("progress: a simulator quantity is NaN")
    return float(min(max(value, low), high))
