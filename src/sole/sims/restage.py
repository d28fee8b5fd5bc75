"""What the cameras see of a scene, changed when it is drawn: other things, another camera, light.

The physics knows nothing of it: shapes are added to the picture's scene only, so the same actions
give the same truth, with the shapes' right size, shading and place behind and before other things,
in every view. Works for the suites in Meta-World's room, ``metaworld`` and ``worlds``. Strengths
lie in (0, 1].
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from sole.sims.base import TaskEnv
from sole.sims.opengl import mujoco

#: Changes a scene that is about to be drawn; the second argument is the camera's name.
Change = Callable[[mujoco.MjvScene, str], None]

SUITES = ("metaworld", "worlds")
OUTSIDE_CAMERA = "corner4"
_TABLE_M = ((-0.42, 0.42), (0.42, 0.95))
_N_TWINS = 3
_N_CLUTTER = 14
_CLEAR_M = 0.14
_PLACES = 300
_COPIED = ("dataid", "matid", "texcoord", "emission", "specular", "shininess", "reflectance")
_SHAPES = (
    mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE,
)  # fmt: skip


class Shape:
    """One drawn shape, kept apart from the scene it was taken from."""

    def __init__(self, geom: mujoco.MjvGeom):
        self.type = int(geom.type)
        self.size, self.pos = np.array(geom.size, float), np.array(geom.pos, float)
        self.mat, self.rgba = np.array(geom.mat, float).ravel(), np.array(geom.rgba, np.float32)
        self._more = {name: getattr(geom, name) for name in _COPIED}

    def draw(self, scene: mujoco.MjvScene, shift_m: np.ndarray) -> None:
        """Add it to a scene, moved by (x, y, z) metres."""
        geom = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(geom, self.type, self.size, self.pos + shift_m, self.mat, self.rgba)
        for name, value in self._more.items():
            setattr(geom, name, value)
        scene.ngeom += 1


def can_restage(full_name: str) -> bool:
    """Whether a task's scenes can be changed here.

    Example:
        >>> can_restage("metaworld/drawer-open"), can_restage("robosuite/Lift")
        (True, False)
    """
    return full_name.partition("/")[0] in SUITES


@contextmanager
def restaged(env: TaskEnv, change: Change) -> Iterator[None]:
    """Every picture that ``env`` draws meanwhile is of the changed scene; the env stays as it is.

    Args:
        env: Of one of :data:`SUITES`.
        change: What is done to the scene before each picture.
    """
    renderer = _renderer(env)
    usual = renderer.update_scene

    def update_scene(data: mujoco.MjData, camera: Any, scene_option: Any) -> None:
        usual(data, camera=camera, scene_option=scene_option)
        change(renderer.scene, str(camera))

    renderer.update_scene = update_scene
    try:
        yield
    finally:
        del renderer.update_scene  # the method of the class is in force again


def finished_object(env: TaskEnv, seed: int, n_steps: int) -> list[Shape]:
    """The task's object as it looks when the task is done, or as near as the expert brings it.

    The environment is reset, and left where the expert ends.

    Args:
        env: Of one of :data:`SUITES`.
        seed: Of the layout.
        n_steps: Decisions that the expert has.
    """
    env.reset(seed=seed)
    for _ in range(n_steps):
        if env.truth()[1]:
            break
        env.step(env.expert_action())
    return object_shapes(env)


def object_shapes(env: TaskEnv) -> list[Shape]:
    """What is drawn of the task's object now, with what it stands on or hangs at."""
    model, data = _model(env), _data(env)
    bodies = _object_bodies(env, model)
    scene = mujoco.MjvScene(model, model.ngeom + 200)
    everything = mujoco.mjtCatBit.mjCAT_ALL
    mujoco.mjv_updateScene(
        model, data, mujoco.MjvOption(), None, mujoco.MjvCamera(), everything, scene
    )
    drawn = (scene.geoms[k] for k in range(scene.ngeom))
    return [
        Shape(g)
        for g in drawn
        if g.objtype == mujoco.mjtObj.mjOBJ_GEOM and int(model.geom_bodyid[g.objid]) in bodies
    ]


def twins(
    finished: Sequence[Shape], keep_clear: Sequence[Shape], strength: float,
    rng: np.random.Generator,
) -> Change:  # fmt: skip
    """Up to three objects stand on the table that look like the task's own when it is done.

    Args:
        finished: From :func:`finished_object`.
        keep_clear: The real object as it starts; the twins stand beside it.
        strength: How many of the three.
        rng: Draws the places.
    """
    centre, radius_m = _extent(finished)
    taken = [(_extent(keep_clear)), (centre, radius_m)]
    shifts = []
    for _ in range(_N_TWINS):  # all are drawn, so that a weaker attack is part of a stronger one
        place = _free_place(taken, radius_m, rng)
        taken.append((place, radius_m))
        shifts.append(np.array([*(place - centre), 0.0]))
    shown = shifts[: math.ceil(_N_TWINS * strength)]

    def change(scene: mujoco.MjvScene, camera: str) -> None:
        for shift in shown:
            for shape in finished:
                shape.draw(scene, shift)

    return change


