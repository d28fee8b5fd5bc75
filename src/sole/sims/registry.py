"""Makes a task by its full name, ``suite/name``, and says which split a task belongs to."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sole.errors import ConfigError
from sole.sims import libero_tasks, maniskill_tasks, metaworld_tasks, robosuite_tasks
from sole.sims.base import TaskEnv
from sole.sims.metaworld_tasks import MetaWorldTask, Split
from sole.sims.suite import SuiteTask

_WITH = "pip install -c constraints.txt -c constraints-suites.txt"


@dataclass(frozen=True)
class Suite:
    """A family of tasks that one simulator offers.

    Attributes:
        name: First half of a task's full name.
        modules: What must be importable to make its tasks.
        install: The command that installs them, in a checkout.
        tasks: Names and descriptions; empty for our own worlds.
        held_out: Split of names that are held out although they cannot be made here.
        own_reward: Whether the simulator has a dense reward of its own (``TaskEnv.own_reward``).
        steps_hz: Its control steps per second, from which its films have their frame rate.
    """

    name: str
    modules: tuple[str, ...]
    install: str
    tasks: Mapping[str, MetaWorldTask | SuiteTask]
    held_out: Mapping[str, Split] = field(default_factory=dict)
    own_reward: bool = False
    steps_hz: float = 20.0

    def installed(self) -> bool:
        """Whether every module can be found; nothing is imported."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "metaworld", ("metaworld", "mujoco"),
            "pip install -c constraints.txt '.[metaworld]'", metaworld_tasks.TASKS, own_reward=True,
            steps_hz=80.0,
        ),
        Suite(
            "worlds", ("metaworld", "mujoco"),
            "pip install -c constraints.txt '.[metaworld]'", {}, steps_hz=80.0,
        ),
        Suite(
            "robosuite", ("robosuite", "mujoco"), f"{_WITH} '.[robosuite]'",
            robosuite_tasks.TASKS, own_reward=True,
        ),
        Suite(
            "maniskill", ("mani_skill", "sapien"), f"{_WITH} '.[maniskill]'",
            maniskill_tasks.TASKS, maniskill_tasks.HELD_OUT, own_reward=True,
        ),
        Suite(
            "libero", ("libero", "robosuite", "mujoco"), f"{_WITH} '.[libero]'",
            libero_tasks.TASKS,
        ),
    )
}  # fmt: skip


def make_env(full_name: str, **options: Any) -> TaskEnv:
    """Make ``metaworld/drawer-open`` or ``robosuite/Stack``; options go to the suite.

    Raises:
        ConfigError: If the name is unknown; the message names the nearest ones.
        SimError: If the suite is not installed.
    """
    suite, _, name = full_name.partition("/")
    if suite == "worlds":
        from sole.sims.worlds import WORLD_TASKS, make_world

        if name in WORLD_TASKS:
            return make_world(name, **options)
    elif suite in SUITES and name in SUITES[suite].tasks:
        return _adapter(suite)(name, **options)
    raise ConfigError(f"no task {full_name!r}; {_near(full_name)}sole sims list shows them all")


def _near(full_name: str) -> str:
    """The tasks that may be meant: those of another suite by this name, or spelled much alike."""
    names, name = task_names(), full_name.rpartition("/")[2]
    meant = [n for n in names if n.partition("/")[2] == name]
    meant = meant or difflib.get_close_matches(full_name, names, n=5)
    return f"did you mean {' or '.join(meant)}? " if meant else ""


def _adapter(suite: str) -> Callable[..., TaskEnv]:
    """The class that makes a suite's tasks; only that suite's simulator is imported."""
    if suite == "metaworld":
        from sole.sims.metaworld import MetaWorldEnv

        return MetaWorldEnv
    if suite == "robosuite":
        from sole.sims.robosuite import RobosuiteEnv

        return RobosuiteEnv
    if suite == "maniskill":
        from sole.sims.maniskill import ManiSkillEnv

        return ManiSkillEnv
    from sole.sims.libero import LiberoEnv

    return LiberoEnv


def task_names(split: str | None = None) -> list[str]:
    """Full names of all tasks, or of one split (``train``, ``dev``, ``test``), sorted."""
    names = [
        f"{suite.name}/{name}"
        for suite in SUITES.values()
        for name, task in suite.tasks.items()
        if split in (None, task.split)
    ]
    if split in (None, "train"):
        names += [f"worlds/{name}" for name in _worlds()]
    return sorted(names)


def _worlds() -> tuple[str, ...]:
    from sole.sims.worlds import WORLD_TASKS

    return WORLD_TASKS


def split_of(full_name: str) -> Split:
    """``train``, ``dev`` or ``test`` (design section 10); our own worlds are training tasks.

    Raises:
        ConfigError: If no suite has the task: what is unknown is not free to be trained on.

    Example:
        >>> split_of("robosuite/Lift"), split_of("robosuite/Stack")
        ('test', 'dev')
    """
    suite, _, name = full_name.partition("/")
    if suite == "worlds" and name in _worlds():
        return "train"
    known = SUITES.get(suite)
    if known is not None and name in known.held_out:
        return known.held_out[name]
    if known is None or name not in known.tasks:
        raise ConfigError(f"no task {full_name!r}; sole sims list shows them")
    return known.tasks[name].split
