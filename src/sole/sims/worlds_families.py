"""Articulated objects from primitive shapes: cabinets, doors, windows, taps, levers, lids.

Every builder draws its own sizes, adds its parts to the scene (front towards -y, standing on the
table at z = 0) and returns a :class:`Prop`. The moving body carries the sites ``handle`` (what the
robot touches) and ``hook`` (where fingertips go, before the finger's own width is added).
"""

from __future__ import annotations

import math

import numpy as np

from sole.sims.worlds_prop import Prop
from sole.sims.worlds_scene import Scene

Rng = np.random.Generator


def bar_handle(scene: Scene, rng: Rng, body, centre, size: tuple[float, float, float]) -> None:
    """Add a bar along x, on one or two posts, clear of the panel behind it (+y).

    ``size`` is (half length, gap to the panel, half thickness) in metres.
    """
    (x, y, z), (half_x, gap, thick) = centre, size
    if rng.random() < 0.5:
        scene.box(body, centre, (half_x, thick, thick), "accent")
    else:
        scene.cylinder(body, centre, thick, half_x, "accent", axis="x")
    sides = (-1.0, 1.0) if rng.random() < 0.7 else (float(rng.choice([-1.0, 1.0])),)
    for side in sides:
        post = (x + side * (half_x - thick), y + thick + gap / 2, z)
        scene.box(body, post, (thick, gap / 2, thick), "accent")


def drawer(scene: Scene, rng: Rng, *, opening: bool) -> Prop:
    """Build a cabinet with one drawer; ``opening`` starts shut, else pulled out."""
    wide, deep, tall = rng.uniform(0.1, 0.15), rng.uniform(0.08, 0.11), rng.uniform(0.07, 0.1)
    wall, travel = 0.008, rng.uniform(0.13, 0.18)
    # Some cabinets stand on a second, fixed drawer that only looks the same.
    raised = rng.uniform(0.04, 0.06) if rng.random() < 0.4 else 0.0
    base = scene.body("cabinet", pos=(0, 0, 2 * raised))
    if raised:
        scene.box(base, (0, 0, -raised), (wide + wall, deep, raised), "frame")
        scene.box(base, (0, -deep, -raised), (wide - wall, wall, raised - wall), "body")
        scene.box(base, (0, -deep - 0.02, -raised), (0.04, 0.012, 0.008), "frame")
    for side in (-1.0, 1.0):
        scene.box(base, (side * wide, 0, tall), (wall, deep, tall), "frame")
        scene.box(base, (0, 0, tall + side * (tall - wall)), (wide, deep, wall), "frame")
    scene.box(base, (0, deep, tall), (wide, wall, tall), "frame")
    body = scene.body("drawer", pos=(0, -deep, tall + 2 * raised))
    inner_x, inner_z = wide - 2 * wall, tall - 2.5 * wall
    scene.box(body, (0, 0, 0), (inner_x, wall, inner_z), "body")
    scene.box(body, (0, deep * 0.9, -inner_z + wall), (inner_x, deep * 0.9, wall / 2), "body")
    for side in (-1.0, 1.0):
        scene.box(body, (side * inner_x, deep * 0.9, -inner_z / 3),
                  (wall / 2, deep * 0.9, inner_z * 0.6), "body")  # fmt: skip
    gap, thick = rng.uniform(0.03, 0.04), rng.uniform(0.007, 0.011)
    y = -wall - gap - thick
    bar_handle(scene, rng, body, (0, y, 0.01), (rng.uniform(0.04, 0.07), gap, thick))
    scene.point(body, "handle", (0, y, 0.01))
    scene.point(body, "hook", (0, y + (thick + gap / 2 if opening else 0.0), -0.01))
    scene.slide(body, (0, -1, 0), (0.0, travel))
    ends = (0.0, travel) if opening else (travel, 0.0)
    return Prop(
        "drawer handle", "open position" if opening else "closed position", "drawer",
        start=ends[0], goal=ends[1], radius_m=thick, way="hook" if opening else "push",
        y_m=(0.78, 0.86),
    )  # fmt: skip


