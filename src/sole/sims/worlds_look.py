"""How a procedural scene looks: colours, light, camera; redrawn at every reset."""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import numpy as np

from sole.sims.opengl import mujoco
from sole.sims.worlds_part import OTHER
from sole.sims.worlds_words import COLOURS

Rng = np.random.Generator

_GLASS = (0.7, 0.85, 0.95)
#: Share of objects of one colour throughout; the others have gaudy parts.
_PLAIN_SHARE = 0.5
CAMERA = "corner4"
_CAMERA_JITTER_M = 0.04
_FOV_JITTER_DEGREES = 4.0


class Look:
    """Recolours one compiled scene, and puts it back to Meta-World's own room half of the time.

    Args:
        model: The compiled scene.
        slots: Geom name -> colour slot, from :class:`sole.sims.worlds_scene.Scene`.
    """

    def __init__(self, model: mujoco.MjModel, slots: dict[str, str]):
        self._model = model
        self._slots = {model.geom(name).id: slot for name, slot in slots.items()}
        self._camera = model.camera(CAMERA).id
        self._materials = [model.material(name).id for name in ("table_wood", "wall_metal")]
        self._room = (
            model.mat_rgba.copy(), model.light_diffuse.copy(), model.light_dir.copy(),
            model.vis.headlight.ambient.copy(), model.cam_pos.copy(), model.cam_fovy.copy(),
        )  # fmt: skip

    def redraw(self, rng: Rng) -> str:
        """Draw new colours, light and camera; return the name of the object's colour.

        A second object never has that colour, so that its name and colour tell the two apart.
        """
        names = list(COLOURS)
        body, palette = _palette(names, rng)
        _, others = _palette([name for name in names if name != body], rng)
        palette |= {OTHER + slot: rgb for slot, rgb in others.items()}
        for geom, slot in self._slots.items():
            known = palette.get(slot)
            rgb = _near(COLOURS[str(rng.choice(names))], rng) if known is None else known
            self._model.geom_rgba[geom] = (*rgb, 0.5 if slot.endswith("glass") else 1.0)
        self._restore_room()
        if rng.random() < 0.5:
            self._vary_room(rng)
        self._model.cam_pos[self._camera] += rng.uniform(-_CAMERA_JITTER_M, _CAMERA_JITTER_M, 3)
        self._model.cam_fovy[self._camera] += rng.uniform(-1, 1) * _FOV_JITTER_DEGREES
        return body

    def _restore_room(self) -> None:
        model = self._model
        model.mat_rgba[:], model.light_diffuse[:], model.light_dir[:] = self._room[:3]
        model.vis.headlight.ambient[:] = self._room[3]
        model.cam_pos[:], model.cam_fovy[:] = self._room[4:]

    def _vary_room(self, rng: Rng) -> None:
        model = self._model
        for material in self._materials:
            model.mat_rgba[material, :3] = rng.uniform(0.55, 1.0) * rng.uniform(0.75, 1.0, 3)
        model.light_diffuse[:] *= rng.uniform(0.6, 1.4)
        model.light_dir[:] += rng.uniform(-0.3, 0.3, model.light_dir.shape)
        model.vis.headlight.ambient[:] *= rng.uniform(0.75, 1.25)


def seen_at(model: mujoco.MjModel, data: mujoco.MjData, place_m: np.ndarray) -> dict[str, Any]:
    """Where a point of the world is in the upright external picture (which is square).

    Returns:
        ``picture`` (x right, y down, in [0, 1]), ``depth_m`` along the axis of the camera, and
        ``place_m`` itself.
    """
    camera = data.camera(CAMERA)
    across, up, back = (place_m - camera.xpos) @ camera.xmat.reshape(3, 3)
    half = np.tan(np.radians(model.cam_fovy[model.camera(CAMERA).id]) / 2) * -back
    # The camera hangs upside down and its picture is turned round: both signs change.
    x, y = 0.5 - across / (2 * half), 0.5 + up / (2 * half)
    return {
        "picture": (round(float(x), 4), round(float(y), 4)),
        "depth_m": round(float(-back), 4),
        "place_m": tuple(round(float(v), 4) for v in place_m),
    }


def _palette(names: list[str], rng: Rng) -> tuple[str, dict[str, np.ndarray]]:
    """The main colour's name, and the colour of every slot of one object."""
    body, accent, goal = (names[i] for i in rng.choice(len(names), 3, replace=False))
    slots = {"body": body, "accent": accent, "goal": goal, "frame": str(rng.choice(names))}
    tints = {slot: _near(COLOURS[name], rng) for slot, name in slots.items()}
    if rng.random() < _PLAIN_SHARE:
        tints |= _plain(tints["body"], rng)
    return body, tints | {"glass": np.array(_GLASS)}


def _plain(body: np.ndarray, rng: Rng) -> dict[str, np.ndarray]:
    """Frame, and half of the time the handle, in shades of the body: most real things are so."""
    shades = {"frame": np.clip(body * rng.uniform(0.6, 1.15), 0.02, 1.0)}
    if rng.random() < 0.5:
        shades["accent"] = np.clip(body * rng.uniform(0.6, 1.25), 0.02, 1.0)
    return shades


def _near(rgb: tuple[float, float, float], rng: Rng) -> np.ndarray:
    return np.clip(np.array(rgb) + rng.uniform(-0.08, 0.08, 3), 0.02, 1.0)
