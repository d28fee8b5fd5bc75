"""The room of every procedural scene: Meta-World's arm, gripper, table and floor, nothing else.

No mesh, XML or texture of a Meta-World *object* is used here, so that its articulated tasks stay
unseen. The arm's meshes are thinned once per process, which halves rendering time and makes
compiling a new scene take 20 ms.
"""

# mujoco's compiled module is unknown to pyright.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sole.errors import SimError
from sole.sims.opengl import mujoco

#: Grid cells along a mesh's longest side when the arm is thinned; parts look the same at 96 px.
MESH_CELLS = 28
_FEW_FACES = 500
#: Site group that MuJoCo does not draw: reference points are for the expert, never for the eye.
HIDDEN_GROUP = 4

_ROOM = """
<mujoco>
  <include file="{assets}/scene/basic_scene.xml"/>
  <include file="{assets}/objects/assets/xyz_base_dependencies.xml"/>
  <compiler meshdir="{assets}/sawyer_xyz" texturedir="{assets}/sawyer_xyz"/>
  <worldbody><include file="{assets}/objects/assets/xyz_base.xml"/></worldbody>
  <actuator>
    <position ctrllimited="true" ctrlrange="-1 1" joint="r_close" kp="400"/>
    <position ctrllimited="true" ctrlrange="-1 1" joint="l_close" kp="400"/>
  </actuator>
  <equality><weld body1="mocap" body2="hand" solref="0.02 1"/></equality>
</mujoco>
"""

Vector = Sequence[float]


class Scene:
    """A scene under construction: the room, plus bodies made of primitive shapes.

    Attributes:
        root: Body of the task's object; its pose on the table is redrawn at every reset. Its
            front faces the robot (-y).
        colours: Geom name -> colour slot (``body``, ``accent``, ``frame``, ``goal``), behind the
            prefix of the object it belongs to.
    """

    def __init__(self, *, thinned: bool = True) -> None:
        self.spec = _room_spec(thinned).copy()
        self.colours: dict[str, str] = {}
        self.begin_object("")

    def begin_object(self, prefix: str) -> None:
        """Start another object: what is built from now on is named, and coloured, apart."""
        self._prefix = prefix
        self.root = self.spec.worldbody.add_body(name=f"{prefix}prop")

    def body(self, name: str, parent: mujoco.MjsBody | None = None, pos: Vector = (0, 0, 0)):
        """Add a body (weightless in the scene's gravity) under ``parent`` (default: the root)."""
        # Meta-World's compiler settings take inertia from collision geoms only; ours is explicit.
        return (parent or self.root).add_body(
            name=self._prefix + name, pos=pos, gravcomp=1.0,
            mass=0.3, inertia=(2e-3, 2e-3, 2e-3), explicitinertial=True,
        )  # fmt: skip

    def free_standing(self, name: str) -> mujoco.MjsBody:
        """Add a body to the world that does not move with the root: a goal or a distractor."""
        return self.spec.worldbody.add_body(name=self._prefix + name)

    def box(self, body, pos: Vector, half: Vector, colour: str, *, solid: bool = True, tilt=None):
        """Add a box with these half sizes in metres; ``tilt`` is (axis, angle in radians)."""
        self._add(body, mujoco.mjtGeom.mjGEOM_BOX, pos, half, colour, solid, tilt)

    def cylinder(self, body, pos: Vector, radius: float, half: float, colour: str, *,
                 axis: str = "z", solid: bool = True):  # fmt: skip
        """Add a cylinder along a coordinate axis of the body."""
        tilt = {"x": ((0, 1, 0), math.pi / 2), "y": ((1, 0, 0), math.pi / 2), "z": None}[axis]
        size = (radius, half, 0.0)
        self._add(body, mujoco.mjtGeom.mjGEOM_CYLINDER, pos, size, colour, solid, tilt)

    def sphere(self, body, pos: Vector, radius: float, colour: str, *, solid: bool = True):
        """Add a sphere."""
        self._add(body, mujoco.mjtGeom.mjGEOM_SPHERE, pos, (radius, 0, 0), colour, solid, None)

    def _add(self, body, shape, pos, size, colour, solid, tilt) -> None:
        name = f"prop_{len(self.colours)}_{body.name}"
        self.colours[name] = self._prefix + colour
        quat = np.array([1.0, 0.0, 0.0, 0.0])
        if tilt is not None:
            mujoco.mju_axisAngle2Quat(quat, np.asarray(tilt[0], float), tilt[1])
        # Only the hand collides with objects (its contype is 1): parts of one object never jam.
        body.add_geom(
            name=name, type=shape, pos=pos, size=size, quat=quat,
            contype=0, conaffinity=int(solid), friction=(1.0, 0.05, 0.002), condim=4, group=1,
        )  # fmt: skip

    def hinge(self, body, axis: Vector, reach: tuple[float, float], name: str = "motion") -> None:
        """Let ``body`` turn about ``axis`` through its origin within ``reach`` (radians)."""
        low, high = sorted(reach)
        body.add_joint(
            name=self._prefix + name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis,
            range=(low, high), limited=True, damping=0.4, frictionloss=0.15, armature=0.01,
        )  # fmt: skip

    def slide(self, body, axis: Vector, reach: tuple[float, float], name: str = "motion") -> None:
        """Let ``body`` slide along ``axis`` within ``reach`` (metres)."""
        low, high = sorted(reach)
        body.add_joint(
            name=self._prefix + name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis,
            range=(low, high), limited=True, damping=80.0, frictionloss=1.0, armature=0.2,
        )  # fmt: skip

    def point(self, body, name: str, pos: Vector) -> None:
        """Add an invisible reference point (``handle`` or ``hook``) to a body."""
        body.add_site(
            name=self._prefix + name, pos=pos, size=(0.005, 0.005, 0.005), group=HIDDEN_GROUP
        )

    def compile(self) -> mujoco.MjModel:
        """Return the compiled scene with Meta-World's weld between mocap and hand."""
        model = self.spec.compile()
        welds = model.eq_type == mujoco.mjtEq.mjEQ_WELD
        model.eq_data[welds] = np.array([0, 0, 0, 0, 0, 0, -1.0, 0, 0, 0, 5.0])
        return model


