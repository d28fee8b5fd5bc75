"""Scripted experts that all suites share: pick and place, and moving straight to a point.

They keep no memory: each action follows from where things are now, so that they recover from any
perturbation. Metres, world frame.
"""

from __future__ import annotations

import numpy as np

from sole.sims.suite import Moment

OPEN, CLOSED = -1.0, 1.0
#: The gripper closes once the point between its fingers is this near the object.
CLOSE_WITHIN_M = 0.014
#: Above the object before the way down.
HOVER_M = 0.08
#: Sideways error that the way down and the letting go forgive.
BESIDE_M = 0.015


def toward(moment: Moment, point_m: np.ndarray, gripper: float, step_m: float) -> np.ndarray:
    """Go straight to a point, as fast as allowed.

    Args:
        moment: The present.
        point_m: Where the point between the fingers should be.
        gripper: -1 open, 1 closed.
        step_m: What a full action moves in one decision.
    """
    ask = (np.asarray(point_m) - moment.tip_m) / step_m
    return np.array([*np.clip(ask, -1.0, 1.0), gripper], np.float32)


def pick(moment: Moment, step_m: float, *, grasp_m: np.ndarray | None = None) -> np.ndarray:
    """Go above the object, down to it, and close the gripper.

    Args:
        moment: The present.
        step_m: What a full action moves in one decision.
        grasp_m: Where to grasp; by default at the object's reference point.
    """
    point = moment.object_m if grasp_m is None else grasp_m
    away = point - moment.tip_m
    # Fingers that are kept from the last centimetre by what is below may close all the same.
    if float(np.hypot(*away[:2])) < CLOSE_WITHIN_M and -away[2] < CLOSE_WITHIN_M + 0.012:
        return toward(moment, point, CLOSED, step_m)
    if float(np.hypot(*away[:2])) > BESIDE_M:
        # No lower than needed until the gripper is above the object.
        point = point + np.array([0.0, 0.0, HOVER_M])
    return toward(moment, point, OPEN, step_m)


def carry(
    moment: Moment, step_m: float, *, over_m: float, release_m: float = 0.01,
    grasp_m: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Pick the object up, carry it above its goal, lower it, let go and rise.

    Args:
        moment: The present.
        step_m: What a full action moves in one decision.
        over_m: Height above the goal at which the object travels.
        release_m: Height above the goal at which it is let go.
        grasp_m: Where to grasp; by default at the object's reference point.
    """
    left = moment.goal_m - moment.object_m
    beside = float(np.hypot(*left[:2]))
    if beside < BESIDE_M and -left[2] < release_m + 0.008:
        up = moment.tip_m + np.array([0.0, 0.0, step_m])
        # First the fingers, then the hand: a hand that rises at once takes the object along.
        return toward(moment, up if not moment.contact else moment.tip_m, OPEN, step_m)
    if not moment.grasped:
        return pick(moment, step_m, grasp_m=grasp_m)
    above = over_m if beside > BESIDE_M else release_m
    target = moment.goal_m + np.array([0.0, 0.0, above])
    if beside > BESIDE_M and -left[2] < over_m - 0.04:
        # Up first: what stands between is not knocked over.
        target = np.array([*moment.object_m[:2], target[2]])
    return toward(moment, moment.tip_m + target - moment.object_m, CLOSED, step_m)


def push(moment: Moment, step_m: float, *, half_m: float) -> np.ndarray:
    """Go behind the object with closed fingers and push it along the table to its goal.

    Args:
        moment: The present.
        step_m: What a full action moves in one decision.
        half_m: Half the width of the object.
    """
    way = moment.goal_m - moment.object_m
    along = way * [1.0, 1.0, 0.0] / max(float(np.hypot(*way[:2])), 1e-6)
    behind = moment.object_m - (half_m + 0.03) * along
    from_object = moment.tip_m - moment.object_m
    ahead = float(from_object @ along)
    sideways = float(np.linalg.norm((from_object - ahead * along)[:2]))
    if ahead < 0.0 and sideways < BESIDE_M and from_object[2] < half_m:
        return toward(moment, moment.object_m + 0.5 * step_m * along, CLOSED, step_m)
    above = np.array([*behind[:2], moment.object_m[2] + HOVER_M])
    there = float(np.hypot(*(behind - moment.tip_m)[:2])) < BESIDE_M
    return toward(moment, behind if there else above, CLOSED, step_m)
