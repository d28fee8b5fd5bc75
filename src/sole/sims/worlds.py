"""Procedural tabletop scenes with Meta-World's robot and room, and objects of our own.

A reward model trained here meets drawers, doors, taps, levers and buttons of thousands of shapes,
so that the suites' own articulated objects can stay unseen (design: sections 7 and 10). One
:class:`WorldEnv` holds one random geometry; every reset redraws pose, colours, light and camera.
Actions are those of Meta-World: xyz of a mocap-welded hand in 1 cm steps, and the gripper.
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from sole.data.episode import Facts
from sole.errors import ConfigError
from sole.sims import worlds_families as families
from sole.sims import worlds_movables as movables
from sole.sims.base import TaskEnv, clipped
from sole.sims.opengl import mujoco
from sole.sims.render import FastRenderer
from sole.sims.staged import fraction, staged_progress
from sole.sims.worlds_arms import SAWYER, ArmLook
from sole.sims.worlds_expert import act
from sole.sims.worlds_look import CAMERA, Look, seen_at
from sole.sims.worlds_more import MORE_BUILDERS
from sole.sims.worlds_part import DONE_AT, OTHER, Part
from sole.sims.worlds_prop import Prop
from sole.sims.worlds_robot import Robot
from sole.sims.worlds_scene import Scene
from sole.sims.worlds_words import placed, sentences

Builder = Callable[[Scene, np.random.Generator], Prop]

_FIRST_BUILDERS: dict[str, Builder] = {
    "drawer-open": partial(families.drawer, opening=True),
    "drawer-close": partial(families.drawer, opening=False),
    "door-open": partial(families.door, opening=True),
    "door-close": partial(families.door, opening=False),
    "window-open": partial(families.window, opening=True),
    "window-close": partial(families.window, opening=False),
    "faucet-turn-left": partial(families.faucet, left=True),
    "faucet-turn-right": partial(families.faucet, left=False),
    "knob-turn-left": partial(families.dial, left=True),
    "knob-turn-right": partial(families.dial, left=False),
    "lid-open": partial(families.lid, opening=True),
    "lid-close": partial(families.lid, opening=False),
    "gate-push": families.gate,
    "slider-move-left": partial(families.slider, left=True),
    "slider-move-right": partial(families.slider, left=False),
    "lever-pull": partial(families.lever, pull=True),
    "lever-press": partial(families.lever, pull=False),
    "handle-press": partial(families.handle, pull=False, sideways=False),
    "handle-pull": partial(families.handle, pull=True, sideways=False),
    "handle-press-side": partial(families.handle, pull=False, sideways=True),
    "handle-pull-side": partial(families.handle, pull=True, sideways=True),
    "button-press": partial(movables.button, style="front"),
    "button-press-top": partial(movables.button, style="top"),
    "machine-button": partial(movables.button, style="machine"),
    "switch-turn-left": partial(movables.switch, left=True),
    "switch-turn-right": partial(movables.switch, left=False),
    "puck-slide-forward": partial(movables.puck, direction="forward"),
    "puck-slide-back": partial(movables.puck, direction="back"),
    "puck-slide-left": partial(movables.puck, direction="left"),
    "puck-slide-right": partial(movables.puck, direction="right"),
    "ball-push-forward": partial(movables.ball, direction="forward"),
    "ball-push-left": partial(movables.ball, direction="left"),
    "ball-push-right": partial(movables.ball, direction="right"),
    "block-push": partial(movables.block, direction="forward"),
    "block-push-left": partial(movables.block, direction="left"),
    "block-push-right": partial(movables.block, direction="right"),
    "block-pull": partial(movables.block, direction="back"),
    "mug-push": partial(movables.mug, direction="forward"),
    "mug-pull": partial(movables.mug, direction="back"),
}
_BUILDERS: dict[str, Builder] = _FIRST_BUILDERS | MORE_BUILDERS
#: Those that nano was trained on; their scenes hold no other things, whatever was added since.
FIRST_TASKS: tuple[str, ...] = tuple(_FIRST_BUILDERS)
WORLD_TASKS: tuple[str, ...] = tuple(_BUILDERS)

REACH_SLACK_M = 0.03
_MAX_DISTRACTORS = 3
_PLACEMENTS = 20
_START_CLEAR_M = 0.08
#: Share of scenes with a second object, and how often that is one of the same kind.
_COMPANY_SHARE, _TWIN_SHARE = 0.5, 0.35
#: From the middle of the table to each of two objects.
_APART_M = (0.15, 0.22)


class WorldEnv(TaskEnv):
    """One random object of a family, with one task.

    Args:
        env_name: One of :data:`WORLD_TASKS`.
        seed: Draws the geometry; resets draw everything else.
        size_px: Height and width of each view.
        max_steps: Decisions per episode.

    Raises:
        ConfigError: If the name is unknown.
        SimError: If Meta-World is not installed.
    """

    suite = "worlds"

    def __init__(self, env_name: str, seed: int, *, size_px: int = 96, max_steps: int = 30):
        if env_name not in _BUILDERS:
            raise ConfigError(
                f"worlds has no task {env_name!r}; sole sims list --suite worlds shows them"
            )
        self.env_name = env_name
        self.max_steps = max_steps
        self.geometry_seed = seed
        self._size_px = size_px
        scene = Scene()
        self.prop, other, self._n_distractors = build_scene(env_name, scene, seed)
        self.task = sentences(env_name, self.prop.thing, goal=self.prop.goal_name)[0]
        self._model = scene.compile()
        self._data = mujoco.MjData(self._model)
        self._robot = Robot(self._model, self._data)
        self.control_hz = self._robot.control_hz
        self._look = Look(self._model, scene.colours)
        self.arm = ArmLook(self._model)
        self._renderer: FastRenderer | None = None
        self._part = Part(self._model, self._data, self.prop)
        self._other = None if other is None else Part(self._model, self._data, other, OTHER)
        self.action_space = Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = Box(-np.inf, np.inf, (17,), np.float32)
        self._n_steps = 0
        self._previous = np.zeros(7)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Redraw the scene.

        Args:
            seed: Draws everything that is redrawn.
            options: ``task`` replaces the sentence; ``arm``: one of ``worlds_arms.ARMS`` is shown;
                ``placed``: where there are two objects, the sentence says which side it is on.
        """
        super().reset(seed=seed)
        rng, options = self.np_random, options or {}
        self.arm.choose(options.get("arm", SAWYER), self.geometry_seed)
        mujoco.mj_resetData(self._model, self._data)
        colour = self._look.redraw(rng)
        for part in self._parts:
            part.set_aside()
        self._robot.start(rng)
        for _ in range(_PLACEMENTS):
            self._place(rng)
            mujoco.mj_forward(self._model, self._data)
            self._start_reach_m = float(np.linalg.norm(self._part.handle_m() - self._robot.tip_m()))
            if self._start_reach_m > _START_CLEAR_M and self._robot.is_free():
                break
        said = sentences(
            self.env_name, self.prop.thing, goal=self.prop.goal_name,
            colour=colour if rng.random() < 0.4 or self._has_twin else "",
        )  # fmt: skip
        if options.get("placed") and self._other is not None:
            said = placed(said, self.prop.thing, self._side()) or said
        self.task = options.get("task", str(rng.choice(said)))
        self._n_steps = 0
        self._goal_m = self._part.handle_at_goal_m()
        self._start_handle_m = self._part.handle_m().copy()
        self._previous = self._state()
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move the hand for one decision; the reward is always 0.0."""
        action = clipped(action)
        self._previous = self._state()
        self._robot.move(action)
        self._n_steps += 1
        return self._observation(), 0.0, False, self._n_steps >= self.max_steps, {}

    def views(self) -> dict[str, np.ndarray]:
        """Render the corner camera (turned upright) and the gripper's."""
        if self._renderer is None:
            self._renderer = FastRenderer(self._model, self._size_px)
        return {
            "external": self._renderer.render(
                self._data, CAMERA, upside_down=True, decorate=self.arm.draw
            ),
            "wrist": self._renderer.render(self._data, "gripperPOV", decorate=self.arm.draw),
        }

    def proprio(self) -> np.ndarray:
        """Gripper position in metres and its opening in [0, 1]: float32 ``(4,)``."""
        return np.array([*self._robot.hand_m(), self._robot.opening()], dtype=np.float32)

    def truth(self) -> tuple[float, bool, Facts]:
        """Staged progress, success (:data:`DONE_AT` of the motion is done), and the facts."""
        handle, tip = self._part.handle_m(), self._robot.tip_m()
        contact, grasped = self._robot.touches(self._part.geoms)
        done = self._part.done_fraction()
        success = done >= DONE_AT
        reach_m = float(np.linalg.norm(handle - tip))
        reached = fraction(self._start_reach_m, reach_m, REACH_SLACK_M)
        progress = staged_progress(
            reach_fraction=1.0 if contact else reached,
            contact=contact, done_fraction=done, success=success,
        )  # fmt: skip
        x, y, z = (round(float(v), 4) for v in handle - tip)
        facts: Facts = {
            "object_name": self.prop.object_name,
            "goal_name": self.prop.goal_name,
            "gripper_to_object_m": round(reach_m, 4),
            "offset_m": (x, y, z),
            "contact": contact,
            "grasped": grasped,
            "gripper_open": round(self._robot.opening(), 3),
            "object_moved_m": round(float(np.linalg.norm(handle - self._start_handle_m)), 4),
            "object_height_m": round(float(handle[2] - self._start_handle_m[2]), 4),
            "object_to_goal_m": round(float(np.linalg.norm(handle - self._goal_m)), 4),
            "done_fraction": round(done, 4),
            "complete": success,
        }
        return progress, success, facts

    def expert_action(self) -> np.ndarray:
        """What the scripted expert does now: float32 ``(4,)``."""
        return act(self._part.moment(self._robot))

    def opposite_action(self) -> np.ndarray:
        """What an expert in the opposite task would do, for example close instead of open."""
        return act(self._part.moment(self._robot, opposite=True))

    def wrong_object_action(self) -> np.ndarray:
        """What an expert does who moves the other object; alone on the table, the opposite."""
        if self._other is None:
            return self.opposite_action()
        return act(self._other.moment(self._robot))

    def landmarks(self) -> dict[str, dict[str, Any]]:
        """Where the gripper and the named objects are; alike objects have no name of their own.

        Returns:
            By name: ``picture`` (x right, y down, in [0, 1] of the external view), ``depth_m``
            along the camera's axis, ``place_m`` in the world.
        """
        places = {"gripper": self._robot.tip_m()}
        if not self._has_twin:
            places |= {part.prop.thing: part.handle_m() for part in self._parts}
        return {name: seen_at(self._model, self._data, at) for name, at in places.items()}

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    @property
    def _parts(self) -> list[Part]:
        return [self._part] if self._other is None else [self._part, self._other]

    def _side(self) -> str:
        """On which side of the other object it stands, seen by the robot."""
        assert self._other is not None
        x, other_x = self._part.handle_m()[0], self._other.handle_m()[0]
        return "left" if x < other_x else "right"

    @property
    def _has_twin(self) -> bool:
        """Whether only the colour tells the object from the other one."""
        return self._other is not None and self._other.prop.thing == self.prop.thing

    def _place(self, rng: np.random.Generator) -> None:
        self._part_places(rng)
        path = [point for part in self._parts for point in part.path_m()]
        for index in range(self._n_distractors):
            body = self._model.body(f"distractor_{index}").id
            shown = rng.random() < 0.6
            # An unwanted distractor waits under the table.
            self._model.body_pos[body] = (*_away_from(path, rng), 0.0 if shown else -0.5)

    def _part_places(self, rng: np.random.Generator) -> None:
        if self._other is None:
            self._part.place(rng)
            return
        side = float(rng.choice([-1.0, 1.0]))
        self._part.place(rng, side * rng.uniform(*_APART_M))
        self._other.place(rng, -side * rng.uniform(*_APART_M))

    def _state(self) -> np.ndarray:
        return np.array([*self._robot.hand_m(), self._robot.opening(), *self._part.handle_m()])

    def _observation(self) -> np.ndarray:
        state = np.concatenate([self._state(), self._previous, self._goal_m])
        return state.astype(np.float32)


