"""All refinements of a command: in turn, or several at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait

from sole.errors import ConfigError, SoleError
from sole.refine.config import RefineConfig
from sole.refine.raw import check_kept, keep, read_kept
from sole.refine.run import RESULT_FILE, Refined, refine, run_folder
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.rl.env_reward import ENV, EnvReward, check_task
from sole.rl.tasks import make_task
from sole.sims.base import TaskEnv

#: A task and a seed.
Planned = tuple[str, int]
_POLL_S = 0.2


def planned(config: RefineConfig) -> list[Planned]:
    """Every task with every seed, task by task."""
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    return [(task, seed) for task in config.tasks for seed in seeds]


def make_model(config: RefineConfig) -> RewardModel:
    """What judges; for ``env`` nobody does.

    Raises:
        ConfigError: If there is no such model; for ``env`` if a task pays nothing, or a setting
            needs a judge.
    """
    if config.reward == ENV:
        for task in config.tasks:
            check_task(task)
        if config.calibration or config.caution:
            raise ConfigError("reward env: judges nothing; leave calibration and caution out")
        return EnvReward()
    return load_reward_model(
        config.reward,
        think="always" if config.think else "fast",
        from_zero_weight=config.from_zero_weight,
        calibration=config.calibration,
    )


def refined_in_turn(
    config: RefineConfig,
    plan: Sequence[Planned],
    model: RewardModel,
    advance: Callable[[float], None] = lambda n: None,
) -> Iterator[Refined]:
    """Run, or continue, one after the other; what is finished, or kept, is only read."""
    kept = read_kept(config)
    check_kept(config, model.model_id, kept)
    envs: list[TaskEnv] = []
    of_task = ""
    for task, seed in plan:
        if (task, seed) in kept:
            yield kept[task, seed].refined
        else:
            if task != of_task:
                envs, of_task = [make_task(task, place) for place in range(config.n_envs)], task
            refined = refine(config, task, seed, envs, model)
            keep(config, refined, model.model_id)
            yield refined
        advance(1)


def run_side_by_side(
    config: RefineConfig, plan: Sequence[Planned], advance: Callable[[float], None]
) -> None:
    """Run in ``config.jobs`` processes, each its share; return when all have ended.

    Says nothing of failures: whoever reads the results meets them again.
    """
    context = multiprocessing.get_context("spawn")
    text = config.model_dump_json()
    workers = [
        context.Process(target=_work, args=(text, k), daemon=True)
        for k in range(min(config.jobs, len(plan)))
    ]
    for worker in workers:
        worker.start()
    told = 0
    while any(worker.is_alive() for worker in workers):
        time.sleep(_POLL_S)
        finished = sum((run_folder(config, *one) / RESULT_FILE).exists() for one in plan)
        advance(finished - told)
        told = finished


def _work(config_json: str, worker: int) -> None:
    """Every run of this worker; it ends when its parent does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = RefineConfig.model_validate_json(config_json)
    mine = planned(config)[worker :: config.jobs]
    try:
        for _ in refined_in_turn(config, mine, make_model(config)):
            pass
    except SoleError as error:
        raise SystemExit(error.exit_code) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(3)
