"""Meta-World's 50 tasks as :class:`TaskEnv`: two upright views, one progress scale, no leak.

Meta-World 3.1.1 (Yu et al. 2019, arXiv 1910.10897). Its ``success`` is read in
:meth:`MetaWorldEnv.truth` only, its dense reward kept for :meth:`MetaWorldEnv.own_reward` only.
Cameras: ``corner4``, which Meta-World renders upside down, and the wrist camera ``gripperPOV``. The
simulator runs at 80 Hz; one decision is ``action_repeat`` of its steps.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from sole.data.episode import Facts
from sole.errors import SimError
from sole.sims.base import TaskEnv, clipped
from sole.sims.metaworld_tasks import TASKS
from sole.sims.opengl import mujoco
from sole.sims.render import FastRenderer
from sole.sims.staged import fraction, free_progress, from_start, staged_progress

SIMULATOR_HZ = 80.0
#: What Meta-World pays for each step once a task is done, and the most that it pays.
_MOST_PAID = 10.0
REACH_SLACK_M = 0.03
#: Distance at which Meta-World calls a task done (its ``evaluate_state``), where it is not 0.07.
_DONE_WITHIN_M = {
    "assembly": 0.02, "basketball": 0.08, "bin-picking": 0.05, "box-close": 0.08,
    "button-press-topdown": 0.024, "button-press-topdown-wall": 0.024, "button-press": 0.02,
    "button-press-wall": 0.03, "coffee-button": 0.02, "disassemble": 0.0, "door-close": 0.08,
    "door-lock": 0.02, "door-open": 0.08, "door-unlock": 0.02, "drawer-close": 0.065,
    "drawer-open": 0.03, "hammer": 0.0, "hand-insert": 0.05, "handle-press-side": 0.02,
    "handle-press": 0.02, "handle-pull-side": 0.08, "handle-pull": 0.05, "lever-pull": 0.024,
    "push": 0.05, "reach": 0.05, "reach-wall": 0.05, "stick-pull": 0.12, "stick-push": 0.12,
    "sweep-into": 0.05, "sweep": 0.05, "window-close": 0.05, "window-open": 0.05,
}  # fmt: skip
_REACHING = frozenset({"reach", "reach-wall"})
_WITH_TOOL = frozenset({"hammer", "stick-push", "stick-pull"})
_TOOL_SHARE = 0.4
#: Numbers of Meta-World's own observation: hand, two objects, the same of the step before, goal.
_N_OWN = 39


class MetaWorldEnv(TaskEnv):
    """One Meta-World task.

    Args:
        name: Task name without the version, for example ``drawer-open``.
        size_px: Height and width of each view.
        action_repeat: Simulator steps per decision (6 is 13 decisions a second).
        max_steps: Decisions per episode.
        relative_state: States also hold the ways from hand to object and from object to goal.
    """

    suite = "metaworld"

    def __init__(
        self,
        name: str,
        *,
        size_px: int = 96,
        action_repeat: int = 6,
        max_steps: int = 25,
        relative_state: bool = False,
    ):
        if name not in TASKS:
            raise SimError(f"metaworld has no task {name!r}; see sole.sims.metaworld_tasks.TASKS")
        self.env_name = name
        self.task = TASKS[name].sentence
        self.max_steps = max_steps
        self.control_hz = SIMULATOR_HZ / action_repeat
        self._action_repeat = action_repeat
        self._size_px = size_px
        self._env, self._policy = _make_simulator(name)
        self._renderer: FastRenderer | None = None
        self._gripper, self._objects, self._pads = _bodies(self._env.model)
        self._looks = _Looks(self._env.model, self._objects)
        self._relative_state = relative_state
        n_state = _N_OWN + (6 if relative_state else 0)
        self.action_space = Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (n_state,), np.float32)
        self._observation = np.zeros(_N_OWN)
        self._n_steps = 0
        self._paid = 0.0
        self._progress_at_start = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; options: ``task`` (a paraphrase), ``look`` (a seed of colours)."""
        options = options or {}
        self.task = options.get("task", TASKS[self.env_name].sentence)
        if seed is not None:
            super().reset(seed=seed)
            self._env.seed(seed)
        self._looks.apply(options.get("look"))
        mujoco.mj_resetData(self._env.model, self._env.data)
        self._env.reset()
        # Meta-World moves bodies after its last mj_forward: without this, sites lag one step.
        mujoco.mj_forward(self._env.model, self._env.data)
        self._env._prev_obs = self._env._get_curr_obs_combined_no_goal()
        self._observation = self._env._get_obs()
        self._n_steps = 0
        self._paid = 0.0
        self._start = self._measure()
        self._progress_at_start = 0.0
        self._progress_at_start = self.truth()[0]
        return self._state(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Repeat one action for ``action_repeat`` simulator steps; the reward is always 0.0."""
        action = clipped(action)
        paid = 0.0
        for _ in range(self._action_repeat):
            self._env.curr_path_length = 0  # our horizon, not Meta-World's 500
            self._observation, reward, *_ = self._env.step(action)
            paid += float(reward)
        self._paid = paid / self._action_repeat
        self._n_steps += 1
        return self._state(), 0.0, False, self._n_steps >= self.max_steps, {}

    def _state(self) -> np.ndarray:
        """Meta-World's observation, float32 ``(39,)``; six more when it is to be relative, metres.

        Hand to object and object to goal: where they matter, a network need not first learn to
        subtract.
        """
        own = self._observation
        if not self._relative_state:
            return own.astype(np.float32)
        hand, thing, goal = own[:3], own[4:7], own[36:39]
        return np.concatenate([own, thing - hand, goal - thing]).astype(np.float32)

    def views(self) -> dict[str, np.ndarray]:
        """Render corner4 (turned upright) and the gripper camera."""
        if self._renderer is None:
            self._renderer = FastRenderer(self._env.model, self._size_px)
        data = self._env.data
        return {
            "external": self._renderer.render(data, "corner4", upside_down=True),
            "wrist": self._renderer.render(data, "gripperPOV"),
        }

    def proprio(self) -> np.ndarray:
        """Gripper position in metres and its opening in [0, 1]: float32 ``(4,)``."""
        return self._observation[:4].astype(np.float32)

    def expert_action(self) -> np.ndarray:
        """What Meta-World's scripted policy does now."""
        with warnings.catch_warnings():  # its gains exceed the action range on purpose
            warnings.filterwarnings("ignore", message="Constant")
            action = self._policy.get_action(self._observation)
        return np.clip(action, -1, 1).astype(np.float32)

    def truth(self) -> tuple[float, bool, Facts]:
        """Staged progress (:mod:`sole.sims.staged`), Meta-World's success, and the facts."""
        now, start = self._measure(), self._start
        done = self._done_fraction(now)
        if self.env_name in _REACHING:
            progress = free_progress(done, success=now["success"])
        else:
            reach = fraction(start["reach_m"], now["reach_m"], REACH_SLACK_M)
            progress = staged_progress(
                reach_fraction=1.0 if now["contact"] else reach,
                contact=now["contact"],
                done_fraction=done,
                success=now["success"],
            )
        progress = from_start(progress, self._progress_at_start)
        return progress, now["success"], self._facts(now, done)

    def own_reward(self) -> float:
        """Meta-World's dense reward (0 to 10) of the last decision's steps, their mean over 10."""
        return self._paid / _MOST_PAID

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _done_fraction(self, now: dict[str, Any]) -> float:
        within_m = _DONE_WITHIN_M.get(self.env_name, 0.07)
        done = fraction(self._start["goal_m"], now["goal_m"], within_m)
        if self.env_name not in _WITH_TOOL:
            return done
        # Bringing the tool to what it works on is part of the task's own motion.
        brought = fraction(self._start["tool_m"], now["tool_m"], 0.05)
        return _TOOL_SHARE * max(brought, done) + (1 - _TOOL_SHARE) * done

    def _measure(self) -> dict[str, Any]:
        _, info = self._env.evaluate_state(self._observation, np.zeros(4, np.float32))
        tcp, thing = self._env.tcp_center.copy(), self._observation[4:7].copy()
        target = tcp if self.env_name in _REACHING else thing
        contact, grasped = self._contacts()
        if self.env_name in _REACHING:
            thing = np.asarray(self._env._target_pos, float)
            contact = grasped = False
        return {
            "success": bool(info["success"]),
            "goal_m": _goal_distance_m(self.env_name, self._env, info, target),
            "tool_m": float(np.linalg.norm(thing - self._observation[11:14])),
            "reach_m": float(np.linalg.norm(tcp - thing)),
            "offset_m": thing - tcp,
            "object": thing,
            "contact": contact,
            "grasped": grasped,
        }

    def _contacts(self) -> tuple[bool, bool]:
        """Whether the gripper touches something movable, and whether both fingers do."""
        model, data = self._env.model, self._env.data
        touching = set()
        for contact in data.contact[: data.ncon]:
            one, two = model.geom_bodyid[contact.geom1], model.geom_bodyid[contact.geom2]
            for hand, thing in ((one, two), (two, one)):
                if hand in self._gripper and thing in self._objects:
                    touching.add(self._pads.get(int(hand), "hand"))
        return bool(touching), {"left", "right"} <= touching

    def _facts(self, now: dict[str, Any], done: float) -> Facts:
        task, moved = TASKS[self.env_name], now["object"] - self._start["object"]
        dx, dy, dz = (round(float(x), 4) for x in now["offset_m"])
        return {
            "object_name": task.object_name,
            "goal_name": task.goal_name,
            "gripper_to_object_m": round(now["reach_m"], 4),
            "offset_m": (dx, dy, dz),
            "contact": now["contact"],
            "grasped": now["grasped"],
            "gripper_open": round(float(self._observation[3]), 3),
            "object_moved_m": round(float(np.linalg.norm(moved)), 4),
            "object_height_m": round(float(moved[2]), 4),
            "object_to_goal_m": round(now["goal_m"], 4),
            "done_fraction": round(done, 4),
            "complete": now["success"],
        }


def _make_simulator(name: str) -> tuple[Any, Any]:
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
        from metaworld.policies import ENV_POLICY_MAP
    except ImportError as error:
        raise SimError(
            f"metaworld is missing: pip install 'sole-rewards[metaworld]' ({error})"
        ) from error
    env: Any = ALL_V3_ENVIRONMENTS[f"{name}-v3"]()
    # A new goal at every reset, and seen: Meta-World caches a space that clips hidden goals to 0.
    env._partially_observable = False
    vars(env).pop("sawyer_observation_space", None)
    env._freeze_rand_vec = False
    env._set_task_called = True
    env.seeded_rand_vec = True
    return env, ENV_POLICY_MAP[f"{name}-v3"]()


def _bodies(model: mujoco.MjModel) -> tuple[frozenset[int], frozenset[int], dict[int, str]]:
    """Return the gripper's bodies, the movable things, and which side each finger is."""
    hand = model.body("hand").id
    gripper, objects = set(), set()
    for body in range(model.nbody):
        chain = _ancestors(model, body)
        if hand in chain:
            gripper.add(body)
        elif not any(
            "right_" in model.body(b).name or model.body_mocapid[b] >= 0 for b in chain
        ) and any(model.body_jntnum[b] for b in chain):
            objects.add(body)
    pads = {}
    for body in gripper:
        name = model.body(body).name
        if name.startswith(("left", "right")):
            pads[body] = "left" if name.startswith("left") else "right"
    return frozenset(gripper), frozenset(objects), pads


def _ancestors(model: mujoco.MjModel, body: int) -> list[int]:
    chain = []
    while body > 0:
        chain.append(body)
        body = int(model.body_parentid[body])
    return chain


def _goal_distance_m(name: str, env: Any, info: dict[str, Any], thing: np.ndarray) -> float:
    """How far the task's own motion still has to go; Meta-World reports it for most tasks."""
    target = np.asarray(env._target_pos, float)
    if name in _REACHING:
        return float(np.linalg.norm(thing - target))
    if name == "assembly":
        return float(np.linalg.norm(env._get_site_pos("RoundNut") - target))
    if name == "box-close":
        return float(np.linalg.norm(thing - target))
    if name == "disassemble":
        return max(float(target[2] - thing[2]), 0.0)
    if name == "door-open":
        return abs(float(thing[0] - target[0]))
    if name == "hammer":
        return max(0.09 - float(env.data.joint("NailSlideJoint").qpos[0]), 0.0)
    return float(info["obj_to_target"])


class _Looks:
    """Colours of the task's objects and the pose of the outside camera, redrawn on request."""

    def __init__(self, model: mujoco.MjModel, objects: frozenset[int]):
        self._model = model
        self._geoms = [g for g in range(model.ngeom) if int(model.geom_bodyid[g]) in objects]
        self._materials = {int(model.geom_matid[g]) for g in self._geoms} - {-1}
        self._camera = model.camera("corner4").id
        self._stock = [a.copy() for a in (model.geom_rgba, model.mat_rgba, model.cam_pos)]

    def apply(self, look: int | None) -> None:
        """Put the stock look back, then (unless None) draw the look number ``look``."""
        model = self._model
        for array, stock in zip(
            (model.geom_rgba, model.mat_rgba, model.cam_pos), self._stock, strict=True
        ):
            array[:] = stock
        if look is None:
            return
        rng = np.random.default_rng(look)
        model.cam_pos[self._camera] += rng.normal(0.0, 0.02, 3)
        for material in sorted(self._materials):
            model.mat_rgba[material, :3] = rng.uniform(0.1, 1.0, 3)
        for geom in self._geoms:
            if model.geom_matid[geom] < 0:
                model.geom_rgba[geom, :3] = rng.uniform(0.1, 1.0, 3)