def door(scene: Scene, rng: Rng, *, opening: bool) -> Prop:
    """Build a cupboard with a door on a vertical hinge, left or right."""
    width, tall, thick = rng.uniform(0.17, 0.23), rng.uniform(0.08, 0.13), 0.008
    deep, side = rng.uniform(0.05, 0.09), float(rng.choice([-1.0, 1.0]))
    base = scene.body("cupboard", pos=(0, deep + 2 * thick, 0))
    scene.box(base, (0, deep, tall), (width / 2, thick, tall), "frame")
    for edge in (-1.0, 1.0):
        scene.box(base, (edge * width / 2, 0, tall), (thick, deep, tall), "frame")
        scene.box(base, (0, 0, tall + edge * (tall - thick)), (width / 2, deep, thick), "frame")
    body = scene.body("door", pos=(side * width / 2, 0, tall))
    scene.box(body, (-side * width / 2, 0, 0), (width / 2, thick, tall * 0.97), "body")
    gap, bar = rng.uniform(0.035, 0.042), rng.uniform(0.007, 0.01)
    x, y, z = -side * (width - 0.06), -thick - gap - bar, rng.uniform(0.0, 0.3) * tall
    bar_handle(scene, rng, body, (x, y, z), (rng.uniform(0.032, 0.042), gap, bar))
    scene.point(body, "handle", (x, y, z))
    if opening:
        scene.point(body, "hook", (x, y + bar + gap / 2, z - 0.02))
    else:
        scene.point(body, "hook", (x, y, z - 0.02))
    angle = rng.uniform(0.9, 1.25)
    # The free end turns towards the robot (-y): counter-clockwise when the hinge is on the left.
    scene.hinge(body, (0, 0, side), (0.0, angle))
    ends = (0.0, angle) if opening else (angle, 0.0)
    return Prop(
        "door handle", "open position" if opening else "closed position", "door",
        start=ends[0], goal=ends[1], radius_m=bar, way="hook" if opening else "push",
        y_m=(0.74, 0.82) if opening else (0.78, 0.86), yaw=(-0.15, 0.15),
        x_m=(-0.15, 0.15) if opening else (-0.12 * side - 0.06, -0.12 * side + 0.06),
        clear_m=0.12 if opening else tall + 0.07,
    )  # fmt: skip


def window(scene: Scene, rng: Rng, *, opening: bool) -> Prop:
    """Build a frame with one fixed and one sliding pane; a handle sticks out of the latter."""
    wide, tall, bar = rng.uniform(0.16, 0.2), rng.uniform(0.09, 0.13), 0.01
    side = float(rng.choice([-1.0, 1.0]))
    base = scene.body("frame")
    for edge in (-1.0, 1.0):
        scene.box(base, (edge * wide, 0, tall), (bar, 0.02, tall), "frame")
        scene.box(base, (0, 0, tall + edge * (tall - bar)), (wide, 0.02, bar), "frame")
    scene.box(base, (side * wide / 2, 0.01, tall), (wide / 2, 0.004, tall), "glass")
    body = scene.body("pane", pos=(-side * wide / 2, -0.01, tall))
    for edge in (-1.0, 1.0):
        scene.box(body, (edge * (wide / 2 - bar), 0, 0), (bar, 0.006, tall - 2 * bar), "body")
        scene.box(body, (0, 0, edge * (tall - 3 * bar)), (wide / 2, 0.006, bar), "body")
    scene.box(body, (0, 0, 0), (wide / 2, 0.003, tall - 2 * bar), "glass")
    reach, radius = rng.uniform(0.05, 0.075), rng.uniform(0.009, 0.014)
    x, z = rng.uniform(-0.3, 0.3) * wide / 2, rng.uniform(-0.1, 0.3) * tall
    scene.cylinder(body, (x, -reach / 2, z), radius * 0.7, reach / 2, "accent", axis="y")
    scene.cylinder(body, (x, -reach, z), radius, 0.03, "accent")
    scene.point(body, "handle", (x, -reach, z))
    scene.point(body, "hook", (x, -reach, z - 0.02))
    travel = rng.uniform(0.13, 0.9 * wide)
    scene.slide(body, (side, 0, 0), (0.0, travel))
    ends = (0.0, travel) if opening else (travel, 0.0)
    return Prop(
        "window handle", "open position" if opening else "closed position", "window",
        start=ends[0], goal=ends[1], radius_m=radius, x_m=(-0.1, 0.1), y_m=(0.74, 0.84),
        yaw=(-0.1, 0.1),
    )  # fmt: skip


