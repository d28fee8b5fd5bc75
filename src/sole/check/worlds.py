"""``sole check worlds``: how broad our own scenes are, and whether their experts succeed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from sole.check.output import CheckConfig, Measured, counted
from sole.config import parse_config
from sole.console import progress_bar
from sole.sims.worlds import WORLD_TASKS, make_world
from sole.sims.worlds_arms import ARMS
from sole.sims.worlds_look import COLOURS
from sole.sims.worlds_words import placed, sentences

_SIZE_PX = 32  # no picture is drawn


class WorldsConfig(CheckConfig):
    """Count families, arms and sentences, and the scenes in which the scripted expert succeeds."""

    tasks: tuple[str, ...] = ()
    """Names without the suite; all by default."""
    scenes: int = Field(3, gt=0)
    """Scenes of each task, each with a geometry and a layout of its own."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check worlds``."""
    return counted("worlds", parse_config(WorldsConfig, argv, "sole check worlds"), check, argv)


def check(config: WorldsConfig) -> tuple[list[Measured], dict[str, Any]]:
    """Simulate the expert in every task; nothing is rendered."""
    names = config.tasks or WORLD_TASKS
    rng = np.random.default_rng(config.seed)
    things: set[str] = set()
    told: set[str] = set()
    done: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    with progress_bar("experts at work", total=len(names) * config.scenes) as advance:
        for name in names:
            for _ in range(config.scenes):
                thing, goal, success = _attempt(name, *rng.integers(1, 2**31, 2).tolist())
                verb = verb_of(sentences(name, thing, goal=goal)[0])
                things.add(thing)
                told |= _sentences(name, thing, goal)
                tried[verb] += 1
                done[verb] += success
                failed[name] += not success
                advance(1)
    lowest = min(tried, key=lambda verb: done[verb] / tried[verb])
    measured = [
        Measured("worlds.families", len(things), unit="families"),
        Measured("worlds.arms", len(ARMS), unit="arms"),
        Measured("worlds.sentences", len(told), unit="sentences"),
        Measured("worlds.expert_success", sum(done.values()), sum(tried.values())),
        Measured("worlds.expert_success_lowest_verb", done[lowest], tried[lowest]),
    ]
    return measured, {
        "families": sorted(things),
        "verbs": {v: f"{done[v]}/{tried[v]}" for v in sorted(tried)},
        "failures": {n: k for n, k in sorted(failed.items()) if k},
    }


def verb_of(sentence: str) -> str:
    """The first word.

    Example:
        >>> verb_of("turn the faucet to the left")
        'turn'
    """
    return sentence.split()[0]


def _attempt(name: str, geometry_seed: int, layout_seed: int) -> tuple[str, str, bool]:
    """Run the expert once: the thing, its goal, and whether it ever succeeded."""
    env = make_world(name, geometry_seed, _SIZE_PX)
    env.reset(seed=layout_seed)
    success = False
    for _ in range(env.max_steps):
        env.step(env.expert_action())
        success = env.truth()[1]
        if success:
            break
    env.close()
    return env.prop.thing, env.prop.goal_name, success


def _sentences(name: str, thing: str, goal: str) -> set[str]:
    """Everything that can be asked for in this task: verb, object, colour, side of another one."""
    told: set[str] = set()
    for colour in ("", *COLOURS):
        said = sentences(name, thing, colour=colour, goal=goal)
        told |= {*said, *placed(said, thing, "left"), *placed(said, thing, "right")}
    return told
