"""What must be reached and how far it has come, one probe for each kind of robosuite task.

Distances come from the simulator's own poses and joints, and end where the suite's own
``_check_success`` begins. Metres, world frame.
"""

# What the methods mean is said once, in Probe.
# ruff: noqa: D102

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from sole.sims.robosuite_arm import Arm
from sole.sims.staged import fraction

#: Robosuite calls a cube lifted this far above the table.
LIFTED_M = 0.04
#: Robosuite calls a door open at this hinge angle.
OPEN_RAD = 0.3
#: The bolt of the door is out at about this angle of the handle.
UNLATCHED_RAD = 0.9
LATCH_SHARE = 0.3
#: A nut is on its peg below this height above the table and within this square.
ON_PEG_HEIGHT_M, ON_PEG_M = 0.05, 0.03
#: Distance from the walls at which an object is well inside its compartment.
QUARTER_MARGIN_M = 0.05
#: How much of a finger reaches down beside an object.
FINGER_M = 0.03


class Probe(Protocol):
    """Measures one task in a simulation that has just been reset."""

    bodies: frozenset[int]

    def object_m(self) -> np.ndarray:
        """The point that must be reached."""
        ...

    def goal_m(self) -> np.ndarray:
        """Where it should end up, or the point itself."""
        ...

    def distance_m(self) -> float:
        """How far the task's own motion still has to go."""
        ...

    def done(self, start_m: float) -> float:
        """Share of the motion that is done, given the distance at the start."""
        ...


class _Carried:
    """An object that must be brought to a place."""

    def __init__(self, env: Any, arm: Arm, body: str):
        self._env, self._arm = env, arm
        self.bodies = arm.subtree(body)
        self._body = arm.model.body(body).id

    def object_m(self) -> np.ndarray:
        return self._arm.data.xpos[self._body].copy()

    def goal_m(self) -> np.ndarray:
        raise NotImplementedError

    def distance_m(self) -> float:
        return float(np.linalg.norm(self.object_m() - self.goal_m()))

    def done(self, start_m: float) -> float:
        return fraction(start_m, self.distance_m())


class Lift(_Carried):
    """The cube must be higher than :data:`LIFTED_M` above the table."""

    def __init__(self, env: Any, arm: Arm):
        super().__init__(env, arm, env.cube.root_body)

    def goal_m(self) -> np.ndarray:
        x, y, z = self.object_m()
        return np.array([x, y, max(z, self._env.model.mujoco_arena.table_offset[2] + LIFTED_M)])


class Stack(_Carried):
    """Cube A must rest on cube B."""

    def __init__(self, env: Any, arm: Arm):
        super().__init__(env, arm, env.cubeA.root_body)
        self._under = arm.model.body(env.cubeB.root_body).id
        self._above_m = float(-env.cubeA.bottom_offset[2] + env.cubeB.top_offset[2])

    def goal_m(self) -> np.ndarray:
        return self._arm.data.xpos[self._under] + np.array([0.0, 0.0, self._above_m])


class PickPlace(_Carried):
    """The object must lie in its quarter of the second bin, the gripper away from it."""

    def __init__(self, env: Any, arm: Arm):
        self._thing = env.objects[env.object_id]
        super().__init__(env, arm, self._thing.root_body)

    def goal_m(self) -> np.ndarray:
        """The nearest place well inside the object's quarter of the bin."""
        middle = np.array(self._env.target_bin_placements[self._env.object_id], float)
        room = np.array(self._env.bin_size[:2]) / 4.0 - QUARTER_MARGIN_M
        x, y = middle[:2] + np.clip(self.object_m()[:2] - middle[:2], -room, room)
        return np.array([x, y, middle[2] - float(self._thing.bottom_offset[2])])

    def grasp_m(self) -> np.ndarray:
        """Tall things are taken near their top: the palm must stay above them."""
        high = max(float(self._thing.top_offset[2]) - FINGER_M, 0.0)
        return self.object_m() + np.array([0.0, 0.0, high])


class NutAssembly(_Carried):
    """The nut must be around its peg and low."""

    def __init__(self, env: Any, arm: Arm):
        self._nut = env.nuts[env.nut_id]
        super().__init__(env, arm, self._nut.root_body)
        self._peg = (env.peg1_body_id, env.peg2_body_id)[env.nut_id]

    def object_m(self) -> np.ndarray:
        site = self._arm.model.site(self._nut.important_sites["handle"]).id
        return self._arm.data.site_xpos[site].copy()

    def goal_m(self) -> np.ndarray:
        x, y, _ = self._arm.data.xpos[self._peg]
        return np.array([x, y, self._env.table_offset[2] + ON_PEG_HEIGHT_M])

    def distance_m(self) -> float:
        x, y, z = self._arm.data.xpos[self._body] - self.goal_m()
        beside_m = max(abs(x) - ON_PEG_M, abs(y) - ON_PEG_M, 0.0)
        return float(np.hypot(beside_m, max(z, 0.0)) if beside_m == 0.0 else np.hypot(x, y))


