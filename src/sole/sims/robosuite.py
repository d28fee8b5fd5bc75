"""robosuite's single-arm tasks as :class:`TaskEnv` (Zhu et al. 2020, arXiv 2009.12293).

The Panda is moved by robosuite's operational-space controller: each control step (20 Hz) asks for
up to 5 cm along each axis, the hand keeps its orientation. Its ``_check_success`` is read in
:meth:`truth` only, its shaped reward kept for :meth:`own_reward` only. Version 1.4, as LIBERO pins
it.
"""

# The simulator is an extra that a checkout need not have.
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import logging
from typing import Any

import numpy as np

from sole.errors import SimError
from sole.sims.robosuite_arm import CONTROL_HZ, Arm, Cameras, camera_at, forget_grip, global_seed
from sole.sims.robosuite_expert import act
from sole.sims.robosuite_probes import PROBES, Probe
from sole.sims.robosuite_tasks import TASKS
from sole.sims.suite import Moment, SuiteEnv

#: Decisions per episode at the default 10 decisions a second, where it is not 40.
_MAX_STEPS = {"Lift": 25, "Wipe": 80, "Door": 50, "Stack": 60}
#: Where the outside camera looks (x, y, z in metres), from how far (m) and along which azimuth
#: (degrees); robosuite's own cameras miss the gripper or show the object in few pixels.
_TABLE_CAMERA = ((-0.05, 0.0, 0.92), 1.15, 160.0)
_CAMERAS = {
    "Door": ((-0.2, -0.15, 1.05), 1.25, 205.0),
    "PickPlace": ((0.05, 0.0, 0.95), 1.6, 180.0),
}
_ELEVATION = -30.0


class RobosuiteEnv(SuiteEnv):
    """One robosuite task.

    Args:
        name: Robosuite's name of the task, for example ``Stack``.
        size_px: Height and width of each view.
        action_repeat: Control steps (20 Hz) per decision.
        max_steps: Decisions per episode; by default 2.5 to 8 seconds, by task.

    Raises:
        SimError: If there is no such task, or robosuite is not installed.
    """

    suite = "robosuite"

    def __init__(
        self, name: str, *, size_px: int = 96, action_repeat: int = 2, max_steps: int | None = None
    ):
        if name not in TASKS:
            raise SimError(f"robosuite has no task {name!r}; expected one of {sorted(TASKS)}")
        steps = max_steps or _MAX_STEPS.get(name, 70) * 2 // action_repeat
        super().__init__(
            TASKS[name], action_repeat=action_repeat, suite_hz=CONTROL_HZ, max_steps=steps
        )
        self._size_px = size_px
        self._env = _make_simulator(name)
        self._n_inputs = int(self._env.action_dim)
        self._cameras: Cameras | None = None
        self._bind()

    def views(self) -> dict[str, np.ndarray]:
        """Render the camera in front and the one in the hand, both upright."""
        if self._cameras is None:
            key = "PickPlace" if self.env_name.startswith("PickPlace") else self.env_name
            where, away_m, azimuth = _CAMERAS.get(key, _TABLE_CAMERA)
            outside = camera_at(where, away_m, azimuth, _ELEVATION)
            self._cameras = Cameras(self._arm, self._size_px, outside)
        return self._cameras.views()

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does now: float32 ``(4,)``.

        Raises:
            SimError: If the task has none.
        """
        if not self.about.expert:
            raise self.no_expert()
        return act(self.env_name, self._measure(), self._probe, self._action_repeat)

    def own_reward(self) -> float:
        """Robosuite's shaped reward, in [0, 1]; that of Wipe has penalties and no range."""
        return self._paid

    def close(self) -> None:
        """Free the renderer and the simulation."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None
        self._env.close()

    def _bind(self) -> None:
        self._arm = Arm(self._env)
        self._probe: Probe = PROBES[self.env_name](self._env, self._arm)
        self._start = self._probe.object_m()
        self._reach_m = float(np.linalg.norm(self._start - self._arm.tip_m()))
        self._way_m = self._probe.distance_m()

    def _restart(self, seed: int) -> None:
        forget_grip(self._env)
        with global_seed(seed):
            self._env.reset()
        self._bind()

    def _act(self, action: np.ndarray) -> float:
        # The wiping tool has no fingers: its action ends with z.
        return float(self._env.step(action[: self._n_inputs])[1])

    def _measure(self) -> Moment:
        contact, grasped = self._arm.touches(self._probe.bodies)
        return Moment(
            tip_m=self._arm.tip_m(),
            object_m=self._probe.object_m(),
            object_start_m=self._start,
            reach_start_m=self._reach_m,
            goal_m=self._probe.goal_m(),
            goal_distance_m=self._probe.distance_m(),
            contact=contact,
            grasped=grasped,
            gripper_open=self._arm.opening(),
            done_fraction=self._probe.done(self._way_m),
            success=bool(self._env._check_success()),
            object_name=self.about.object_name,
            goal_name=self.about.goal_name,
        )


def _make_simulator(name: str) -> Any:
    robosuite = import_robosuite()
    with global_seed(0):  # the size of Lift's cube is drawn with the model, once
        return robosuite.make(
            name,
            robots="Panda",
            controller_configs=_controller(robosuite),
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            control_freq=int(CONTROL_HZ),
            ignore_done=True,
            reward_shaping=True,  # changes what is paid and nothing else
            # The model stays, so that the renderer may; poses are drawn anew all the same.
            hard_reset=False,
        )


def import_robosuite() -> Any:
    """Import robosuite without its greeting.

    Raises:
        SimError: If it is not installed; the message says how to.
    """
    try:
        with contextlib.redirect_stdout(None):
            import robosuite
    except ImportError as error:
        raise SimError(
            "robosuite is missing: pip install -c constraints.txt -c constraints-suites.txt "
            f"'sole-rewards[robosuite]' ({error})"
        ) from error
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return robosuite


def _controller(robosuite: Any) -> dict[str, Any]:
    if hasattr(robosuite, "load_controller_config"):
        return robosuite.load_controller_config(default_controller="OSC_POSITION")
    config = robosuite.load_composite_controller_config(controller="BASIC", robot="Panda")
    arm = config["body_parts"]["right"]
    arm.update(
        type="OSC_POSITION", output_max=arm["output_max"][:3], output_min=arm["output_min"][:3]
    )
    return config
