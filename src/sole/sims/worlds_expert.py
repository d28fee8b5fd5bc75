"""One scripted expert for every family: above or behind, down to the part, along its motion.

It keeps no memory: each action follows from where things are now, so that it recovers from any
perturbation. Positions in metres, world frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Metres the mocap moves in one decision of six simulator steps at full action.
REACH_PER_DECISION_M = 0.06
#: Half sizes of the closed fingers: across (x), along their opening (y).
FINGERS_M = (0.016, 0.022)
#: From the gripper's centre to the finger at +y when it is open.
OPEN_FINGER_M = 0.048
OPEN, CLOSED = -1.0, 1.0
LEAD_M = 0.02


@dataclass(frozen=True)
class Moment:
    """What the expert looks at.

    Attributes:
        tip: Middle between the fingertips.
        mocap: Where the hand is being pulled to, minus the hand's own offset to ``tip``.
        hook: The reference point on the moving part.
        along: Unit vector of the hook's motion towards the goal.
        approach: Unit vector along which the gripper comes.
        way: ``push``, ``hook`` or ``grasp``.
        radius_m: Half width of the part.
        gripping: Whether both pads touch it.
        lowest_m: The tips stay above this height.
        clear_m: How far in front of the part the straight approach begins.
    """

    tip: np.ndarray
    mocap: np.ndarray
    hook: np.ndarray
    along: np.ndarray
    approach: np.ndarray
    way: str
    radius_m: float
    gripping: bool
    lowest_m: float
    clear_m: float


def act(moment: Moment) -> np.ndarray:
    """Return the action ``(4,)``: xyz in [-1, 1] and the gripper (-1 open, 1 closed)."""
    place = tool_place(moment)
    if moment.way == "grasp":
        target, gripper = _grasp(moment, place)
    else:
        target = _touch(moment, place)
        gripper = OPEN if moment.way == "hook" else CLOSED
    # The arm creeps through the last centimetres behind the mocap: lead it by what is missing.
    lead = np.clip(target - moment.tip, -LEAD_M, LEAD_M)
    move = np.clip((target + lead - moment.mocap) / REACH_PER_DECISION_M, -1.0, 1.0)
    return np.array([*move, gripper], dtype=np.float32)


def tool_place(moment: Moment) -> np.ndarray:
    """Return where the fingertips belong just before they move the part."""
    place = moment.hook.copy()
    if moment.way == "hook":
        place[1] -= OPEN_FINGER_M
    elif moment.way == "push":
        across = np.abs(moment.along[:2]) @ np.array(FINGERS_M)
        place[:2] -= moment.along[:2] * (across + moment.radius_m)
        place[2] -= moment.along[2] * (moment.radius_m + 0.006)
        # A sideways push needs the fingers' flank, a downward one their tips.
        place[2] -= 0.02 * float(moment.approach[2] < 0) * (1.0 - abs(moment.along[2]))
    else:
        place[2] -= 0.012
    place[2] = max(place[2], moment.lowest_m)
    return place


def _touch(moment: Moment, place: np.ndarray) -> np.ndarray:
    offset = moment.tip - place
    ahead = float(offset @ moment.along)
    aside = offset - ahead * moment.along
    if -0.05 < ahead < 0.035 and np.linalg.norm(aside) < 0.03:
        return place + moment.along * 0.09
    return _travel(moment, place)


def _grasp(moment: Moment, place: np.ndarray) -> tuple[np.ndarray, float]:
    if moment.gripping:
        return moment.tip + moment.along * 0.08, CLOSED
    if np.linalg.norm(moment.tip - place) < 0.016:
        return place, CLOSED
    return _travel(moment, place), OPEN


def _travel(moment: Moment, place: np.ndarray) -> np.ndarray:
    """Go to a point in front of ``place`` (against the approach), then straight in."""
    from_above = moment.approach[2] < -0.5
    if from_above and moment.way == "push":
        # The hand lags by up to 2 cm: come down clear of the part, then close in on it.
        place = place - np.array([*moment.along[:2], 0.0]) * 0.018
    offset = moment.tip - place
    depth = float(offset @ moment.approach)
    aside = float(np.linalg.norm(offset - depth * moment.approach))
    before = place - moment.approach * moment.clear_m
    if aside < 0.02 and depth < 0.02:
        return place
    if not from_above:
        back = np.array([0.0, 0.0, 0.02]) - moment.approach * 0.1
        return moment.tip + back if depth > -0.04 else before
    if moment.tip[2] > before[2] - 0.03:
        return before
    behind = float(offset @ moment.along) < 0.0
    if behind and aside < 0.05 and moment.way == "push":
        return place
    return np.array([moment.tip[0], moment.tip[1], before[2] + 0.02])
