"""Where one word ends and the next begins: every threshold between facts and language.

The writer (:mod:`sole.synth.reasoning`) uses the borders as they stand. The checker
(:mod:`sole.synth.claims`) calls a claim false only when it is wrong beyond the slack given here,
so that a model is not blamed for a millimetre. Distances in metres, fractions without unit.
"""

from __future__ import annotations

import math

from sole.data.episode import Facts
from sole.sims.staged import fraction, free_progress, staged_progress

#: Distance from gripper to object, from ... up to.
DISTANCES_M: dict[str, tuple[float, float]] = {
    "at": (0.0, 0.05),
    "near": (0.05, 0.12),
    "some_way": (0.12, 0.22),
    "far": (0.22, math.inf),
}
#: A distance word is false when the distance misses its range by more than this share.
DISTANCE_SLACK_SHARE = 0.3

#: Share of the task's own motion that is done, from ... up to (never with ``complete``).
STAGES: dict[str, tuple[float, float]] = {
    "worse": (-math.inf, -0.05),
    "not_started": (-0.05, 0.05),
    "partly": (0.05, 0.4),
    "half": (0.4, 0.6),
    "mostly": (0.6, 0.8),
    "nearly": (0.8, math.inf),
}
STAGE_SLACK = 0.06

#: Side of the gripper on which the object lies: axis of ``offset_m`` (object minus gripper), sign.
SIDES: dict[str, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "behind": (1, -1),
    "ahead": (1, 1),
    "below": (2, -1),
    "above": (2, 1),
}
#: The writer names a side when its axis is at least this long ...
SIDE_MIN_M = 0.03
#: ... and no other axis reaches this share of it.
SIDE_DOMINANCE = 0.85
#: A side is false when its component is below this share of the longest axis.
SIDE_SLACK_SHARE = 0.5
#: Below this no side can be told.
SIDE_BLIND_M = 0.015

#: The gripper came closer / went away when the distance changed by more than this.
APPROACH_M = 0.006
#: "closer" and "away" are false below this change, "kept its distance" is false above that one.
APPROACH_SLACK_M = 0.003
APPROACH_KEPT_M = 0.025

#: The object moved to / from its goal when the done fraction changed by more than this.
DONE_CHANGE = 0.03
DONE_CHANGE_SLACK = 0.012
DONE_KEPT = 0.06
#: The object moved at all when ``object_moved_m`` changed by more than this.
MOVED_M = 0.01
MOVED_SLACK_M = 0.004
MOVED_KEPT_M = 0.03

#: The object was lifted / lowered when its height changed by more than this.
LIFT_M = 0.015
LIFT_SLACK_M = 0.005

#: A step helps / hurts when progress changed by more than this many points.
VERDICT_POINTS = 2.0
#: "helps" is false below +this and "hurts" above -this; "no change" is false beyond the other.
VERDICT_SLACK_POINTS = 0.5
VERDICT_KEPT_POINTS = 5.0
#: Stands for the distance at the start when the first frame's facts are not given.
TYPICAL_START_M = 0.25


def touches(facts: Facts) -> bool:
    """Whether the gripper is in contact with the object; holding implies touching."""
    return facts["contact"] or facts["grasped"]


def is_free(facts: Facts) -> bool:
    """Whether the task moves nothing but the gripper: the object then is the goal itself."""
    return facts["object_name"] == facts["goal_name"]


def bin_of(value: float, bins: dict[str, tuple[float, float]]) -> str:
    """Return the word whose range holds ``value``; beyond the last range it is the last word.

    Example:
        >>> bin_of(0.08, DISTANCES_M), bin_of(-0.5, STAGES)
        ('near', 'worse')
    """
    for word, (_, high) in bins.items():
        if value < high:
            return word
    return next(reversed(bins))


def points(first: Facts | None, facts: Facts) -> float:
    """Progress in percent as the facts alone tell it (see :mod:`sole.sims.staged`)."""
    if is_free(facts):
        return free_progress(facts["done_fraction"], success=facts["complete"])
    start_m = TYPICAL_START_M if first is None else first["gripper_to_object_m"]
    reach = fraction(max(start_m, 0.02), facts["gripper_to_object_m"])
    return staged_progress(
        reach_fraction=1.0 if touches(facts) else reach,
        contact=touches(facts),
        done_fraction=facts["done_fraction"],
        success=facts["complete"],
    )
