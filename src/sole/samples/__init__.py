"""A sample clip that ships with the package, so that scoring can be tried without a robot."""

from pathlib import Path

TASK = "open the drawer"
"""What the robot of the clip is asked to do."""


def path() -> Path:
    """Return the shipped clip: an external and a wrist view side by side, H.264.

    Score it with ``--layout side-by-side``. The file lies beside this module, wherever the package
    is installed.

    Example:
        >>> path().name
        'sample.mp4'
    """
    return Path(__file__).resolve().parent / "sample.mp4"