def build_scene(env_name: str, scene: Scene, seed: int) -> tuple[Prop, Prop | None, int]:
    """Add a task's objects to an empty scene: its own, another one or none, loose distractors.

    Returns:
        The task's object, the other one, and the number of distractors.
    """
    rng = np.random.default_rng([seed, sum(env_name.encode())])
    prop = _BUILDERS[env_name](scene, rng)
    n_distractors = _add_distractors(scene, rng)
    return prop, _add_company(scene, rng, env_name), n_distractors


def make_world(env_name: str, seed: int, size_px: int = 96) -> WorldEnv:
    """Return a scene of family ``env_name`` whose geometry is drawn from ``seed``.

    Args:
        env_name: One of :data:`WORLD_TASKS`.
        seed: Any non-negative number; equal seeds give equal geometry.
        size_px: Height and width of each view.

    Raises:
        ConfigError: If the name is unknown.
        SimError: If Meta-World is not installed.
    """
    return WorldEnv(env_name, seed, size_px=size_px)


def _add_distractors(scene: Scene, rng: np.random.Generator) -> int:
    count = int(rng.integers(0, _MAX_DISTRACTORS + 1))
    for index in range(count):
        body = scene.free_standing(f"distractor_{index}")
        half = rng.uniform(0.015, 0.04, 3)
        shape = rng.integers(3)
        if shape == 0:
            scene.box(body, (0, 0, half[2]), tuple(half), "other", solid=False)
        elif shape == 1:
            scene.cylinder(body, (0, 0, half[2]), half[0], half[2], "other", solid=False)
        else:
            scene.sphere(body, (0, 0, half[0]), half[0], "other", solid=False)
    return count


def _add_company(scene: Scene, rng: np.random.Generator, env_name: str) -> Prop | None:
    """Add a second object of some kind, or none."""
    if rng.random() >= _COMPANY_SHARE:
        return None
    choices = FIRST_TASKS if env_name in FIRST_TASKS else WORLD_TASKS
    other_name = env_name if rng.random() < _TWIN_SHARE else str(rng.choice(choices))
    scene.begin_object(OTHER)
    return _BUILDERS[other_name](scene, rng)


def _away_from(path: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return a place on the table at least 25 cm from every point of ``path`` (best of 20)."""
    best, best_m = np.array([0.4, 0.9]), 0.0
    for _ in range(20):
        place = rng.uniform((-0.45, 0.45), (0.4, 0.92))
        distance_m = min(float(np.linalg.norm(place - point)) for point in path)
        if distance_m > 0.25:
            return place
        if distance_m > best_m:
            best, best_m = place, distance_m
    return best
