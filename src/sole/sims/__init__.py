"""Simulated tasks: pictures for the model, truth for the scientist, kept apart.

Importing this package chooses software rendering before MuJoCo is loaded, unless the user chose.
"""

import os

os.environ.setdefault("MUJOCO_GL", "osmesa")
os.environ.setdefault("PYOPENGL_PLATFORM", os.environ["MUJOCO_GL"])
# llvmpipe without worker threads is fastest below 128 px, and leaves the other core alone.
os.environ.setdefault("LP_NUM_THREADS", "0")
