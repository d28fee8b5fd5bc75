"""Five more robot arms for the procedural scenes, of other build than Meta-World's Sawyer.

They are drawn, not simulated: the Sawyer goes on moving the hand (so that truth, contacts and
experts stay as they are) while its links are hidden and another machine is drawn from its base to
the wrist. Joints follow from the wrist in closed form. What touches objects, the hand and its
fingers, is the same in all of them.
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sole.errors import ConfigError
from sole.sims.opengl import mujoco

#: The arm that is simulated, with its meshes; what every scene had before there were others.
SAWYER = "sawyer"
_HIDDEN_GROUP = 5
_FIRST_LINK, _HAND = "base", "right_hand"
_IDENTITY = np.eye(3).ravel()
Rgb = tuple[float, float, float]
_METAL: Rgb = (0.62, 0.64, 0.67)
_DARK: Rgb = (0.16, 0.17, 0.19)


class Pen:
    """Draws shapes into one picture, on top of what the simulator shows."""

    def __init__(self, scene: mujoco.MjvScene):
        self._scene = scene

    def tube(self, start: np.ndarray, end: np.ndarray, radius_m: float, rgb: Rgb) -> None:
        """Draw a capsule between two points."""
        geom = self._next(mujoco.mjtGeom.mjGEOM_CAPSULE, np.full(3, radius_m), start, rgb)
        mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, radius_m, start, end)

    def ball(self, at: np.ndarray, radius_m: float, rgb: Rgb) -> None:
        """Draw a sphere."""
        self._next(mujoco.mjtGeom.mjGEOM_SPHERE, np.full(3, radius_m), at, rgb)

    def box(self, at: np.ndarray, half_m: tuple[float, float, float], rgb: Rgb) -> None:
        """Draw a box along the world's axes."""
        self._next(mujoco.mjtGeom.mjGEOM_BOX, np.array(half_m), at, rgb)

    def _next(self, shape, size: np.ndarray, at: np.ndarray, rgb: Rgb):
        geom = self._scene.geoms[self._scene.ngeom]
        mujoco.mjv_initGeom(
            geom, shape, size, np.asarray(at, float), _IDENTITY, np.array([*rgb, 1.0], np.float32)
        )
        self._scene.ngeom += 1
        return geom


def elbow_between(
    start: np.ndarray, end: np.ndarray, link_m: float, swivel_rad: float = 0.0
) -> np.ndarray:
    """Where the elbow of two equal links is; it points up, turned by ``swivel_rad`` about the line.

    Links that are too short for the way are drawn stretched.

    Example:
        >>> elbow_between(np.zeros(3), np.array([0.6, 0.0, 0.0]), 0.5).round(2).tolist()
        [0.3, 0.0, 0.4]
    """
    way = end - start
    half_m = float(np.linalg.norm(way)) / 2
    along = way / max(2 * half_m, 1e-6)
    up = np.array([0.0, 0.0, 1.0]) - along[2] * along
    up /= max(float(np.linalg.norm(up)), 1e-6)
    aside = np.cross(along, up)
    rise_m = np.sqrt(max(link_m**2 - half_m**2, 0.0))
    return (start + end) / 2 + rise_m * (np.cos(swivel_rad) * up + np.sin(swivel_rad) * aside)


def _above(point: np.ndarray, rise_m: float) -> np.ndarray:
    return point + np.array([0.0, 0.0, rise_m])


def _industrial(pen: Pen, wrist: np.ndarray, rgb: Rgb) -> None:
    """Six-axis machine: a turret, two thick links in a vertical plane, a straight wrist."""
    shoulder, top = np.array([0.0, 0.0, 0.42]), _above(wrist, 0.16)
    elbow = elbow_between(shoulder, top, 0.62)
    pen.tube(np.zeros(3), shoulder, 0.11, _DARK)
    for joint in (shoulder, elbow):
        pen.ball(joint, 0.09, _DARK)
    pen.tube(shoulder, elbow, 0.065, rgb)
    pen.tube(elbow, top, 0.05, rgb)
    pen.ball(top, 0.055, _DARK)
    pen.tube(top, wrist, 0.035, _METAL)


def _cobot(pen: Pen, wrist: np.ndarray, rgb: Rgb) -> None:
    """Slim arm with round joints, its elbow out to the side."""
    shoulder, top = np.array([0.0, 0.0, 0.32]), _above(wrist, 0.12)
    elbow = elbow_between(shoulder, top, 0.6, 0.9)
    pen.tube(np.zeros(3), shoulder, 0.06, (0.93, 0.93, 0.93))
    for a, b in ((shoulder, elbow), (elbow, top), (top, wrist)):
        pen.tube(a, b, 0.038, (0.93, 0.93, 0.93))
    for joint in (shoulder, elbow, top):
        pen.ball(joint, 0.056, rgb)