def faucet(scene: Scene, rng: Rng, *, left: bool) -> Prop:
    """Build a tap: a post with a spout, and a stick on top that turns about the vertical."""
    tall, long = rng.uniform(0.05, 0.1), rng.uniform(0.1, 0.14)
    base = scene.body("tap")
    scene.cylinder(base, (0, 0, 0.01), rng.uniform(0.04, 0.055), 0.01, "frame")
    scene.cylinder(base, (0, 0, tall / 2), rng.uniform(0.015, 0.025), tall / 2, "frame")
    if rng.random() < 0.7:
        scene.box(base, (0, 0.05, tall * 0.7), (0.012, 0.05, 0.012), "frame")
    body = scene.body("stick", pos=(0, 0, tall))
    thick = rng.uniform(0.009, 0.014)
    scene.cylinder(body, (0, 0, 0.005), 0.03, 0.018, "accent")
    scene.box(body, (0, -long / 2, 0.01), (thick, long / 2, thick), "body")
    if rng.random() < 0.5:
        scene.sphere(body, (0, -long, 0.01), thick * 1.5, "body")
    scene.point(body, "handle", (0, -long * 0.85, 0.01))
    scene.point(body, "hook", (0, -long * 0.85, -0.012))
    # Seen from the robot, left is -x: the stick's end goes there when it turns clockwise.
    turn, start = rng.uniform(1.1, 1.6), rng.uniform(-0.3, 0.3)
    sign = -1.0 if left else 1.0
    scene.hinge(body, (0, 0, 1), (start - 0.6 * sign, start + sign * (turn + 0.1)))
    return Prop(
        "faucet handle", "left position" if left else "right position", "faucet",
        start=start, goal=start + sign * turn, radius_m=thick, y_m=(0.66, 0.82),
    )  # fmt: skip


def dial(scene: Scene, rng: Rng, *, left: bool) -> Prop:
    """Build a round knob that lies flat, with an upright peg near its rim."""
    radius, half = rng.uniform(0.06, 0.085), rng.uniform(0.012, 0.03)
    base = scene.body("plate")
    scene.box(base, (0, 0, 0.008), (radius * 1.25, radius * 1.25, 0.008), "frame")
    body = scene.body("knob", pos=(0, 0, 0.016 + half))
    scene.cylinder(body, (0, 0, 0), radius, half, "body")
    peg = rng.uniform(0.01, 0.014)
    at = radius * 0.8
    scene.cylinder(body, (0, -at, half + 0.025), peg, 0.025, "accent")
    scene.box(body, (0, -at / 2, half + 0.004), (0.006, at / 2, 0.004), "accent")
    scene.point(body, "handle", (0, -at, half + 0.03))
    scene.point(body, "hook", (0, -at, half + 0.014))
    turn, start = rng.uniform(1.2, 1.8), rng.uniform(-0.4, 0.4)
    sign = -1.0 if left else 1.0
    scene.hinge(body, (0, 0, 1), (start - 0.6 * sign, start + sign * (turn + 0.1)))
    return Prop(
        "knob peg", "left position" if left else "right position", "knob",
        start=start, goal=start + sign * turn, radius_m=peg, y_m=(0.62, 0.82),
        lowest_m=0.03,
    )  # fmt: skip