def clutter(keep_clear: Sequence[Shape], strength: float, rng: np.random.Generator) -> Change:
    """Up to 14 coloured boxes, cylinders and balls lie about on the table.

    Args:
        keep_clear: The task's object; nothing is put within 14 cm of its edge.
        strength: How many of the 14.
        rng: Draws their shapes, colours and places.
    """
    taken = [_extent(keep_clear)]
    made = [_thing(rng, _free_place(taken, 0.0, rng)) for _ in range(_N_CLUTTER)]
    shown = made[: math.ceil(_N_CLUTTER * strength)]

    def change(scene: mujoco.MjvScene, camera: str) -> None:
        for kind, size, pos, rgba in shown:
            mujoco.mjv_initGeom(scene.geoms[scene.ngeom], kind, size, pos, np.eye(3).ravel(), rgba)
            scene.ngeom += 1

    return change


def shifted_camera(strength: float, rng: np.random.Generator) -> Change:
    """The outside camera stands up to 12 cm elsewhere and is turned by up to 6 degrees and rolled.

    Args:
        strength: Share of the drawn shift and turns.
        rng: Draws them.
    """
    towards = rng.normal(size=3)
    shift_m = 0.12 * strength * towards / np.linalg.norm(towards)
    turns = np.radians(6.0) * strength * rng.uniform(-1, 1, 3)

    def change(scene: mujoco.MjvScene, camera: str) -> None:
        if camera != OUTSIDE_CAMERA:
            return
        for eye in scene.camera:
            forward, up = np.array(eye.forward, float), np.array(eye.up, float)
            for axis, angle in zip((up, np.cross(forward, up), forward), turns, strict=True):
                forward, up = _turned(forward, axis, angle), _turned(up, axis, angle)
            eye.pos[:] = eye.pos + shift_m
            eye.forward[:], eye.up[:] = forward, up

    return change


def relit(strength: float, rng: np.random.Generator) -> Change:
    """Every lamp is brighter or darker by up to 60 percent, tinted by up to 30, aimed elsewhere.

    Args:
        strength: Share of the drawn change.
        rng: Draws it.
    """
    gain = 1.0 + 0.6 * strength * rng.choice([-1.0, 1.0])
    tint = gain * (1.0 + 0.3 * strength * rng.uniform(-1, 1, 3))
    aside = 0.7 * strength * rng.uniform(-1, 1, 3)

    def change(scene: mujoco.MjvScene, camera: str) -> None:
        for k in range(scene.nlight):
            light = scene.lights[k]
            for part in (light.ambient, light.diffuse, light.specular):
                part[:] = np.clip(part * tint, 0.0, 1.0)
            if not light.headlight:
                towards = np.array(light.dir, float) + aside
                light.dir[:] = towards / max(float(np.linalg.norm(towards)), 1e-6)

    return change


def _thing(rng: np.random.Generator, place: np.ndarray) -> tuple[int, np.ndarray, np.ndarray, Any]:
    kind = _SHAPES[int(rng.integers(len(_SHAPES)))]
    half = rng.uniform(0.015, 0.045, 3)
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        half[:] = half[0]
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        half = np.array([half[0], half[0], half[2]])
    rgba = np.array([*rng.uniform(0.05, 1.0, 3), 1.0], np.float32)
    return int(kind), half, np.array([*place, half[2]]), rgba


def _turned(vector: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation about a unit axis."""
    cos, sin = math.cos(angle), math.sin(angle)
    return vector * cos + np.cross(axis, vector) * sin + axis * (axis @ vector) * (1 - cos)


def _extent(shapes: Sequence[Shape]) -> tuple[np.ndarray, float]:
    """Middle on the table (x, y), and how far the shapes' middles reach from it, metres."""
    places = np.array([shape.pos[:2] for shape in shapes])
    centre = (places.min(axis=0) + places.max(axis=0)) / 2
    return centre, float(np.linalg.norm(places - centre, axis=1).max()) + 0.03


def _free_place(
    taken: Sequence[tuple[np.ndarray, float]], radius_m: float, rng: np.random.Generator
) -> np.ndarray:
    """A place on the table clear of what is taken, or the clearest of many."""
    (x0, x1), (y0, y1) = _TABLE_M
    drawn = rng.uniform((x0, y0), (x1, y1), (_PLACES, 2))
    gaps = [np.linalg.norm(drawn - centre, axis=1) - r - radius_m for centre, r in taken]
    clear = np.min(gaps, axis=0)
    free = np.flatnonzero(clear >= (_CLEAR_M if radius_m == 0.0 else 0.0))
    return drawn[free[0] if len(free) else int(clear.argmax())]


def _object_bodies(env: Any, model: mujoco.MjModel) -> frozenset[int]:
    """All bodies of the object: what moves, what it hangs at, and what hangs at that."""
    if env.suite == "worlds":
        roots = {model.body("prop").id}
    else:
        roots = {_root(model, body) for body in env._objects}
    return frozenset(b for b in range(1, model.nbody) if _root(model, b) in roots)


def _root(model: mujoco.MjModel, body: int) -> int:
    """The body right below the world that carries ``body``."""
    while model.body_parentid[body] > 0:
        body = int(model.body_parentid[body])
    return body


def _model(env: Any) -> mujoco.MjModel:
    return env._model if env.suite == "worlds" else env._env.model


def _data(env: Any) -> mujoco.MjData:
    return env._data if env.suite == "worlds" else env._env.data


def _renderer(env: Any) -> mujoco.Renderer:
    if vars(env)["_renderer"] is None:
        env.views()  # the first picture makes it
    return vars(env)["_renderer"]._renderer
