"""One movable object of a compiled scene: where it stands, how far its motion is, who moves it.

A scene holds one or two: the one that the instruction is about, and sometimes another that a
careless expert may take for it (its names begin with :data:`OTHER`).
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np

from sole.sims.opengl import mujoco
from sole.sims.staged import fraction
from sole.sims.worlds_expert import Moment
from sole.sims.worlds_prop import Prop
from sole.sims.worlds_robot import Robot

OTHER = "other_"
DONE_AT = 0.9
GOAL_RADIUS_M = 0.04
_WAY_M = (0.13, 0.2)
#: Share of episodes that begin on the way, and how far at most; then the motion can go both ways.
_BEGUN_SHARE, _BEGUN_MOST = 0.35, 0.5
_OUT_OF_SIGHT = (0.0, 0.0, 5.0)


class Part:
    """A prop in its scene.

    Args:
        model: The compiled scene.
        data: Its state, shared with the environment.
        prop: What the builder said about the object.
        prefix: What the names of its bodies, joints and sites begin with.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, prop: Prop, prefix: str = ""):
        self._model, self._data, self._prefix = model, data, prefix
        self.prop = prop
        names = ("motion_x", "motion_y") if prop.planar else ("motion",)
        self._joints = [model.joint(prefix + name).id for name in names]
        self._qpos = model.jnt_qposadr[self._joints]
        self._root = model.body(f"{prefix}prop").id
        self.geoms = _geoms_below(model, model.jnt_bodyid[self._joints[0]])
        self.goal_q = np.zeros(len(names))
        self.start_q = np.zeros(len(names))

    def set_aside(self) -> None:
        """Take it out of the way while the hand finds its place."""
        self._model.body_pos[self._root] = _OUT_OF_SIGHT

    def place(self, rng: np.random.Generator, x_m: float | None = None) -> None:
        """Draw its pose on the table (around ``x_m``, if given), its goal, and how it starts."""
        prop, model = self.prop, self._model
        x = rng.uniform(*prop.x_m)
        x = x if x_m is None else x_m + 0.4 * x
        model.body_pos[self._root] = (x, rng.uniform(*prop.y_m), 0.0)
        yaw = rng.uniform(*prop.yaw)
        model.body_quat[self._root] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))
        if prop.planar:
            self.goal_q = rng.uniform(*_WAY_M) * np.array(prop.push_direction)
            goal = model.body(f"{self._prefix}goal").id
            model.body_pos[goal] = model.body_pos[self._root] + [*self.goal_q, 0.0]
        else:
            begun = rng.uniform(0, _BEGUN_MOST) if rng.random() < _BEGUN_SHARE else 0.0
            self.goal_q = np.array([prop.goal])
            self._data.qpos[self._qpos] = prop.start + begun * (prop.goal - prop.start)
        self._data.qvel[:] = 0.0
        self.start_q = self._data.qpos[self._qpos].copy()

    def path_m(self) -> list[np.ndarray]:
        """Places on the table that it needs: where it stands, in front of it, and its goal."""
        at = self._model.body_pos[self._root][:2]
        path = [at, at - np.array([0.0, 0.2])]
        return [*path, at + self.goal_q] if self.prop.planar else path

    def handle_m(self) -> np.ndarray:
        """Where the robot should touch it, world frame."""
        return self._data.site(f"{self._prefix}handle").xpos

    def handle_at_goal_m(self) -> np.ndarray:
        """Where that point will be when the task is done."""
        scratch = mujoco.MjData(self._model)
        scratch.qpos[:] = self._data.qpos
        scratch.qpos[self._qpos] = self.goal_q
        mujoco.mj_kinematics(self._model, scratch)
        return scratch.site(f"{self._prefix}handle").xpos.copy()

    def done_fraction(self) -> float:
        """Share of the motion that is complete, in [-1.5, 1]."""
        now = self._data.qpos[self._qpos]
        if self.prop.planar:
            way_m = float(np.linalg.norm(self.goal_q - self.start_q))
            # 0.9 of the motion is then exactly the edge of the goal.
            slack_m = max(GOAL_RADIUS_M - 0.1 * way_m, 0.0) / (DONE_AT)
            return fraction(way_m, float(np.linalg.norm(self.goal_q - now)), slack_m)
        done = float((now - self.start_q)[0] / (self.goal_q - self.start_q)[0])
        return float(np.clip(done, -1.5, 1.0))

    def moment(self, robot: Robot, *, opposite: bool = False) -> Moment:
        """What an expert in this object's task looks at; ``opposite``: in the reverse task."""
        prop = self.prop
        turn = self._data.body(f"{self._prefix}prop").xmat.reshape(3, 3)
        tip = robot.tip_m()
        way = "push" if opposite and prop.way == "hook" else prop.way
        return Moment(
            tip=tip,
            mocap=robot.mocap_m() - (robot.hand_m() - tip),
            hook=self._data.site(f"{self._prefix}hook").xpos.copy(),
            along=-self._along() if opposite else self._along(),
            approach=turn @ np.array(prop.approach),
            way=way,
            radius_m=prop.radius_m,
            gripping=robot.touches(self.geoms)[1],
            lowest_m=prop.lowest_m,
            clear_m=prop.clear_m,
        )

    def _along(self) -> np.ndarray:
        if self.prop.planar:
            gap = self.goal_q - self._data.qpos[self._qpos]
            return np.array([*gap, 0.0]) / max(float(np.linalg.norm(gap)), 1e-6)
        joint = self._joints[0]
        axis = self._data.xaxis[joint] * np.sign(self.prop.goal - self.prop.start)
        if self._model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
            hook = self._data.site(f"{self._prefix}hook").xpos
            axis = np.cross(axis, hook - self._data.xanchor[joint])
        return axis / max(float(np.linalg.norm(axis)), 1e-6)


def _geoms_below(model: mujoco.MjModel, body: int) -> frozenset[int]:
    """Return the geoms of a body and of everything that hangs on it."""
    below = {int(body)}
    for child in range(int(body) + 1, model.nbody):
        if int(model.body_parentid[child]) in below:
            below.add(child)
    return frozenset(g for g in range(model.ngeom) if int(model.geom_bodyid[g]) in below)
