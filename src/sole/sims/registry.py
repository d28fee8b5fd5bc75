"""Makes a task by its full name, ``suite/name``, and says which split a task belongs to."""

from __future__ import annotations

from typing import Any

from sole.errors import ConfigError
from sole.sims.base import TaskEnv
from sole.sims.metaworld_tasks import TASKS


def make_env(full_name: str, **options: Any) -> TaskEnv:
    """Make ``metaworld/drawer-open`` or ``worlds/drawer-open``; options go to the suite.

    Raises:
        ConfigError: If the name is unknown; the message lists the choices.
    """
    suite, _, name = full_name.partition("/")
    if suite == "metaworld" and name in TASKS:
        from sole.sims.metaworld import MetaWorldEnv

        return MetaWorldEnv(name, **options)
    if suite == "worlds":
        from sole.sims.worlds import WORLD_TASKS, make_world

        if name in WORLD_TASKS:
            return make_world(name, **options)
    raise ConfigError(f"no task {full_name!r}; choose from: {', '.join(task_names())}")


def task_names(split: str | None = None) -> list[str]:
    """Full names of all tasks, or of one split (``train``, ``dev``, ``test``), sorted."""
    names = [f"metaworld/{n}" for n, t in TASKS.items() if split in (None, t.split)]
    if split in (None, "train"):
        from sole.sims.worlds import WORLD_TASKS

        names += [f"worlds/{n}" for n in WORLD_TASKS]
    return sorted(names)


def split_of(full_name: str) -> str:
    """``train``, ``dev`` or ``test`` (design section 10); our own worlds are training tasks."""
    suite, _, name = full_name.partition("/")
    return TASKS[name].split if suite == "metaworld" else "train"
