"""Fast software rendering of MuJoCo scenes on a CPU (10-28x the default; design section 11)."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np

from sole.errors import SimError
from sole.sims.opengl import mujoco

_EXPENSIVE = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class _Renderer(mujoco.Renderer):
    """One that could not be made is silent when it is thrown away; MuJoCo's complains."""

    _gl_context = _mjr_context = None


class FastRenderer:
    """Renders square uint8 pictures of one model; make it once and reuse it.

    Args:
        model: The compiled scene; its offscreen quality settings are lowered.
        size_px: Height and width of the picture.
        show_sites: Whether markers (goals live in sites) are drawn.
        show_collisions: Whether geoms of group 0 are drawn: robosuite keeps the rough shapes of
            collision there, Meta-World and our worlds what is to be seen.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        size_px: int,
        *,
        show_sites: bool = True,
        show_collisions: bool = True,
    ):
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = 0
        buffer = model.vis.global_  # MuJoCo refuses pictures that are larger
        buffer.offwidth = max(buffer.offwidth, size_px)
        buffer.offheight = max(buffer.offheight, size_px)
        try:
            self._renderer = _Renderer(model, size_px, size_px)
        except (
            RuntimeError,
            ImportError,
            AttributeError,
            ValueError,
            MemoryError,
            mujoco.FatalError,
        ) as error:
            raise SimError(
                f"software rendering does not work ({error}); run `sole doctor` for the mend"
            ) from error
        # Not left to __del__: at the end of a process OSMesa is gone before the renderer is.
        self._free = weakref.finalize(self, _close, self._renderer)
        self._options = mujoco.MjvOption()
        if not show_sites:
            self._options.sitegroup[:] = 0
        if not show_collisions:
            self._options.geomgroup[0] = 0
        for flag in _EXPENSIVE:
            self._renderer.scene.flags[flag] = 0

    def render(
        self,
        data: mujoco.MjData,
        camera: str | int | mujoco.MjvCamera,
        *,
        upside_down: bool = False,
        decorate: Callable[[mujoco.MjvScene, mujoco.MjData], None] | None = None,
    ) -> np.ndarray:
        """Return one picture, uint8 RGB ``(size, size, 3)``.

        Args:
            data: The moment.
            camera: Its name, number or place.
            upside_down: Turn the picture by 180 degrees.
            decorate: Adds shapes of its own to the scene before it is drawn.
        """
        self._renderer.update_scene(data, camera=camera, scene_option=self._options)
        if decorate is not None:
            decorate(self._renderer.scene, data)
        picture = self._renderer.render()
        return picture[::-1, ::-1].copy() if upside_down else picture.copy()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._free()


def _close(renderer: mujoco.Renderer) -> None:
    """Free a renderer in its own OpenGL context.

    MuJoCo's ``close`` deletes textures by number in whichever context is current: when that is
    another renderer's, that one draws noise from then on.
    """
    if renderer._gl_context is not None and renderer._mjr_context is not None:
        renderer._gl_context.make_current()
        renderer._mjr_context.free()
        renderer._mjr_context = None
    renderer.close()
