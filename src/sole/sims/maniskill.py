"""ManiSkill's table-top tasks as :class:`TaskEnv` (Tao et al. 2024, arXiv 2410.00425).

Physics and pictures are computed on the CPU (PhysX and a software Vulkan; docs/suites.md says which
one works). The Panda is moved by ManiSkill's ``pd_ee_delta_pos``: up to 10 cm per control step
(20 Hz) along each axis. ManiSkill hides goals from its cameras; here they are drawn, as Meta-World
draws them, for no sentence could say where an invisible place is.
"""

# The simulator is an extra that a checkout need not have.
# pyright: reportMissingImports=false

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np

from sole.errors import SimError
from sole.sims.maniskill_tasks import TASKS
from sole.sims.staged import fraction
from sole.sims.suite import Moment, SuiteEnv
from sole.sims.suite_expert import carry, pick, push, toward

SUITE_HZ = 20.0
#: Names of the object in ManiSkill's scenes, where it is not the cube.
_OBJECTS = {"PickCube": "cube", "StackCube": "cubeA"}
#: Distance at which ManiSkill calls the motion done.
_DONE_WITHIN_M = {"PickCube": 0.025, "PushCube": 0.1, "PullCube": 0.1, "StackCube": 0.005}
_MAX_STEPS = {"PickCube": 35, "StackCube": 50}
_OPEN_M = 0.08
_TOUCH_N = 0.01


