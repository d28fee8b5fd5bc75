"""Tasks by name: those of our suites, and a factory of your own, ``package.module:function``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium

from sole.errors import ConfigError
from sole.rl.gym_task import GymTask
from sole.rl.views import parse_views
from sole.sims.base import TaskEnv
from sole.sims.registry import make_env


def make_task(
    name: str,
    place: int = 0,
    *,
    task: str | None = None,
    views: str | None = None,
    max_steps: int | None = None,
    relative_state: bool = False,
) -> TaskEnv:
    """Make the task that ``--env`` names.

    Args:
        name: ``suite/task``, or ``package.module:function`` of something that returns a TaskEnv or
            any Gymnasium environment.
        place: Which of a run's environments; procedural worlds differ by it.
        task: The instruction; a Gymnasium environment needs one.
        views: Source of each picture of a Gymnasium environment, see :mod:`sole.rl.views`.
        max_steps: Its time limit, where it has none.
        relative_state: Whether states of Meta-World also hold the ways to object and goal; other
            states are as they are.

    Raises:
        ConfigError: If there is no such task, or a setting is missing or does not belong to it.
    """
    made = _factory(name)() if ":" in name else None
    if isinstance(made, gymnasium.Env) and not isinstance(made, TaskEnv):
        if not task or not views:
            raise ConfigError(
                f"env {name}: a Gymnasium environment needs --task 'a sentence' and --views "
                "front=SOURCE,wrist=SOURCE (SOURCE: an observation key, render or render:CAMERA)"
            )
        return GymTask(made, task, parse_views(views), max_steps, name)
    if views or max_steps:
        raise ConfigError(f"env {name}: has its own views and time limit; leave the flags out")
    if made is not None:
        if isinstance(made, TaskEnv):
            return made
        raise ConfigError(f"env {name}: expected an environment, got a {type(made).__name__}")
    return make_env(name, **_options(name, place, relative_state=relative_state))


def _options(name: str, place: int, *, relative_state: bool) -> dict[str, Any]:
    if name.startswith("worlds/"):
        return {"seed": place}
    return {"relative_state": relative_state} if name.startswith("metaworld/") else {}


def _factory(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module or module.startswith(".") or not attribute:
        raise ConfigError(f"env {name}: expected package.module:function")
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there by itself
        sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(f"env {name}: no module {error.name!r}") from error
    except AttributeError as error:
        raise ConfigError(f"env {name}: {module} has no {attribute!r}") from error
    if not callable(made):
        raise ConfigError(f"env {name}: expected a function, got a {type(made).__name__}")
    if not _needs_nothing(made):
        raise ConfigError(f"env {name}: expected a function that can be called without arguments")
    return made


def _needs_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # some built-in ones do not say
        return True
    return True
