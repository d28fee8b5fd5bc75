"""Meta-World's Sawyer as the procedural scenes use it: a hand welded to a mocap body."""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import numpy as np

from sole.sims.opengl import mujoco

SIMULATOR_HZ = 80.0
ACTION_REPEAT = 6
FRAME_SKIP = 5
ACTION_SCALE_M = 0.01
#: Meta-World's hand space for drawers, doors and the like.
MOCAP_LOW = np.array([-0.5, 0.40, 0.05])
MOCAP_HIGH = np.array([0.5, 1.0, 0.5])
HOME_M = np.array([0.0, 0.6, 0.2])
_FIRST_SETTLE_STEPS, _SETTLE_STEPS = 250, 60
_WIDEST_M = 0.1
_ALONG_FINGERS = 0.7


class Robot:
    """Moves the hand exactly as Meta-World's ``SawyerXYZEnv`` does, and feels what it touches.

    Args:
        model: A scene compiled by :class:`sole.sims.worlds_scene.Scene`.
        data: Its state, shared with the environment.
    """

    control_hz = SIMULATOR_HZ / ACTION_REPEAT

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData):
        self._model, self._data = model, data
        self._arm = np.array([a for j, a in enumerate(model.jnt_qposadr)
                              if "motion" not in model.joint(j).name])  # fmt: skip
        hand = model.body("right_hand").id
        self._side = {}
        for body in range(model.nbody):
            name, chain = model.body(body).name, body
            while chain > 0 and chain != hand:
                chain = int(model.body_parentid[chain])
            if chain == hand:
                side = next(
                    (s for s in ("left", "right") if name in (f"{s}claw", f"{s}pad")), "hand"
                )
                self._side[body] = side
        self._settled: np.ndarray | None = None

    def start(self, rng: np.random.Generator) -> None:
        """Bring the open hand to Meta-World's first position, in half of the cases displaced."""
        data = self._data
        shift = rng.uniform((-0.08, -0.05, -0.03), (0.08, 0.05, 0.06)) * (rng.random() < 0.5)
        data.ctrl[:] = (-1.0, 1.0)
        data.mocap_quat[0] = (1.0, 0.0, 1.0, 0.0)
        if self._settled is None:
            data.mocap_pos[0] = HOME_M
            mujoco.mj_step(self._model, data, _FIRST_SETTLE_STEPS)
            self._settled = data.qpos[self._arm].copy()
        data.qpos[self._arm] = self._settled
        data.qvel[:] = 0.0
        data.mocap_pos[0] = HOME_M + shift
        mujoco.mj_step(self._model, data, _SETTLE_STEPS)
        data.qvel[:] = 0.0
        mujoco.mj_forward(self._model, data)

    def move(self, action: np.ndarray) -> None:
        """Apply one decision: six times a mocap shift of up to 1 cm and five physics steps."""
        data = self._data
        data.ctrl[:] = (action[3], -action[3])
        for _ in range(ACTION_REPEAT):
            moved = data.mocap_pos[0] + action[:3] * ACTION_SCALE_M
            data.mocap_pos[0] = np.clip(moved, MOCAP_LOW, MOCAP_HIGH)
            data.mocap_quat[0] = (1.0, 0.0, 1.0, 0.0)
            mujoco.mj_step(self._model, data, FRAME_SKIP)
        mujoco.mj_forward(self._model, data)

    def tip_m(self) -> np.ndarray:
        """Middle between the fingertips, world frame."""
        data = self._data
        return (data.site("rightEndEffector").xpos + data.site("leftEndEffector").xpos) / 2

    def hand_m(self) -> np.ndarray:
        """Position of the hand body, world frame."""
        return self._data.body("hand").xpos.copy()

    def mocap_m(self) -> np.ndarray:
        """Where the hand is being pulled to."""
        return self._data.mocap_pos[0].copy()

    def opening(self) -> float:
        """How far the fingers are apart, 1 when wide open."""
        gap = self._data.body("rightclaw").xpos - self._data.body("leftclaw").xpos
        return float(np.clip(np.linalg.norm(gap) / _WIDEST_M, 0.0, 1.0))

    def touches(self, geoms: frozenset[int]) -> tuple[bool, bool]:
        """Return whether the gripper touches any of ``geoms``, and whether the fingers hold one."""
        touched, pinched = False, set()
        for contact in self._data.contact[: self._data.ncon]:
            for one, other in ((contact.geom1, contact.geom2), (contact.geom2, contact.geom1)):
                side = self._side.get(int(self._model.geom_bodyid[one]))
                if side is not None and int(other) in geoms:
                    touched = True
                    # Held, not merely pushed by a fist: pressed along the fingers' own axis.
                    if abs(contact.frame[1]) > _ALONG_FINGERS:
                        pinched.add(side)
        return touched, {"left", "right"} <= pinched

    def is_free(self) -> bool:
        """Whether the hand touches nothing at all."""
        for contact in self._data.contact[: self._data.ncon]:
            bodies = self._model.geom_bodyid[[contact.geom1, contact.geom2]]
            if any(int(body) in self._side for body in bodies):
                return False
        return True
