"""LIBERO's goal predicates as geometry: how far each is from true, and what must be reached.

LIBERO itself only says whether a predicate holds. ``In`` and ``On`` become the distance of the
object from the region (or object) that it must lie in or on; ``Open``, ``Close``, ``TurnOn`` and
``TurnOff`` become the way that the joint still has to go. Metres, world frame.
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from typing import Any

import numpy as np

from sole.sims.opengl import mujoco
from sole.sims.robosuite_arm import Arm
from sole.sims.staged import fraction

#: LIBERO calls an object on another one when their middles are this near in the plane.
_ON_OBJECT_M = 0.03
#: Heights above a region that still count as on it, and depths below one that count as in it.
_ABOVE_M, _BELOW_M = 0.1, 0.01
_RANGES = {"open": "default_open_ranges", "turnon": "default_turnon_ranges"}
_ENDS = {"open": "open", "close": "closed", "turnon": "on", "turnoff": "off"}


def plain_name(name: str) -> str:
    """LIBERO's name of a thing as words.

    Example:
        >>> plain_name("akita_black_bowl_1"), plain_name("wooden_cabinet_1_top_region")
        ('akita black bowl', 'wooden cabinet top')
    """
    return re.sub(r"_(\d+|region)(?=_|$)", "", name).replace("_", " ")


class Placement:
    """``In`` or ``On``: an object must come to lie in a region, or on another object."""

    def __init__(self, env: Any, arm: Arm, state: list[str]):
        self._env, self._arm, self.state = env, arm, state
        self._kind, thing, target = state[0].lower(), state[1], state[2]
        self._body = env.obj_body_id[thing]
        self.bodies = arm.subtree(arm.model.body(self._body).name)
        self._region = env.object_sites_dict.get(target)
        self._target = target
        self.object_name, self.goal_name = plain_name(thing), plain_name(target)
        self.begin()

    def begin(self) -> None:
        """Note where the object is at the start."""
        self.start_m = self.object_m()
        self._way_m = self.distance_m()

    def object_m(self) -> np.ndarray:
        """Middle of the object."""
        return self._arm.data.xpos[self._body].copy()

    def goal_m(self) -> np.ndarray:
        """Middle of the region or of the other object."""
        if self._region is not None:
            return self._arm.data.site(self._target).xpos.copy()
        return self._arm.data.xpos[self._env.obj_body_id[self._target]].copy()

    def distance_m(self) -> float:
        """From the object's middle to the nearest place where the predicate may hold."""
        if self._region is None:
            x, y, z = self.object_m() - self.goal_m()
            return float(np.hypot(max(np.hypot(x, y) - _ON_OBJECT_M, 0.0), max(z, 0.0)))
        matrix = self._arm.data.site(self._target).xmat.reshape(3, 3)
        size = np.abs(np.asarray(self._region.size, float))
        offset = self.object_m() - self.goal_m()
        if self._kind == "in":
            size = np.abs(matrix @ size)  # LIBERO's own approximation of a turned box
            low, high = -size - [0.0, 0.0, _BELOW_M], size
        else:
            offset = matrix @ offset
            low = np.array([-size[0], -size[1], size[2] - 0.005])
            high = np.array([size[0], size[1], size[2] + _ABOVE_M])
        return float(np.linalg.norm(np.maximum(np.maximum(low - offset, offset - high), 0.0)))

    def done(self) -> float:
        """Share of the way that is done."""
        return fraction(self._way_m, self.distance_m())


class Articulation:
    """``Open``, ``Close``, ``TurnOn`` or ``TurnOff``: a joint must reach a range."""

    def __init__(self, env: Any, arm: Arm, state: list[str]):
        self._arm, self.state = arm, state
        kind, thing = state[0].lower(), state[1]
        site = env.object_sites_dict.get(thing)
        joints = site.joints if site is not None else env.get_object(thing).joints
        owner = env.get_object(site.parent_name) if site is not None else env.get_object(thing)
        self._joint = arm.model.joint(joints[0]).id
        self._address = int(arm.model.jnt_qposadr[self._joint])
        ranges = owner.object_properties["articulation"]
        # Zero is closed, and off.
        self._end = min(map(abs, ranges[_RANGES[kind]])) if kind in _RANGES else 0.0
        body = int(arm.model.jnt_bodyid[self._joint])
        self.bodies = arm.subtree(arm.model.body(body).name)
        self._handle = self._find_handle()
        self.object_name, self.goal_name = plain_name(thing), _ENDS[kind]
        self.begin()

    def begin(self) -> None:
        """Note where the joint is at the start."""
        self.start_m = self.object_m()
        self._way_m = self.distance_m()

    def object_m(self) -> np.ndarray:
        """The handle: of what moves, the geom that sticks out most."""
        return self._arm.data.geom_xpos[self._handle].copy()

    def goal_m(self) -> np.ndarray:
        """LIBERO names no place for a handle: where it is."""
        return self.object_m()

    def distance_m(self) -> float:
        """How far the handle still has to go, along its arc where it turns."""
        left = abs(self._end - abs(float(self._arm.data.qpos[self._address])))
        past = self._end > 0.0 and abs(float(self._arm.data.qpos[self._address])) > self._end
        return 0.0 if past else left * self._radius_m()

    def done(self) -> float:
        """Share of the way that is done."""
        return fraction(self._way_m, self.distance_m())

    def _slides(self) -> bool:
        return int(self._arm.model.jnt_type[self._joint]) == int(mujoco.mjtJoint.mjJNT_SLIDE)

    def _radius_m(self) -> float:
        if self._slides():
            return 1.0
        return max(self._from_axis_m(self._handle), 0.01)

    def _from_axis_m(self, geom: int) -> float:
        data = self._arm.data
        arm = data.geom_xpos[geom] - data.xanchor[self._joint]
        return float(np.linalg.norm(np.cross(data.xaxis[self._joint], arm)))

    def _find_handle(self) -> int:
        model, data = self._arm.model, self._arm.data
        geoms = [g for g in range(model.ngeom) if int(model.geom_bodyid[g]) in self.bodies]
        if not self._slides():
            return max(geoms, key=self._from_axis_m)
        low, high = model.jnt_range[self._joint]
        outward = data.xaxis[self._joint] * (1.0 if abs(high) > abs(low) else -1.0)
        return max(geoms, key=lambda g: float(data.geom_xpos[g] @ outward))


Goal = Placement | Articulation


def make_goals(env: Any, arm: Arm) -> list[Goal]:
    """One goal for each predicate of the task's conjunction."""
    return [
        (Placement if len(state) == 3 else Articulation)(env, arm, state)
        for state in env.parsed_problem["goal_state"]
    ]
