"""Tasks by name: those of our suites, and a factory of your own, ``package.module:function``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from sole.errors import ConfigError
from sole.sims.base import TaskEnv
from sole.sims.registry import make_env


def make_task(name: str, place: int = 0) -> TaskEnv:
    """Make the task that ``--env`` names.

    Args:
        name: ``suite/task``, or ``package.module:function`` of something that returns a TaskEnv.
        place: Which of a run's environments; procedural worlds differ by it.

    Raises:
        ConfigError: If there is no such task.
    """
    if ":" in name:
        return _made_by(name)
    return make_env(name, seed=place) if name.startswith("worlds/") else make_env(name)


def _made_by(name: str) -> TaskEnv:
    made = _factory(name)()
    if not isinstance(made, TaskEnv):
        raise ConfigError(f"env {name}: expected it to return a TaskEnv, got {type(made).__name__}")
    return made


def _factory(name: str) -> Any:
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there by itself
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(f"env {name}: no module {error.name!r}") from error
    except AttributeError as error:
        raise ConfigError(f"env {name}: {module} has no {attribute!r}") from error