def lid(scene: Scene, rng: Rng, *, opening: bool) -> Prop:
    """Build a box with a lid on a hinge at the back; it opens by its knob, shuts with a push."""
    wide, deep, tall = rng.uniform(0.09, 0.13), rng.uniform(0.08, 0.11), rng.uniform(0.03, 0.06)
    base = scene.body("chest")
    for side in (-1.0, 1.0):
        scene.box(base, (side * wide, 0, tall), (0.006, deep, tall), "frame")
        scene.box(base, (0, side * deep, tall), (wide, 0.006, tall), "frame")
    scene.box(base, (0, 0, 0.005), (wide, deep, 0.005), "frame")
    body = scene.body("lid", pos=(0, deep, 2 * tall + 0.006))
    scene.box(body, (0, -deep, 0), (wide, deep, 0.006), "body")
    at, radius = -2 * deep + 0.02, rng.uniform(0.014, 0.018)
    scene.cylinder(body, (0, at, 0.02), 0.006, 0.015, "accent")
    scene.sphere(body, (0, at, 0.03 + radius * 0.6), radius, "accent")
    scene.hinge(body, (-1, 0, 0), (0.0, 1.5))
    if opening:
        for name in ("handle", "hook"):
            scene.point(body, name, (0, at, 0.03 + radius * 0.6))
        return Prop(
            "lid knob", "open position", "box", start=0.0, goal=rng.uniform(0.7, 1.0),
            radius_m=radius, way="grasp", y_m=(0.68, 0.78), yaw=(-0.1, 0.1),
        )  # fmt: skip
    scene.point(body, "handle", (0, -1.8 * deep, 0.008))
    scene.point(body, "hook", (0, -1.6 * deep, 0.004))
    start = rng.uniform(0.8, 1.2)
    return Prop(
        "lid", "closed position", "box", start=start, goal=0.03, radius_m=0.012, y_m=(0.68, 0.78)
    )


def gate(scene: Scene, rng: Rng) -> Prop:
    """Build a free-standing gate between two posts that is pushed open, away from the robot."""
    width, tall, thick = rng.uniform(0.17, 0.23), rng.uniform(0.08, 0.12), 0.008
    side = float(rng.choice([-1.0, 1.0]))
    base = scene.body("posts")
    for edge in (-1.0, 1.0):
        scene.box(base, (edge * (width / 2 + 0.015), 0, tall), (0.012, 0.012, tall), "frame")
    body = scene.body("gate", pos=(side * width / 2, 0, tall))
    if rng.random() < 0.5:
        scene.box(body, (-side * width / 2, 0, 0), (width / 2, thick, tall * 0.9), "body")
    else:
        for level in (-0.7, 0.0, 0.7):
            scene.box(body, (-side * width / 2, 0, level * tall), (width / 2, thick, 0.015), "body")
        scene.box(body, (-side * width / 2, 0, 0), (0.012, thick, tall * 0.8), "body")
        scene.box(body, (-side * (width - 0.02), 0, 0), (0.012, thick, tall * 0.8), "body")
    x = -side * (width - 0.04)
    scene.sphere(body, (x, -thick - 0.008, 0), 0.012, "accent")
    for name in ("handle", "hook"):
        scene.point(body, name, (x, -thick - 0.008, 0.0))
    scene.hinge(body, (0, 0, -side), (0.0, 1.4))
    return Prop(
        "gate", "open position", "gate", start=0.0, goal=rng.uniform(0.8, 1.1), radius_m=0.012,
        y_m=(0.7, 0.78), yaw=(-0.15, 0.15),
    )  # fmt: skip


def slider(scene: Scene, rng: Rng, *, left: bool) -> Prop:
    """Build a console with a peg that slides along a slot, to the left or the right."""
    wide, deep, tall = rng.uniform(0.13, 0.17), rng.uniform(0.04, 0.06), rng.uniform(0.01, 0.05)
    base = scene.body("console")
    scene.box(base, (0, 0, tall), (wide, deep, tall), "frame")
    scene.box(base, (0, 0, 2 * tall + 0.001), (wide * 0.9, 0.008, 0.001), "goal", solid=False)
    sign, travel = (-1.0 if left else 1.0), rng.uniform(0.12, 0.16)
    body = scene.body("peg", pos=(-sign * travel / 2, 0, 2 * tall))
    radius = rng.uniform(0.012, 0.018)
    scene.box(body, (0, 0, 0.012), (0.022, 0.025, 0.01), "accent")
    scene.cylinder(body, (0, 0, 0.045), radius, 0.03, "body")
    for name in ("handle", "hook"):
        scene.point(body, name, (0, 0, 0.055))
    scene.slide(body, (sign, 0, 0), (-0.03, travel + 0.02))
    return Prop(
        "slider peg", "left end" if left else "right end", "slider", start=0.0, goal=travel,
        radius_m=radius, y_m=(0.64, 0.84), yaw=(-0.15, 0.15), lowest_m=0.03,
    )  # fmt: skip