class Door:
    """The handle must be pressed down and the door pulled to :data:`OPEN_RAD`."""

    def __init__(self, env: Any, arm: Arm):
        self._env, self._arm = env, arm
        self.bodies = arm.subtree(env.door.latch_body)
        model, name = arm.model, env.door.naming_prefix
        self._lever = model.geom(f"{name}handle").id
        self._hinge = model.joint(env.door.joints[0]).id
        self._bolt = model.joint(env.door.joints[1]).id

    def object_m(self) -> np.ndarray:
        return np.array(self._env._handle_xpos, float)

    def goal_m(self) -> np.ndarray:
        return self.object_m()

    def hinge_rad(self) -> float:
        """How far the door is open."""
        return float(self._arm.data.qpos[self._env.hinge_qpos_addr])

    def latch_rad(self) -> float:
        """How far the handle is pressed down."""
        return float(self._arm.data.qpos[self._env.handle_qpos_addr])

    def distance_m(self) -> float:
        hinge_m = self._arm.data.xanchor[self._hinge]
        radius_m = float(np.hypot(*(self.object_m() - hinge_m)[:2]))
        return max(OPEN_RAD - self.hinge_rad(), 0.0) * radius_m

    def lever_m(self) -> np.ndarray:
        """The outer part of the lever, where it turns the bolt most easily."""
        middle, bolt = self._arm.data.geom_xpos[self._lever], self._arm.data.xanchor[self._bolt]
        along = (middle - bolt) * [1.0, 0.0, 1.0]
        return middle + 0.04 * along / np.linalg.norm(along)

    def down_direction(self) -> np.ndarray:
        """Where the lever's end goes when it is pressed down: a unit vector."""
        return self._turn(self._bolt, np.array([0.0, 0.0, -1.0]))

    def open_direction(self) -> np.ndarray:
        """Where the lever goes when the door opens: a unit vector."""
        return self._turn(self._hinge, self._arm.data.xaxis[self._hinge], about=True)

    def _turn(self, joint: int, way: np.ndarray, *, about: bool = False) -> np.ndarray:
        data = self._arm.data
        arm = self.lever_m() - data.xanchor[joint]
        tangent = np.cross(data.xaxis[joint], arm)
        if not about and tangent @ way < 0.0:
            tangent = -tangent
        return tangent / np.linalg.norm(tangent)

    def done(self, start_m: float) -> float:
        opened = min(self.hinge_rad() / OPEN_RAD, 1.0)
        # A door that is ajar needs its latch no more.
        unlatched = 1.0 if opened > 0.2 else min(abs(self.latch_rad()) / UNLATCHED_RAD, 1.0)
        return LATCH_SHARE * unlatched + (1.0 - LATCH_SHARE) * opened


class Wipe:
    """Every mark must be wiped off; the nearest one that is left is what must be reached.

    A mark that is wiped off is gone from the scene, and from the pictures, so a state that names
    the nearest one says nothing that cannot be seen.
    """

    def __init__(self, env: Any, arm: Arm):
        self._env, self._arm = env, arm
        self._marks = env.model.mujoco_arena.markers
        self._ids = [arm.model.body(mark.root_body).id for mark in self._marks]
        table = arm.model.geom("table_collision").bodyid[0]
        self.bodies = frozenset({int(table)})
        self._last = arm.data.xpos[self._ids[0]].copy()

    def object_m(self) -> np.ndarray:
        wiped = {id(mark) for mark in self._env.wiped_markers}
        left = [i for i, m in zip(self._ids, self._marks, strict=True) if id(m) not in wiped]
        if left:
            places = self._arm.data.xpos[left]
            away_m = np.linalg.norm(places - self._arm.tip_m(), axis=1)
            self._last = places[int(np.argmin(away_m))].copy()
        return self._last

    def goal_m(self) -> np.ndarray:
        return self.object_m()

    def share(self) -> float:
        """Share of the marks that are wiped off."""
        return len(self._env.wiped_markers) / len(self._marks)

    def distance_m(self) -> float:
        return float(np.linalg.norm(self.object_m() - self._arm.tip_m()))

    def done(self, start_m: float) -> float:
        return self.share()


PROBES: dict[str, type] = {
    "Lift": Lift, "Stack": Stack, "Door": Door, "Wipe": Wipe,
    "PickPlaceCan": PickPlace, "PickPlaceMilk": PickPlace, "PickPlaceBread": PickPlace,
    "PickPlaceCereal": PickPlace, "NutAssemblySquare": NutAssembly,
    "NutAssemblyRound": NutAssembly,
}  # fmt: skip
