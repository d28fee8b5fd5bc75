"""Buttons, switches and loose things on the table, from primitive shapes.

Loose things slide on two damped joints (they neither tip nor run away), towards a goal that is
drawn as an object: a net, a mark, a rack. Same conventions as ``worlds_families``.
"""

from __future__ import annotations

import math

import numpy as np

from sole.sims.worlds_prop import AHEAD, DOWN, Prop
from sole.sims.worlds_scene import Scene

Rng = np.random.Generator
PUSH_LIMIT_M = 0.45
_DIRECTIONS = {"forward": (0.0, 1.0), "back": (0.0, -1.0), "left": (-1.0, 0.0), "right": (1.0, 0.0)}


def button(scene: Scene, rng: Rng, *, style: str) -> Prop:
    """Build a box with a button: ``front`` (pressed away from us), ``top`` or ``machine``."""
    wide, deep = rng.uniform(0.05, 0.09), rng.uniform(0.04, 0.07)
    tall = {"front": rng.uniform(0.06, 0.09), "top": rng.uniform(0.04, 0.07)}.get(
        style, rng.uniform(0.12, 0.15)
    )
    base = scene.body("housing")
    scene.box(base, (0, deep, tall), (wide, deep, tall), "frame")
    radius, travel = rng.uniform(0.022, 0.035), rng.uniform(0.035, 0.05)
    if style == "top":
        body = scene.body("button", pos=(0, deep, 2 * tall))
        scene.cylinder(body, (0, 0, 0.015), radius, 0.04, "body")
        scene.cylinder(base, (0, deep, 2 * tall + 0.004), radius * 1.4, 0.006, "accent")
        tip, axis = (0.0, 0.0, 0.055), DOWN
    else:
        # Near the top: the hand's rail, 9 cm above the fingertips, must clear the housing.
        z = 2 * tall - rng.uniform(0.05, 0.075)
        body = scene.body("button", pos=(0, 0, z))
        scene.cylinder(body, (0, -0.015, 0), radius, 0.04, "body", axis="y")
        scene.cylinder(base, (0, -0.004, z), radius * 1.4, 0.006, "accent", axis="y")
        tip, axis = (0.0, -0.055, 0.0), AHEAD
    if style == "machine":
        scene.box(base, (0, -0.03, 0.008), (wide, 0.05, 0.008), "frame")
        scene.cylinder(base, (0, -0.03, 0.045), 0.025, 0.028, "accent", solid=False)
    scene.point(body, "handle", tip)
    scene.point(body, "hook", tip if style == "top" else (0.0, tip[1], -0.02))
    scene.slide(body, axis, (0.0, travel))
    return Prop(
        "button", "pressed position", "machine" if style == "machine" else "button",
        start=0.0, goal=travel, radius_m=0.004, approach=axis, y_m=(0.72, 0.82), yaw=(-0.15, 0.15),
        lowest_m=0.02,
    )  # fmt: skip


def switch(scene: Scene, rng: Rng, *, left: bool) -> Prop:
    """Build an upright panel with a bar that turns in its plane, like a bolt or a switch."""
    wide, tall = rng.uniform(0.08, 0.12), rng.uniform(0.1, 0.14)
    base = scene.body("panel")
    scene.box(base, (0, 0.015, tall), (wide, 0.015, tall), "frame")
    z = tall * rng.uniform(0.8, 1.0)
    body = scene.body("bolt", pos=(0, -0.03, z))
    scene.cylinder(body, (0, 0.012, 0), 0.025, 0.02, "accent", axis="y")
    long, thick = rng.uniform(0.07, 0.095), rng.uniform(0.009, 0.013)
    scene.box(body, (0, -0.02, long / 2), (thick, 0.012, long / 2), "body")
    scene.cylinder(body, (0, -0.04, long * 0.85), thick, 0.03, "body", axis="y")
    scene.point(body, "handle", (0, -0.05, long * 0.85))
    scene.point(body, "hook", (0, -0.05, long * 0.85))
    sign = -1.0 if left else 1.0
    start = -sign * rng.uniform(0.0, 0.4)
    # About +y a bar that points up falls to +x, the robot's right.
    scene.hinge(body, (0, 1, 0), (-1.7, 1.7))
    return Prop(
        "switch", "left position" if left else "right position", "switch",
        start=start, goal=start + sign * rng.uniform(1.0, 1.3), radius_m=thick,
        y_m=(0.72, 0.84), yaw=(-0.1, 0.1),
    )  # fmt: skip


def _loose(scene: Scene, rng: Rng, direction: str) -> tuple:
    """Add the sliding body and return it with its direction."""
    body = scene.body("loose")
    scene.slide(body, (1, 0, 0), (-PUSH_LIMIT_M, PUSH_LIMIT_M), "motion_x")
    scene.slide(body, (0, 1, 0), (-PUSH_LIMIT_M, PUSH_LIMIT_M), "motion_y")
    angle = rng.uniform(-0.25, 0.25)
    x, y = _DIRECTIONS[direction]
    turned = (x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle))
    return body, turned


