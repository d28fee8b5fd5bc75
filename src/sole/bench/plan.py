"""Which runs a sweep consists of, where each lies, and whether it is finished."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from pydantic import ValidationError

from sole.bench.config import RlBenchConfig
from sole.errors import ConfigError, DataError
from sole.rl.config import RlConfig
from sole.rl.env_reward import check_settings
from sole.rl.envs import has_truth
from sole.rl.tasks import make_task
from sole.run import newest_step, write_atomically

PLAN_FILE, RESULT_FILE = "plan.json", "result.json"
#: Settings that do not change what a finished run is.
_NOT_COMPARED = frozenset({"run_dir", "tensorboard", "threads"})


class Finished(TypedDict):
    """What result.json holds: the settings a run was finished with, and its last evaluation."""

    config: dict[str, Any]
    last_evaluation: dict[str, Any]


def plan_runs(config: RlBenchConfig) -> list[RlConfig]:
    """Settings of every run, all tasks and rewards of a seed before the next seed.

    Raises:
        ConfigError: If a setting is wrong, or two names would share a folder.
    """
    for names, what in ((config.tasks, "tasks"), (config.rewards, "rewards")):
        if len({_folder_name(name) for name in names}) < len(names):
            raise ConfigError(f"{what}: two of {', '.join(names)} are the same or share a folder")
    others = config.seeds if config.other_seeds is None else config.other_seeds
    return [
        _plan(config, task, reward, config.first_seed + number)
        for number in range(max(config.seeds, others))
        for task in config.tasks
        for reward in config.rewards
        if number < (config.seeds if reward == config.rewards[0] else others)
    ]


def _plan(config: RlBenchConfig, task: str, reward: str, seed: int) -> RlConfig:
    folder = config.out / "runs" / _folder_name(task) / _folder_name(reward) / f"seed{seed}"
    own = {"env": task, "reward": reward, "seed": seed, "run_dir": folder, "threads": 1}
    try:
        run = RlConfig.model_validate({**config.settings_of(task), **own})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{task}: {name}: {first['msg']} (got {first.get('input')!r}); these are settings of "
            "sole rl"
        ) from error
    check_settings(run)
    return run


def _folder_name(name: str) -> str:
    """A name as one folder.

    Example:
        >>> _folder_name("metaworld/door-close"), _folder_name("constant:50")
        ('metaworld.door-close', 'constant-50')
    """
    return re.sub(r"[^\w.@+-]+", "-", name.strip("/").replace("/", "."))


def write_plan(run: RlConfig) -> None:
    """Put a run's settings where its worker reads them."""
    run.run_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(run.run_dir / PLAN_FILE, run.model_dump_json(indent=1))


def finished_as(run: RlConfig) -> Finished | None:
    """The result of a run that was finished with these very settings, or None.

    Raises:
        DataError: If it cannot be read.
    """
    path = run.run_dir / RESULT_FILE
    if not path.exists():
        return None
    try:
        found: Finished = json.loads(path.read_text())
        # A run of an older version had none of the newer settings, so it had their defaults.
        settings = RlConfig.model_validate(found["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is damaged, or of another version ({type(error).__name__}); delete the file "
            "to finish the run again from its last checkpoint"
        ) from error
    return found if compared(settings) == compared(run) else None


def compared(run: RlConfig) -> dict[str, Any]:
    """The settings that make a run what it is."""
    settings = run.model_dump(mode="json")
    return {k: v for k, v in settings.items() if k not in _NOT_COMPARED}


def unfinished(runs: Sequence[RlConfig]) -> list[RlConfig]:
    """Those that have yet to be run, or to be run to their end."""
    return [run for run in runs if finished_as(run) is None]


def check_truth(runs: Sequence[RlConfig]) -> None:
    """Refuse environments of one's own of which nothing true is known, before hours are spent.

    Raises:
        ConfigError: If a task is one, or cannot be made.
    """
    for run in {run.env: run for run in runs if ":" in run.env}.values():
        env = make_task(run.env, task=run.task, views=run.views, max_steps=run.max_steps)
        known = has_truth(env)
        env.close()
        if not known:
            raise ConfigError(
                f"{run.env}: has no truth, so there is nothing to compare rewards by; sole rl "
                "trains on it"
            )


def check_budget(runs: Sequence[RlConfig]) -> None:
    """Refuse what would make a result pass for one of another budget.

    That is fewer minutes than a run has had, and other episodes than it was begun with when its
    learning rate falls over them: a run that was continued from 192 to 384 has had two falls.

    Raises:
        ConfigError: If a run is such a one.
    """
    for run in runs:
        begun = _episodes_begun(run.run_dir)
        if begun not in {None, run.episodes} and run.learning_rate_end != 1:
            raise ConfigError(
                f"{run.run_dir}: was begun for {begun} episodes, over which its learning rate "
                f"falls, and is now to have {run.episodes}; give {begun} again, or another --out"
            )
        path, most = run.run_dir / PLAN_FILE, run.max_minutes
        if most is None or not path.exists():
            continue
        had = json.loads(path.read_text())["max_minutes"]
        if (had is None or had > most) and minutes_spent(run.run_dir) > most:
            raise ConfigError(
                f"{run.run_dir}: has trained for {minutes_spent(run.run_dir):.1f} minutes already, "
                f"and max_minutes is now {most:g}; give at least as much as before, or another "
                "--out"
            )


def _episodes_begun(run_dir: Path) -> int | None:
    path = run_dir / "config.json"
    return int(json.loads(path.read_text())["episodes"]) if path.exists() else None


def minutes_spent(run_dir: Path) -> float:
    """Minutes of the work that a resumed run keeps: all timed parts up to its last checkpoint."""
    kept = _kept_lines(run_dir)
    return sum(v for line in kept for k, v in line.items() if k.endswith("_seconds")) / 60


def last_evaluation(run_dir: Path) -> dict[str, Any] | None:
    """The evaluation at a run's last checkpoint, or None when there is none."""
    evals = [line for line in _kept_lines(run_dir) if line["kind"] == "eval"]
    step = newest_step(run_dir)
    return evals[-1] if evals and evals[-1]["episode"] == step else None


def _kept_lines(run_dir: Path) -> list[dict[str, Any]]:
    path, step = run_dir / "metrics.jsonl", newest_step(run_dir)
    if not path.exists():
        return []
    whole, _, _cut_off = path.read_text().rpartition("\n")  # a kill may cut the last line
    lines = [json.loads(line) for line in whole.splitlines() if line.strip()]
    return [line for line in lines if line["episode"] <= step]
