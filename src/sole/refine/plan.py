"""All refinements of a command: in turn, or several at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue

from sole.errors import ConfigError, SimError, SoleError
from sole.refine.config import RefineConfig
from sole.refine.raw import check_kept, keep, read_kept
from sole.refine.run import RESULT_FILE, Refined, check_continued, refine, run_folder
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.rl.env_reward import ENV, EnvReward, check_task
from sole.rl.tasks import make_task
from sole.run import check_model
from sole.sims.base import TaskEnv

#: A task and a seed.
Planned = tuple[str, int]
_POLL_S = 0.2


def planned(config: RefineConfig) -> list[Planned]:
    """Every task with every seed, task by task.

    Raises:
        ConfigError: If a task is named twice.
    """
    if len(set(config.tasks)) < len(config.tasks):
        raise ConfigError(f"tasks: one of {', '.join(config.tasks)} is named twice")
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    return [(task, seed) for task in config.tasks for seed in seeds]


def make_model(config: RefineConfig) -> RewardModel:
    """What judges; for ``env`` nobody does.

    Raises:
        ConfigError: If there is no such model, or it cannot judge running episodes; for ``env`` if
            a task pays nothing, or a setting needs a judge.
    """
    if config.reward == ENV:
        for task in config.tasks:
            check_task(task)
        if config.calibration or config.caution:
            raise ConfigError("reward env: judges nothing; leave calibration and caution out")
        return EnvReward()
    model = load_reward_model(
        config.reward,
        think="always" if config.think else "fast",
        from_zero_weight=config.from_zero_weight,
        calibration=config.calibration,
    )
    if getattr(model, "needs_whole_episode", False):
        raise ConfigError(
            f"reward {config.reward}: looks at whole episodes, and here they are judged while they "
            "run; gvl-causal can do that"
        )
    return model


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
                envs, of_task = _envs(config, task), task
            refined = refine(config, task, seed, envs, model)
            keep(config, refined, model.model_id)
            yield refined
        advance(1)


def _envs(config: RefineConfig, task: str) -> list[TaskEnv]:
    relative = config.relative_state
    return [make_task(task, place, relative_state=relative) for place in range(config.n_envs)]


def run_side_by_side(
    config: RefineConfig,
    plan: Sequence[Planned],
    model_id: str,
    advance: Callable[[float], None],
) -> None:
    """Run what is missing in ``config.jobs`` processes, each its share.

    Raises:
        ConfigError: If what is there is of other settings or weights, or a run says so.
        SimError: If a process ended before its share was done.
    """
    missing = _missing(config, plan, model_id)
    advance(len(plan) - len(missing))
    context = multiprocessing.get_context("spawn")
    reasons: SimpleQueue[tuple[int, str]] = context.SimpleQueue()
    shares = [missing[k :: config.jobs] for k in range(min(config.jobs, len(missing)))]
    text = config.model_dump_json()
    workers = [
        context.Process(target=_work, args=(text, share, reasons), daemon=True) for share in shares
    ]
    for worker in workers:
        worker.start()
    told = 0
    while any(worker.is_alive() for worker in workers):
        time.sleep(_POLL_S)
        finished = sum(_is_finished(config, one) for one in missing)
        advance(finished - told)
        told = finished
    if codes := [worker.exitcode for worker in workers if worker.exitcode]:
        code, reason = (codes[0], "") if reasons.empty() else reasons.get()
        if code == ConfigError.exit_code:
            raise ConfigError(reason)
        said = reason or f"a process ended with code {code}"
        raise SimError(f"{said}; the same command goes on from the last checkpoints")


def _missing(config: RefineConfig, plan: Sequence[Planned], model_id: str) -> list[Planned]:
    kept = read_kept(config)
    check_kept(config, model_id, kept)
    for one in plan:
        check_continued(run_folder(config, *one), config)
        check_model(run_folder(config, *one), model_id)
    return [one for one in plan if one not in kept and not _is_finished(config, one)]


def _is_finished(config: RefineConfig, one: Planned) -> bool:
    return (run_folder(config, *one) / RESULT_FILE).exists()


def _work(
    config_json: str, share: Sequence[Planned], reasons: SimpleQueue[tuple[int, str]]
) -> None:
    """Every run of a share; it ends when its parent does, which alone is told of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    config = RefineConfig.model_validate_json(config_json)
    try:
        for _ in refined_in_turn(config, share, make_model(config)):
            pass
    except SoleError as error:
        reasons.put((error.exit_code, str(error)))
        raise SystemExit(error.exit_code) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(3)