def lever(scene: Scene, rng: Rng, *, pull: bool) -> Prop:
    """Build a post with an L-shaped lever that points at the robot and swings up or down."""
    tall, long = rng.uniform(0.09, 0.13), rng.uniform(0.12, 0.16)
    thick, side = rng.uniform(0.012, 0.015), float(rng.choice([-1.0, 1.0]))
    base = scene.body("post")
    scene.box(base, (0, 0.02, 0.01), (0.06, 0.07, 0.01), "frame")
    scene.box(base, (side * 0.035, 0.01, tall / 2 + 0.02), (0.012, 0.03, tall / 2 + 0.02), "frame")
    body = scene.body("arm", pos=(side * 0.01, 0, tall))
    scene.cylinder(body, (0, 0, 0), 0.02, 0.02, "accent", axis="x")
    scene.box(body, (0, -long / 2, 0), (0.01, long / 2, 0.01), "accent")
    scene.cylinder(body, (-side * 0.04, -long, 0), thick, 0.05, "body", axis="x")
    scene.point(body, "handle", (-side * 0.05, -long, 0))
    scene.point(body, "hook", (-side * 0.05, -long, 0))
    ends = (0.0, rng.uniform(0.9, 1.2)) if pull else (rng.uniform(0.6, 0.8), -0.15)
    scene.hinge(body, (-1, 0, 0), (-0.25, 1.4))
    return Prop(
        "lever", "raised position" if pull else "lowered position", "lever",
        start=ends[0], goal=ends[1], radius_m=thick, way="grasp" if pull else "push",
        y_m=(0.7, 0.84), yaw=(-0.1, 0.1),
    )  # fmt: skip


def handle(scene: Scene, rng: Rng, *, pull: bool, sideways: bool) -> Prop:
    """Build a box with a hinged bar at its front (or, ``sideways``, its side)."""
    wide, deep, tall = rng.uniform(0.06, 0.09), rng.uniform(0.06, 0.09), rng.uniform(0.06, 0.09)
    base = scene.body("machine", pos=(0, deep, 0))
    scene.box(base, (0, 0, tall), (wide, deep, tall), "frame")
    scene.box(base, (0, 0, 2 * tall + 0.004), (wide * 0.8, deep * 0.8, 0.004), "accent")
    low = rng.uniform(0.07, 0.09) if pull else rng.uniform(0.09, 0.12)
    body = scene.body("arms", pos=(0, -0.004, low))
    long, thick = rng.uniform(0.09, 0.12), rng.uniform(0.013, 0.016)
    half = 0.035 if sideways else rng.uniform(0.05, 0.07)
    if sideways:
        scene.box(body, (0, -long / 2, 0), (0.01, long / 2, 0.008), "accent")
        scene.sphere(body, (0, -long - 0.01, 0), thick * 1.15, "body")
    else:
        for side in (-1.0, 1.0):
            scene.box(body, (side * half, -long / 2, 0), (0.008, long / 2, 0.008), "accent")
        scene.cylinder(body, (0, -long, 0), thick, half, "body", axis="x")
    tip = long + 0.01 if sideways else long
    scene.point(body, "handle", (0, -tip, 0))
    scene.point(body, "hook", (0, -tip, 0))
    ends = (-0.2, rng.uniform(0.45, 0.65)) if pull else (rng.uniform(0.35, 0.55), -0.35)
    scene.hinge(body, (-1, 0, 0), (-0.45, 0.8))
    turned = float(rng.choice([-1.0, 1.0])) * math.pi / 2 if sideways else 0.0
    return Prop(
        "handle", "raised position" if pull else "lowered position", "handle",
        start=ends[0], goal=ends[1], radius_m=thick, way="grasp" if pull else "push",
        y_m=(0.7, 0.8), yaw=(turned - 0.12, turned + 0.12),
    )  # fmt: skip
