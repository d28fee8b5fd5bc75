"""``--reward env``: the simulator's own dense reward, to compare reward models with.

It is privileged like the oracle, and it is no judge: nobody says how far a task has come or whether
it is done. So everything judged is unknown (NaN, None, "-"), and a run cannot count as hacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sole.data.costs import CostCounters
from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ConfigError
from sole.rewarders.base import Session
from sole.rl.config import RlConfig
from sole.sims.base import TaskEnv
from sole.sims.registry import SUITES

ENV = "env"
#: What stands in place of a number, wherever a judge would have said one.
NOT_JUDGED = StepScore(None, error="env is the simulator's own reward and judges nothing")


class EnvReward:
    """Stands where a reward model would; it is asked for its name, its costs and its films."""

    model_id = ENV
    views: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.costs = CostCounters()

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """No number at any frame."""
        return [EpisodeScore((NOT_JUDGED,) * e.n_frames, ENV, e.task) for e in episodes]

    def start(self, task: str) -> Session:
        """A session without numbers."""
        return _NothingJudged()


class _NothingJudged:
    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        return NOT_JUDGED


def check_settings(config: RlConfig) -> None:
    """Refuse ``--reward env`` with a task that pays nothing, or with settings that need a judge.

    Raises:
        ConfigError: If so; nothing needs to be simulated to know it.
    """
    if config.reward != ENV:
        return
    check_task(config.env)
    defaults = RlConfig(env=config.env, run_dir=config.run_dir)
    needs = ("jury", "copies", "calibration", "caution", "gate_points", "keep", "plateau")
    if given := [name for name in needs if getattr(config, name) != getattr(defaults, name)]:
        raise ConfigError(
            f"reward env: judges nothing, so {', '.join(given)} mean nothing; leave them out"
        )


def check_task(env: str) -> None:
    """Refuse a task of a suite without a dense reward by its name alone.

    Raises:
        ConfigError: If it is one; tasks of no suite of ours pass.
    """
    suite = SUITES.get(env.partition("/")[0])
    if suite is not None and not suite.own_reward:
        raise _pays_nothing(env)


def check_env(name: str, env: TaskEnv) -> None:
    """Refuse an environment without a dense reward of its own.

    Raises:
        ConfigError: If it has none.
    """
    if env.own_reward() is None:
        raise _pays_nothing(name)


def _pays_nothing(name: str) -> ConfigError:
    paying = ", ".join(suite.name for suite in SUITES.values() if suite.own_reward)
    return ConfigError(
        f"env {name}: has no dense reward of its own, so it has no --reward env; expected a task "
        f"of {paying}; --reward oracle pays true progress everywhere"
    )
