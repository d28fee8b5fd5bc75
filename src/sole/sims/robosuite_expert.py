"""Scripted experts of the robosuite tasks; metres, world frame, no memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from sole.sims.robosuite_arm import METRES_PER_STEP
from sole.sims.robosuite_probes import UNLATCHED_RAD, Door, Wipe
from sole.sims.suite import Moment
from sole.sims.suite_expert import CLOSED, OPEN, carry, pick, toward

#: The controller covers about this share of what it is asked for in the first step.
_SHARE = 0.6
_BIN_WALL_M = 0.16
#: From the point between the open fingers to the pad of one.
FINGER_APART_M = 0.04


def act(name: str, moment: Moment, probe: Any, action_repeat: int) -> np.ndarray:
    """Return the expert's action ``(4,)`` in the task ``name``.

    Args:
        name: Robosuite's name of the task.
        moment: What was measured.
        probe: The task's probe.
        action_repeat: Control steps that the action will last.
    """
    step_m = METRES_PER_STEP * (1.0 + _SHARE * (action_repeat - 1))
    if name == "Lift":
        return _lift(moment, step_m)
    if name == "Stack":
        return carry(moment, step_m, over_m=0.08)
    if name == "Door":
        return _door(moment, probe, step_m)
    if name == "Wipe":
        return _wipe(moment, probe, step_m)
    return carry(moment, step_m, over_m=_BIN_WALL_M, release_m=0.03, grasp_m=probe.grasp_m())


def _lift(moment: Moment, step_m: float) -> np.ndarray:
    if not moment.grasped:
        return pick(moment, step_m)
    return toward(moment, moment.tip_m + np.array([0.0, 0.0, step_m]), CLOSED, step_m)


def _door(moment: Moment, probe: Door, step_m: float) -> np.ndarray:
    """Press the lever down with the far finger of the open hand, and drag the door along.

    The door keeps the hand from reaching around the lever, so friction has to do it.
    """
    away = probe.lever_m() + np.array([0.0, FINGER_APART_M, 0.0]) - moment.tip_m
    beside = np.array([*away[:2], 0.0])
    if probe.hinge_rad() > 0.02 or abs(probe.latch_rad()) > UNLATCHED_RAD:
        ask = 0.8 * probe.open_direction() + 0.3 * probe.down_direction()
    elif np.hypot(*away[:2]) > 0.025 and abs(probe.latch_rad()) < 0.1:
        return toward(moment, moment.tip_m + away + np.array([0.0, 0.0, 0.07]), OPEN, step_m)
    else:
        ask = probe.down_direction() + beside / (2.0 * step_m)
    return toward(moment, moment.tip_m + step_m * ask, OPEN, step_m)


def _wipe(moment: Moment, probe: Wipe, step_m: float) -> np.ndarray:
    mark = moment.object_m
    beside = np.hypot(*(mark - moment.tip_m)[:2])
    # Pressed lightly: a wiper that is pushed hard sticks.
    low = -0.01 if beside < 0.12 else 0.03
    return toward(moment, mark + np.array([0.0, 0.0, low]), OPEN, step_m)