def _loose_prop(name: str, goal: str, direction, radius: float) -> Prop:
    x, y = direction
    return Prop(
        name, goal, name, planar=True, push_direction=direction, radius_m=radius,
        x_m=(-0.12 - 0.08 * x, 0.12 - 0.08 * x), y_m=(0.68 - 0.08 * y, 0.72 - 0.06 * y),
        yaw=(0.0, 0.0),
    )  # fmt: skip


def puck(scene: Scene, rng: Rng, *, direction: str) -> Prop:
    """Build a flat disc and, at its goal, a rack: three low walls that are open to the puck."""
    body, turned = _loose(scene, rng, direction)
    radius, half = rng.uniform(0.03, 0.05), rng.uniform(0.01, 0.018)
    scene.cylinder(body, (0, 0, half), radius, half, "body")
    scene.cylinder(body, (0, 0, 2 * half), radius * 0.6, 0.002, "accent")
    _goal_rack(scene, rng, turned, radius + 0.03, rng.uniform(0.03, 0.06))
    _points(scene, body, half)
    return _loose_prop("puck", "goal rack", turned, radius)


def ball(scene: Scene, rng: Rng, *, direction: str) -> Prop:
    """Build a ball and a net of thin bars."""
    body, turned = _loose(scene, rng, direction)
    radius = rng.uniform(0.025, 0.04)
    scene.sphere(body, (0, 0, radius), radius, "body")
    _goal_rack(scene, rng, turned, radius + 0.05, rng.uniform(0.08, 0.12), bars=True)
    _points(scene, body, radius)
    return _loose_prop("ball", "goal net", turned, radius)


def block(scene: Scene, rng: Rng, *, direction: str) -> Prop:
    """Build a block and a flat mark on the table."""
    body, turned = _loose(scene, rng, direction)
    half = rng.uniform(0.022, 0.038, 3)
    scene.box(body, (0, 0, half[2]), tuple(half), "body")
    _goal_mark(scene, rng)
    _points(scene, body, min(half[2], 0.03))
    return _loose_prop("block", "goal mark", turned, float(half[:2].max()))


def mug(scene: Scene, rng: Rng, *, direction: str) -> Prop:
    """Build a mug (a cylinder with a ring-like ear) and a mark, with a tall machine behind."""
    body, turned = _loose(scene, rng, direction)
    radius, half = rng.uniform(0.028, 0.038), rng.uniform(0.035, 0.05)
    scene.cylinder(body, (0, 0, half), radius, half, "body")
    scene.cylinder(body, (0, 0, 2 * half), radius * 0.8, 0.001, "frame")
    scene.box(body, (radius + 0.014, 0, half * 1.4), (0.016, 0.005, 0.005), "body", solid=False)
    scene.box(body, (radius + 0.014, 0, half * 0.6), (0.016, 0.005, 0.005), "body", solid=False)
    scene.box(body, (radius + 0.028, 0, half), (0.005, 0.005, half * 0.5), "body", solid=False)
    _points(scene, body, half)
    goal = _goal_mark(scene, rng)
    machine = goal if direction == "forward" else scene.root
    back = 0.11 if direction == "forward" else 0.2
    tall = rng.uniform(0.12, 0.16)
    scene.box(machine, (0, back + 0.03, tall), (rng.uniform(0.06, 0.09), 0.05, tall), "frame",
              solid=False)  # fmt: skip
    scene.box(machine, (0, back - 0.04, 2 * tall - 0.02), (0.05, 0.05, 0.02), "frame", solid=False)
    return _loose_prop("mug", "goal mark", turned, radius)


def _points(scene: Scene, body, height: float) -> None:
    scene.point(body, "handle", (0, 0, height))
    scene.point(body, "hook", (0, 0, min(height, 0.03)))


def _goal_mark(scene: Scene, rng: Rng):
    goal = scene.free_standing("goal")
    size = rng.uniform(0.04, 0.055)
    if rng.random() < 0.5:
        scene.cylinder(goal, (0, 0, 0.001), size, 0.001, "goal", solid=False)
    else:
        scene.box(goal, (0, 0, 0.001), (size, size, 0.001), "goal", solid=False)
    return goal


def _goal_rack(scene: Scene, rng: Rng, direction, wide: float, tall: float, bars=False) -> None:
    goal = scene.free_standing("goal")
    angle = math.atan2(direction[1], direction[0]) - math.pi / 2
    turned = goal.add_body(name=f"{goal.name}_rack")
    turned.quat = [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]
    thin = 0.007
    if not bars:
        scene.box(turned, (0, 0, 0.001), (wide, wide, 0.001), "goal", solid=False)
    for part in ((0, wide), (wide, 0), (-wide, 0)):
        half = (wide, thin) if part[0] == 0 else (thin, wide)
        if not bars:
            scene.box(turned, (*part, tall / 2), (*half, tall / 2), "goal", solid=False)
            continue
        scene.box(turned, (*part, tall), (*half, thin), "goal", solid=False)
        for step in (-0.9, -0.45, 0.0, 0.45, 0.9):
            at = (part[0] + step * (half[0] - thin), part[1] + step * (half[1] - thin), tall / 2)
            scene.box(turned, at, (thin * 0.6, thin * 0.6, tall / 2), "goal", solid=False)