class ManiSkillEnv(SuiteEnv):
    """One ManiSkill task with the Panda arm.

    Args:
        name: ManiSkill's name without the version, for example ``StackCube``.
        size_px: Height and width of each view.
        action_repeat: Control steps (20 Hz) per decision.
        max_steps: Decisions per episode; by default 3 to 5 seconds, by task.

    Raises:
        SimError: If there is no such task, ManiSkill is not installed, or Vulkan does not work.
    """

    suite = "maniskill"

    def __init__(
        self, name: str, *, size_px: int = 96, action_repeat: int = 2, max_steps: int | None = None
    ):
        if name not in TASKS:
            raise SimError(f"maniskill has no task {name!r}; expected one of {sorted(TASKS)}")
        steps = max_steps or _MAX_STEPS.get(name, 30) * 2 // action_repeat
        super().__init__(
            TASKS[name], action_repeat=action_repeat, suite_hz=SUITE_HZ, max_steps=steps
        )
        self._env = _make_simulator(name, size_px)
        self._agent = self._env.agent
        self._thing: Any = None
        self._verdict: dict[str, Any] = {}
        self._start = np.zeros(3)
        self._reach_m = self._way_m = 1.0

    def views(self) -> dict[str, np.ndarray]:
        """Render ManiSkill's base camera and the one in the hand."""
        self._env.scene.update_render()
        self._env.capture_sensor_data()
        return {"external": self._picture("base_camera"), "wrist": self._picture("hand_camera")}

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does now: float32 ``(4,)``.

        Raises:
            SimError: If the task has none.
        """
        if not self.about.expert:
            raise self.no_expert()
        # The arm covers about half of what it is asked for in a control step.
        step_m = 0.05 * self._action_repeat
        now = self._measure()
        if self.env_name in {"PushCube", "PullCube"}:
            return push(now, step_m, half_m=0.02)
        if self.env_name == "PickCube":
            if not now.grasped:
                return pick(now, step_m)
            return toward(now, now.tip_m + now.goal_m - now.object_m, 1.0, step_m)
        return carry(now, step_m, over_m=0.07)

    def close(self) -> None:
        """Free the simulation."""
        self._env.close()

    def own_reward(self) -> float:
        """ManiSkill's dense reward as it normalises it, in [0, 1]."""
        return self._paid

    def _restart(self, seed: int) -> None:
        self._env.reset(seed=seed)
        for hidden in self._env._hidden_objects:
            hidden.show_visual()
        self._env._hidden_objects.clear()
        self._thing = getattr(self._env, _OBJECTS.get(self.env_name, "obj"))
        self._verdict = self._env.evaluate()
        self._start = _array(self._thing.pose.p)
        self._reach_m = float(np.linalg.norm(self._start - self._tip_m()))
        self._way_m = self._distance_m()

    def _act(self, action: np.ndarray) -> float:
        # ManiSkill opens the gripper with 1.
        paid = self._env.step(np.array([*action[:3], -action[3]], np.float32))[1]
        self._verdict = self._env.evaluate()
        return float(_array(paid))

    def _picture(self, camera: str) -> np.ndarray:
        wanted = {"rgb": True, "depth": False, "position": False, "segmentation": False}
        return _array(self._env._sensors[camera].get_obs(**wanted)["rgb"]).copy()

    def _tip_m(self) -> np.ndarray:
        return _array(self._agent.tcp.pose.p).astype(float)

    def _goal_m(self) -> np.ndarray:
        """Where the object's reference point should be."""
        env, now = self._env, _array(self._thing.pose.p).astype(float)
        if self.env_name == "StackCube":
            return _array(env.cubeB.pose.p) + np.array([0.0, 0.0, 0.04])
        goal = _array(
            env.goal_site.pose.p if self.env_name == "PickCube" else env.goal_region.pose.p
        )
        # Circles on the table say nothing about height.
        return goal.astype(float) if self.env_name == "PickCube" else np.array([*goal[:2], now[2]])

    def _distance_m(self) -> float:
        return float(np.linalg.norm(_array(self._thing.pose.p) - self._goal_m()))

    def _contacts(self) -> tuple[bool, bool]:
        links = self._agent.robot.links_map
        names = ("panda_leftfinger", "panda_rightfinger", "panda_hand")
        forces = [
            float(np.linalg.norm(_array(
                self._env.scene.get_pairwise_contact_forces(links[name], self._thing)
            )))
            for name in names
        ]  # fmt: skip
        touching = any(force > _TOUCH_N for force in forces)
        return touching, bool(_array(self._agent.is_grasping(self._thing)))

    def _measure(self) -> Moment:
        contact, grasped = self._contacts()
        distance_m = self._distance_m()
        within_m = _DONE_WITHIN_M.get(self.env_name, 0.0)
        fingers = _array(self._agent.robot.get_qpos())[-2:]
        return Moment(
            tip_m=self._tip_m(),
            object_m=_array(self._thing.pose.p).astype(float),
            object_start_m=self._start,
            reach_start_m=self._reach_m,
            goal_m=self._goal_m(),
            goal_distance_m=distance_m,
            contact=contact or grasped,
            grasped=grasped,
            gripper_open=float(np.clip(fingers.sum() / _OPEN_M, 0.0, 1.0)),
            done_fraction=fraction(self._way_m, distance_m, within_m),
            success=bool(_array(self._verdict["success"])),
            object_name=self.about.object_name,
            goal_name=self.about.goal_name,
        )


def _array(batch: Any) -> np.ndarray:
    """The first row of ManiSkill's batch of one, as numpy."""
    return batch[0].cpu().numpy()


def _make_simulator(name: str, size_px: int) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries of ManiSkill use what Python will drop
            import gymnasium
            import mani_skill.envs  # noqa: F401  # registers the tasks
    except ImportError as error:
        raise SimError(
            "maniskill is missing: pip install -c constraints.txt -c constraints-suites.txt "
            f"'sole-rewards[maniskill]' ({error})"
        ) from error
    logging.getLogger("mani_skill").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gymnasium.make(
                f"{name}-v1",
                obs_mode="none",
                reward_mode="normalized_dense",
                control_mode="pd_ee_delta_pos",
                robot_uids="panda_wristcam",
                sim_backend="cpu",
                render_backend="cpu",
                num_envs=1,
                sensor_configs={"width": size_px, "height": size_px},
            ).unwrapped
    except RuntimeError as error:
        raise SimError(
            f"maniskill cannot draw ({error}); it needs Mesa's lavapipe 25 or a GPU with Vulkan: "
            "see docs/suites.md"
        ) from error
