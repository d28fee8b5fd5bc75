"""The errors a user can cause, one per boundary, each with the exit code its verb ends with.

A message says what was found, what was expected and what to do. Code that is merely wrong raises
ordinary exceptions and shows its traceback; these never do.
"""


class SoleError(Exception):
    """Something at a boundary of the system is wrong; the message says what to do about it."""

    exit_code = 1


class BadInputError(SoleError):
    """The user gave something we cannot work with; running again unchanged fails again."""

    exit_code = 2


class VideoError(BadInputError):
    """A video, image folder or array file cannot be read as frames."""


class DataError(BadInputError):
    """A dataset on disk is missing, of another version, or inconsistent."""


class ConfigError(BadInputError):
    """A preset, flag or combination of settings is invalid."""


class SimError(SoleError):
    """A simulator is not installed, cannot render, or broke while stepping."""


class ModelError(SoleError):
    """A model cannot be loaded or failed while generating."""


class ServerError(SoleError):
    """A reward server is unreachable or answered with an error."""
