"""Sample clips that ship with the package, so that everything can be tried without a robot."""

from pathlib import Path


def path() -> Path:
    """Return the folder of the sample clips (``*.mp4``), wherever the package is installed.

    Example:
        >>> path().name
        'samples'
    """
    return Path(__file__).resolve().parent


def clips() -> list[Path]:
    """Return the shipped clips in order of name.

    Example:
        >>> all(clip.suffix == ".mp4" for clip in clips())
        True
    """
    return sorted(path().glob("*.mp4"))
