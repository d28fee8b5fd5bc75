"""MuJoCo, which every module here takes from this one: it loads OpenGL as soon as it is imported.

Where that fails, PyOpenGL says "'NoneType' object has no attribute 'glGetError'"; here it is said
what to do.
"""

from __future__ import annotations

import os

from sole.errors import SimError

try:
    import mujoco
except ModuleNotFoundError:
    raise  # the command line says how to install it
except (ImportError, AttributeError, OSError, RuntimeError) as error:
    raise SimError(
        f"MuJoCo cannot draw with MUJOCO_GL={os.environ.get('MUJOCO_GL')} ({error}); "
        "run `sole doctor` for the mend"
    ) from error

__all__ = ["mujoco"]
