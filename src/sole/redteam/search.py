"""One search: an optimiser on a task, round after round, until its budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from sole.data.attempts import Attempt, save_attempts
from sole.redteam.config import OptimiserName, RedteamConfig
from sole.redteam.exploit import change_picture
from sole.redteam.optimisers import Optimiser, make_optimiser
from sole.redteam.rounds import (
    Round,
    objective,
    read_curves,
    read_rounds,
    save_round,
    stack_curves,
)
from sole.run import Run
from sole.sims.base import TaskEnv

if TYPE_CHECKING:
    from sole.rl.envs import Rollout
    from sole.rl.judge import Judge, Judgement

#: Full task name and seed of the geometry -> environment.
MakeEnv = Callable[[str, int], TaskEnv]
Advance = Callable[[float], None]


class SearchRecord(BaseModel):
    """config.json of a search or of an exploit set, such as ``sole synth --from-runs`` reads."""

    env: str
    task: None = None
    optimiser: str
    reward: str
    made_by: str = "sole redteam"


@dataclass(frozen=True)
class Search:
    """One optimiser on one task."""

    env_name: str
    optimiser: OptimiserName

    def folder(self, out: Path) -> Path:
        """Where it lies."""
        return out / "searches" / self.env_name.replace("/", "-") / self.optimiser

    def rounds(self, out: Path) -> list[Round]:
        """What it has done so far."""
        return read_rounds(self.folder(out) / "rounds")


def searches(config: RedteamConfig) -> list[Search]:
    """Every search of a run, in order."""
    return [Search(task, name) for task in config.tasks for name in config.optimisers]


def make_task(full_name: str, geometry: int) -> TaskEnv:
    """Make the environment as :mod:`sole.synth.replays` does, so that episodes come out again."""
    from sole.sims.registry import make_env

    if full_name.startswith("worlds/"):
        return make_env(full_name, seed=geometry)
    return make_env(full_name)


class Stage:
    """The environment of the geometry that is on, made when it changes."""

    def __init__(self, make: MakeEnv, env_name: str):
        self._make, self._env_name = make, env_name
        self._geometry: int | None = None
        self._env: TaskEnv | None = None

    def env(self, geometry: int) -> TaskEnv:
        """The environment of this geometry; suites that have only one keep theirs."""
        one_for_all = not self._env_name.startswith("worlds/")
        if self._env is None or not (one_for_all or geometry == self._geometry):
            self.close()
            self._env, self._geometry = self._make(self._env_name, geometry), geometry
        return self._env

    def close(self) -> None:
        """Free the environment."""
        if self._env is not None:
            self._env.close()
            self._env = None


@dataclass(frozen=True)
class Budget:
    """What one search may use; None for no limit.

    Attributes:
        rounds: Of its episodes.
        seconds: Since its first round, over all runs of the command.
    """

    rounds: float | None
    seconds: float | None

    def share(self, n_rounds: int, used_s: float) -> float:
        """How much of it is gone, 1 for all."""
        limits = (self.rounds, n_rounds), (self.seconds, used_s)
        shares = [used / most if most > 0 else 1.0 for most, used in limits if most is not None]
        return min(max(shares), 1.0)


def budget_of(search: Search, config: RedteamConfig) -> Budget:
    """The episodes of the settings, and an equal share of the minutes that are left.

    A search may overrun by a round; those after it get the less.
    """
    episodes = config.most_episodes
    rounds = None if episodes is None else episodes / config.population
    if config.minutes is None:
        return Budget(rounds, None)
    plan = searches(config)
    before = plan[: plan.index(search)]
    used_s = sum(r.seconds for one in before for r in one.rounds(config.out))
    left_s = max(60.0 * config.minutes - used_s, 0.0)
    return Budget(rounds, left_s / (len(plan) - len(before)))


def run_search(
    search: Search, config: RedteamConfig, judge: Judge, make: MakeEnv, advance: Advance
) -> None:
    """Go on with a search until its budget is used up."""
    budget = budget_of(search, config)
    folder = search.folder(config.out)
    record = SearchRecord(
        env=search.env_name, optimiser=search.optimiser, reward=judge.model.model_id
    )
    Run(folder, record)
    rounds = search.rounds(config.out)
    used_s = sum(r.seconds for r in rounds)
    gone = budget.share(len(rounds), used_s)
    advance(gone)
    if gone >= 1.0:
        return
    stage = Stage(make, search.env_name)
    optimiser = make_optimiser(search.optimiser, config, search.env_name, folder)
    number = len(rounds)
    optimiser.restore(rounds, stage.env(optimiser.geometry(number)))
    while gone < 1.0:
        used_s += _run_round(folder, optimiser, stage, config, judge, number)
        number += 1
        before, gone = gone, budget.share(number, used_s)
        advance(gone - before)
    stage.close()


def _run_round(
    folder: Path, optimiser: Optimiser, stage: Stage, config: RedteamConfig, judge: Judge,
    number: int,
) -> float:  # fmt: skip
    """Run, judge and save one round; its own file comes last, so that a kill undoes it whole."""
    began = time.perf_counter()
    geometry = optimiser.geometry(number)
    seeds, candidates, rollouts = optimiser.roll_out(stage.env(geometry), number)
    judged = judge(rollouts)
    done = _as_round(geometry, seeds, candidates, rollouts, judged, config)
    optimiser.learn(number, done, rollouts, [j.rewards for j in judged])
    attempts = _attempts(number * config.population, geometry, seeds, rollouts, judged)
    save_attempts(folder / "attempts", number * config.population, attempts)
    optimiser.save(number + 1)
    seconds = time.perf_counter() - began
    save_round(folder / "rounds", number, Round(**{**vars(done), "seconds": seconds}))
    return seconds


def _as_round(
    geometry: int, seeds: Sequence[int], candidates: np.ndarray, rollouts: Sequence[Rollout],
    judged: Sequence[Judgement], config: RedteamConfig,
) -> Round:  # fmt: skip
    curves = [
        read_curves(j.score, r.truth.true_progress[r.view_frames], solved=r.truth.any_success)
        for r, j in zip(rollouts, judged, strict=True)
    ]
    return Round(
        geometry=geometry, seeds=np.array(seeds, np.int64), candidates=candidates,
        values=np.array([objective(c, config.truth_weight) for c in curves]),
        pictures=np.stack([change_picture(_main_view(r.episode.views)) for r in rollouts]),
        seconds=0.0, **stack_curves(curves),
    )  # fmt: skip


def _main_view(views: Mapping[str, np.ndarray]) -> np.ndarray:
    """The external view where there is one."""
    return views.get("external", next(iter(views.values())))


def _attempts(
    first: int, geometry: int, seeds: Sequence[int], rollouts: Sequence[Rollout],
    judged: Sequence[Judgement],
) -> list[Attempt]:  # fmt: skip
    return [
        Attempt(
            first + k, geometry, seeds[k], np.stack(rollout.actions).astype(np.float32),
            judgement.judged_progress, rollout.truth.true_progress,
        )
        for k, (rollout, judgement) in enumerate(zip(rollouts, judged, strict=True))
    ]  # fmt: skip