@cache
def assets_path() -> Path:
    """Return the installed Meta-World package's asset folder (robot and room only are used).

    Raises:
        SimError: If Meta-World is not installed.
    """
    found = find_spec("metaworld")
    if found is None or found.origin is None:
        raise SimError(
            "the package metaworld is not installed: pip install 'sole-rewards[metaworld]'"
        )
    return Path(found.origin).parent / "assets"


@cache
def _room_spec(thinned: bool) -> mujoco.MjSpec:
    text = _ROOM.format(assets=assets_path())
    if not thinned:
        return mujoco.MjSpec.from_string(text)
    full = mujoco.MjSpec.from_string(text).compile()
    spec = mujoco.MjSpec.from_string(text)
    for mesh in spec.meshes:
        index = full.mesh(mesh.name).id
        if full.mesh_facenum[index] >= _FEW_FACES:
            vertices, faces = thin_mesh(*_mesh_of(full, index), MESH_CELLS)
            mesh.file = ""
            mesh.uservert = vertices.astype(np.float32).ravel()
            mesh.userface = faces.astype(np.int32).ravel()
    return spec


def _mesh_of(model: mujoco.MjModel, index: int) -> tuple[np.ndarray, np.ndarray]:
    start, count = model.mesh_vertadr[index], model.mesh_vertnum[index]
    first, n_faces = model.mesh_faceadr[index], model.mesh_facenum[index]
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.mesh_quat[index])
    # The compiler centres meshes; the file's own frame is needed to compile them again.
    vertices = model.mesh_vert[start : start + count] @ turn.reshape(3, 3).T
    return vertices + model.mesh_pos[index], model.mesh_face[first : first + n_faces]


def thin_mesh(
    vertices: np.ndarray, faces: np.ndarray, n_cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Merge vertices that share a cell of a cubic grid; drop the faces that collapse.

    Args:
        vertices: ``(V, 3)`` positions.
        faces: ``(F, 3)`` indices into ``vertices``.
        n_cells: Cells along the longest side of the mesh.

    Returns:
        The thinned vertices and faces; every vertex is used.

    Example:
        >>> v = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0.9, 0.0]], float)
        >>> thin_mesh(v, np.array([[0, 1, 2], [0, 2, 3]]), 2)[1].tolist()
        [[0, 3, 2], [0, 2, 1]]
    """
    low = vertices.min(axis=0)
    side = (vertices.max(axis=0) - low).max() / n_cells
    _, cell = np.unique(np.floor((vertices - low) / side).astype(int), axis=0, return_inverse=True)
    cell = cell.ravel()
    centres = np.zeros((cell.max() + 1, 3))
    np.add.at(centres, cell, vertices)
    centres /= np.bincount(cell)[:, None]
    merged = cell[faces]
    a, b, c = merged.T
    merged = merged[(a != b) & (b != c) & (a != c)]
    _, first = np.unique(np.sort(merged, axis=1), axis=0, return_index=True)
    used, renumbered = np.unique(merged[np.sort(first)], return_inverse=True)
    return centres[used], renumbered.reshape(-1, 3)
