"""More things to be pushed, by composition: what, onto or into what, in which direction.

They came after the first 39 tasks of ``worlds``, whose scenes must stay what they are for every
seed; so they stand in a table of their own. Ten things, three of four goals each, four directions.
Same conventions as ``worlds_movables``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from sole.sims.worlds_movables import _goal_mark, _goal_rack, _loose, _loose_prop, _points
from sole.sims.worlds_prop import Prop
from sole.sims.worlds_scene import Scene

Rng = np.random.Generator
DIRECTIONS = ("forward", "back", "left", "right")


def _bowl(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    """Add a bowl: rings that widen upwards; returns its radius and where it is touched."""
    radius, half = rng.uniform(0.032, 0.042), rng.uniform(0.015, 0.022)
    for k in range(3):
        scene.cylinder(body, (0, 0, half * (2 * k + 1) / 3), radius * (0.7 + 0.15 * k), half / 3,
                       "body")  # fmt: skip
    scene.cylinder(body, (0, 0, 2 * half), radius * 0.82, 0.001, "accent")
    return radius, half


def _plate(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    radius, half = rng.uniform(0.04, 0.052), rng.uniform(0.008, 0.011)
    scene.cylinder(body, (0, 0, half), radius, half, "body")
    scene.cylinder(body, (0, 0, 2 * half), radius * 0.7, 0.001, "accent")
    return radius, half


def _can(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    radius, half = rng.uniform(0.026, 0.034), rng.uniform(0.035, 0.05)
    scene.cylinder(body, (0, 0, half), radius, half, "body")
    for z in (0.003, 2 * half - 0.003):
        scene.cylinder(body, (0, 0, z), radius * 1.04, 0.003, "accent")
    return radius, half


def _bottle(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    radius, half = rng.uniform(0.025, 0.032), rng.uniform(0.035, 0.045)
    scene.cylinder(body, (0, 0, half), radius, half, "body")
    scene.cylinder(body, (0, 0, 2 * half + 0.018), radius * 0.4, 0.018, "body", solid=False)
    scene.cylinder(body, (0, 0, 2 * half + 0.04), radius * 0.45, 0.006, "accent", solid=False)
    return radius, half


def _cup(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    radius, half = rng.uniform(0.028, 0.036), rng.uniform(0.028, 0.038)
    scene.cylinder(body, (0, 0, half), radius, half, "body")
    scene.cylinder(body, (0, 0, 2 * half), radius * 0.85, 0.001, "frame")
    scene.cylinder(body, (0, 0, half), radius * 1.03, half * 0.25, "accent")
    return radius, half


def _book(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    wide, deep, half = rng.uniform(0.035, 0.045), rng.uniform(0.028, 0.036), 0.014
    scene.box(body, (0, 0, half), (wide, deep, half), "body")
    scene.box(body, (0.002, 0, half), (wide, deep * 1.01, half * 0.7), "accent")
    return max(wide, deep), half


def _carton(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    wide, half = rng.uniform(0.026, 0.036), rng.uniform(0.035, 0.05)
    scene.box(body, (0, 0, half), (wide, wide, half), "body")
    scene.box(body, (0, 0, half * 1.2), (wide * 1.02, wide * 1.02, half * 0.3), "accent")
    return wide, half


def _car(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    long, wide = rng.uniform(0.036, 0.044), rng.uniform(0.024, 0.03)
    scene.box(body, (0, 0, 0.02), (wide, long, 0.012), "body")
    scene.box(body, (0, -0.004, 0.04), (wide * 0.8, long * 0.5, 0.009), "accent")
    for x in (-wide, wide):
        for y in (-0.6 * long, 0.6 * long):
            scene.cylinder(body, (x, y, 0.012), 0.011, 0.005, "frame", axis="x")
    return long, 0.02


def _ring(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    """Add a ring of short rods lying flat."""
    radius, thick = rng.uniform(0.032, 0.042), rng.uniform(0.009, 0.012)
    n_rods = 10
    for k in range(n_rods):
        angle = 2 * math.pi * k / n_rods
        at = (radius * math.cos(angle), radius * math.sin(angle), thick)
        half = (thick, radius * math.sin(math.pi / n_rods) * 1.15, thick)
        scene.box(body, at, half, "body", tilt=((0, 0, 1), angle))
    return radius + thick, thick


def _cone(scene: Scene, rng: Rng, body) -> tuple[float, float]:
    """Add a traffic cone: a square foot and discs that narrow upwards."""
    wide, tall = rng.uniform(0.032, 0.04), rng.uniform(0.07, 0.09)
    scene.box(body, (0, 0, 0.006), (wide, wide, 0.006), "accent")
    for k in range(4):
        scene.cylinder(body, (0, 0, 0.012 + tall * (k + 0.5) / 4), wide * (0.85 - 0.18 * k),
                       tall / 8, "body")  # fmt: skip
    return wide, 0.02


def _to_mark(scene: Scene, rng: Rng, towards, radius: float) -> str:
    _goal_mark(scene, rng)
    return "goal mark"


def _to_bin(scene: Scene, rng: Rng, towards, radius: float) -> str:
    """Three walls and a floor, open to where the thing comes from."""
    _goal_rack(scene, rng, towards, radius + rng.uniform(0.025, 0.045), rng.uniform(0.05, 0.09))
    return "bin"


def _to_shelf(scene: Scene, rng: Rng, towards, radius: float) -> str:
    """A board on two posts; the thing ends underneath."""
    goal = scene.free_standing("goal")
    wide, tall = radius + rng.uniform(0.03, 0.05), rng.uniform(0.15, 0.19)
    across = np.array([-towards[1], towards[0]])
    for side in (-1.0, 1.0):
        x, y = side * wide * across + 0.03 * np.array(towards)
        scene.box(goal, (x, y, tall / 2), (0.01, 0.01, tall / 2), "goal", solid=False)
    scene.box(goal, (0.03 * towards[0], 0.03 * towards[1], tall), (wide, wide, 0.006), "goal",
              solid=False)  # fmt: skip
    return "shelf"


def _to_peg(scene: Scene, rng: Rng, towards, radius: float) -> str:
    """An upright peg on a foot, beyond the place where the thing has to stand."""
    goal = scene.free_standing("goal")
    x, y = (radius + 0.03) * np.array(towards)
    scene.cylinder(goal, (x, y, 0.005), 0.03, 0.005, "goal", solid=False)
    scene.cylinder(goal, (x, y, 0.06), 0.011, 0.06, "goal", solid=False)
    return "peg"


_Shape = Callable[[Scene, Rng, object], tuple[float, float]]
#: Thing -> its shape and the goals that it is pushed to.
THINGS: dict[str, tuple[_Shape, tuple[str, ...]]] = {
    "bowl": (_bowl, ("mark", "shelf", "bin")),
    "plate": (_plate, ("mark", "shelf", "bin")),
    "can": (_can, ("mark", "bin", "peg")),
    "bottle": (_bottle, ("mark", "shelf", "bin")),
    "cup": (_cup, ("mark", "shelf", "peg")),
    "book": (_book, ("mark", "shelf", "bin")),
    "carton": (_carton, ("mark", "bin", "peg")),
    "car": (_car, ("mark", "shelf", "peg")),
    "ring": (_ring, ("mark", "bin", "peg")),
    "cone": (_cone, ("mark", "peg", "bin")),
}
_GOALS: dict[str, Callable[..., str]] = {
    "mark": _to_mark, "bin": _to_bin, "shelf": _to_shelf, "peg": _to_peg,
}  # fmt: skip


def thing(scene: Scene, rng: Rng, *, name: str, goal: str, direction: str) -> Prop:
    """Build one thing of :data:`THINGS` and the goal that it is to be pushed to."""
    body, towards = _loose(scene, rng, direction)
    radius, height = THINGS[name][0](scene, rng, body)
    _points(scene, body, min(height, 0.03))
    goal_name = _GOALS[goal](scene, rng, towards, radius)
    return _loose_prop(name, goal_name, towards, radius)


MORE_BUILDERS: dict[str, Callable[[Scene, Rng], Prop]] = {
    f"{name}-to-{goal}-{direction}": partial(thing, name=name, goal=goal, direction=direction)
    for name, (_, goals) in THINGS.items()
    for goal in goals
    for direction in DIRECTIONS
}
