"""The arm of a robosuite simulation: where it is, what it touches, and its pictures.

Robosuite 1.4 and LIBERO (which is built on it) share this; robosuite 1.5 names a few things
differently, and both are read here.
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sole.sims.opengl import mujoco
from sole.sims.render import FastRenderer

CONTROL_HZ = 20.0
#: Metres that the controller is asked to move in one control step at full action.
METRES_PER_STEP = 0.05
#: How far apart the fingers of the Panda are when open; each moves half of it.
OPEN_M = 0.08


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Robosuite draws from numpy's global generator: seed it inside, put it back after."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def forget_grip(env: Any) -> None:
    """Let go of the fingers' last command, which robosuite keeps over a reset.

    Without it an episode begins as the one before it ended.
    """
    for robot in env.robots:
        # robosuite 1.5 has one gripper for each arm, by name; 1.4 has one.
        grippers = robot.gripper.values() if isinstance(robot.gripper, dict) else [robot.gripper]
        for gripper in grippers:
            gripper.current_action = np.zeros(gripper.dof)


class Arm:
    """The first robot of a robosuite environment, read from MuJoCo itself.

    Args:
        env: A robosuite environment; it is made anew when its model was.
    """

    def __init__(self, env: Any):
        self.model: mujoco.MjModel = env.sim.model._model
        self.data: mujoco.MjData = env.sim.data._data
        robot = env.robots[0]
        gripper, site = robot.gripper, robot.eef_site_id
        if isinstance(gripper, dict):  # robosuite 1.5 has a gripper for each arm
            gripper, site = gripper["right"], site["right"]
        self._site = site
        geoms = gripper.important_geoms
        self._left = self._ids(geoms.get("left_finger", ()))
        self._right = self._ids(geoms.get("right_finger", ()))
        self._hand = {g for g in range(self.model.ngeom) if self._belongs(g, "gripper0")}
        self._joints = [self.model.joint(name).qposadr[0] for name in gripper.joints]

    def tip_m(self) -> np.ndarray:
        """The point between the fingertips, world frame."""
        return self.data.site_xpos[self._site].copy()

    def opening(self) -> float:
        """0 closed, 1 open; a tool without fingers is closed."""
        if not self._joints:
            return 0.0
        apart_m = float(np.abs(self.data.qpos[self._joints]).sum())
        return min(apart_m / OPEN_M, 1.0)

    def touches(self, bodies: Collection[int]) -> tuple[bool, bool]:
        """Whether the gripper touches one of the bodies, and whether both fingers do."""
        hand = left = right = False
        for contact in self.data.contact[: self.data.ncon]:
            for one, two in ((contact.geom1, contact.geom2), (contact.geom2, contact.geom1)):
                if int(self.model.geom_bodyid[two]) in bodies:
                    hand |= one in self._hand
                    left |= one in self._left
                    right |= one in self._right
        return hand, left and right

    def subtree(self, name: str) -> frozenset[int]:
        """A body and everything that hangs on it."""
        root, found = self.model.body(name).id, set()
        for body in range(root, self.model.nbody):
            if body == root or int(self.model.body_parentid[body]) in found:
                found.add(body)
        return frozenset(found)

    def _ids(self, names: Collection[str]) -> set[int]:
        return {self.model.geom(name).id for name in names}

    def _belongs(self, geom: int, prefix: str) -> bool:
        return self.model.body(int(self.model.geom_bodyid[geom])).name.startswith(prefix)


class Cameras:
    """Two views of a robosuite simulation: one from outside and the eye in the hand."""

    def __init__(self, arm: Arm, size_px: int, external: str | mujoco.MjvCamera):
        self._arm, self._external = arm, external
        self._renderer = FastRenderer(arm.model, size_px, show_sites=False, show_collisions=False)

    def views(self) -> dict[str, np.ndarray]:
        """Upright uint8 RGB pictures, ``external`` and ``wrist``."""
        return {
            "external": self._renderer.render(self._arm.data, self._external),
            "wrist": self._renderer.render(self._arm.data, "robot0_eye_in_hand"),
        }

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


def camera_at(
    lookat_m: tuple[float, float, float], distance_m: float, azimuth: float, elevation: float
) -> mujoco.MjvCamera:
    """A free camera; angles in degrees (azimuth 180 looks along -x, elevation -90 down)."""
    camera = mujoco.MjvCamera()
    camera.lookat[:] = lookat_m
    camera.distance, camera.azimuth, camera.elevation = distance_m, azimuth, elevation
    return camera