def _scara(pen: Pen, wrist: np.ndarray, rgb: Rgb) -> None:
    """Two links that swing in a plane above the table, and a quill that goes down."""
    level = 0.62
    shoulder, over = np.array([0.0, 0.0, level]), np.array([wrist[0], wrist[1], level])
    # An elbow to the side, not up: a quarter turn about the line.
    elbow = elbow_between(shoulder, over, 0.58, -np.pi / 2)
    pen.tube(np.zeros(3), shoulder, 0.09, _DARK)
    pen.tube(shoulder, elbow, 0.06, rgb)
    pen.tube(_above(elbow, 0.05), _above(over, 0.05), 0.05, rgb)
    pen.tube(_above(over, 0.12), wrist, 0.022, _METAL)
    pen.tube(elbow, _above(elbow, 0.05), 0.065, _DARK)


def _gantry(pen: Pen, wrist: np.ndarray, rgb: Rgb) -> None:
    """Rails over the table: a beam that travels, a carriage on it, a ram that goes down."""
    level, wide = 0.95, 0.68
    for side in (-wide, wide):
        pen.box(np.array([side, 0.6, level]), (0.012, 0.55, 0.012), _METAL)
    pen.box(np.array([0.0, wrist[1], level + 0.05]), (wide, 0.035, 0.035), rgb)
    pen.box(np.array([wrist[0], wrist[1], level + 0.02]), (0.07, 0.08, 0.09), _DARK)
    middle = (wrist[2] + level + 0.1) / 2
    pen.box(np.array([wrist[0], wrist[1], middle]), (0.028, 0.028, level + 0.1 - middle), _METAL)


def _delta(pen: Pen, wrist: np.ndarray, rgb: Rgb) -> None:
    """Three legs under a plate that hangs above the table."""
    plate = np.array([0.0, 0.65, 0.95])
    pen.box(plate, (0.2, 0.2, 0.02), _DARK)
    for angle in (np.pi / 6, 5 * np.pi / 6, 3 * np.pi / 2):
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        hip, foot = plate + 0.16 * out, wrist + 0.05 * out
        knee = elbow_between(hip, foot, 0.5, 0.0) + 0.12 * out
        pen.tube(hip, knee, 0.032, rgb)
        aside = 0.03 * np.cross(out, [0.0, 0.0, 1.0])
        for rod in (aside, -aside):
            pen.tube(knee + rod, foot + rod, 0.012, _METAL)
        pen.ball(knee, 0.04, _DARK)
    pen.box(wrist, (0.06, 0.06, 0.015), _DARK)


_DRAWN: dict[str, Callable[[Pen, np.ndarray, Rgb], None]] = {
    "industrial": _industrial,
    "cobot": _cobot,
    "scara": _scara,
    "gantry": _gantry,
    "delta": _delta,
}
ARMS: tuple[str, ...] = (SAWYER, *_DRAWN)
_PAINTS: tuple[Rgb, ...] = (
    (0.95, 0.45, 0.08), (0.95, 0.78, 0.1), (0.2, 0.4, 0.75), (0.75, 0.12, 0.12),
    (0.25, 0.6, 0.35), (0.88, 0.89, 0.9),
)  # fmt: skip


class ArmLook:
    """Which arm one compiled scene shows.

    Args:
        model: A scene with Meta-World's Sawyer in it.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model = model
        links = _links(model)
        self._geoms = np.flatnonzero(np.isin(model.geom_bodyid, links))
        self._groups = model.geom_group[self._geoms].copy()
        self._wrist = model.body(_HAND).id
        self.name, self._rgb = SAWYER, _METAL

    def choose(self, name: str, seed: int) -> None:
        """Show this arm from now on; its paint is drawn from ``seed``.

        Raises:
            ConfigError: If there is no such arm.
        """
        if name not in ARMS:
            raise ConfigError(f"no arm {name!r}; choose from: {', '.join(ARMS)}")
        self.name = name
        hidden = name != SAWYER
        self._model.geom_group[self._geoms] = _HIDDEN_GROUP if hidden else self._groups
        self._rgb = _PAINTS[int(np.random.default_rng([seed, 5]).integers(len(_PAINTS)))]

    def draw(self, scene: mujoco.MjvScene, data: mujoco.MjData) -> None:
        """Add the arm to a picture that is about to be rendered; the Sawyer is there already."""
        if self.name != SAWYER:
            wrist = _above(data.xpos[self._wrist], 0.03)
            _DRAWN[self.name](Pen(scene), wrist, self._rgb)


def _links(model: mujoco.MjModel) -> list[int]:
    """Bodies of the arm: those below its base, without the hand and what hangs on it."""
    base, hand = model.body(_FIRST_LINK).id, model.body(_HAND).id
    links = []
    for body in range(model.nbody):
        chain = body
        while chain not in (0, base, hand):
            chain = int(model.body_parentid[chain])
        if chain == base:
            links.append(body)
    return links
