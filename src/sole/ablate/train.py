"""One training of one ablation: its episodes, its two stages, what is measured of the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sole.ablate.config import AblateConfig, AblationConfig
from sole.ablate.results import (
    begin,
    check_begun,
    check_data,
    finish,
    finished,
    folder_of,
    keep,
)
from sole.bench.verdict import is_hacked
from sole.data.lerobot_reader import open_dataset, read_episodes
from sole.errors import ConfigError
from sole.evals.figures import load_figures
from sole.evals.labelled import labelled_episodes, labelled_judge
from sole.evals.output import make_room
from sole.evals.quality import QualityConfig, measure
from sole.evals.result import result_figures
from sole.rl.config import RlConfig
from sole.run import make_folder
from sole.sims.registry import split_of
from sole.train import rlvr_nano, sft
from sole.train.episodes import keep_on_disk, prepare
from sole.train.examples import ExampleSettings
from sole.train.rlvr import RlvrConfig
from sole.train.run_dir import refuse_held_out_data
from sole.train.sft import SftConfig

_TINY_SFT: dict[str, Any] = {
    "steps": 2, "episodes_per_batch": 2, "hidden_size": 32, "n_layers": 1, "vocab_size": 700,
    "pretrained_encoder": False,
}  # fmt: skip
_TINY_RLVR: dict[str, Any] = {
    "steps": 1, "prompts_per_step": 2, "group_size": 2, "fast_group_size": 2, "max_new_tokens": 8,
}  # fmt: skip
_TINY_RL: dict[str, Any] = {"updates_per_episode": 1, "n_envs": 2, "random_episodes": 2}
_TINY_EPISODES = 6


#: What a preset may change of how moments are drawn.
_CHANGEABLE = {field.name for field in fields(ExampleSettings) if field.type in ("float", float)}


def check(config: AblateConfig, ablations: Sequence[AblationConfig]) -> None:
    """Refuse, before the first of many hours, what a later training would stop at.

    Ablations that are finished need no data.

    Raises:
        ConfigError: If a task is unknown, a setting of a preset is none, an ablation has no
            episode or one that is held out, a folder holds another one of its name, or what comes
            out cannot be written.
        DataError: If a folder is no dataset, or a file to add to is damaged.
    """
    for task in (*config.tasks, *(config.rl_tasks if config.rl_episodes else ())):
        split_of(task)
    for path in (config.raw, config.figures, config.page):
        make_room(path)
    if config.figures:
        load_figures(config.figures)
    check_data(config, ablations)
    for one in ablations:
        if unknown := sorted(set(one.example_settings) - _CHANGEABLE):
            raise ConfigError(
                f"ablation {one.name}: example_settings has no {', '.join(unknown)}; expected "
                f"{', '.join(sorted(_CHANGEABLE))}"
            )
        seeds = range(min(config.seeds, one.max_seeds or config.seeds))
        missing = [seed for seed in seeds if not finished(config, one, seed)]
        for seed in missing:
            check_begun(config, one, seed)
        if missing:
            make_folder(config.out / one.name)
            folders = (*one.data, *one.negatives)
            refuse_held_out_data(folders)
            chosen([open_dataset(folder).episodes for folder in folders], one, 0, config.tiny)


def run(config: AblateConfig, ablation: AblationConfig, seed: int) -> dict[str, float]:
    """Train and measure, unless it was done before.

    Returns:
        ``spearman`` and ``auc`` on the labelled episodes, ``hacked`` over the agents.

    Raises:
        ConfigError: If no episode is left, or the folder holds another ablation of this name, or
            one of other data.
    """
    if found := finished(config, ablation, seed):
        keep(config, ablation, seed)
        return found
    begin(config, ablation, seed)
    folder = folder_of(config, ablation, seed)
    model = train(config, ablation, seed, folder)
    result = {**_quality(config, model), "hacked": _hacked(config, model, seed, folder)}
    finish(config, ablation, seed, result)
    return result


def train(config: AblateConfig, ablation: AblationConfig, seed: int, folder: Path) -> Path:
    """Both stages; the folder of the finished model."""
    folders = (*ablation.data, *ablation.negatives)
    refuse_held_out_data(folders)
    episodes = keep_on_disk(prepare(_read(folders, ablation, seed, config.tiny)), folder)
    changes = ablation.example_settings
    small: Mapping[str, Any] = _TINY_SFT if config.tiny else {}
    supervised = SftConfig(
        data=folders, run_dir=folder / "sft", seed=seed, threads=config.threads,
        **{"steps": ablation.sft_steps, "think_share": ablation.think_share, **small},
    )  # fmt: skip
    model = sft.train(supervised, episodes=episodes, changes=changes)
    if not ablation.rlvr_steps:
        return model
    small = _TINY_RLVR if config.tiny else {}
    rewarded = RlvrConfig(
        data=folders, run_dir=folder / "rlvr", init=str(model), seed=seed, held_aside=0,
        threads=config.threads, modes=("think", "fast") if ablation.think_share else ("fast",),
        **{"steps": ablation.rlvr_steps, **small},
    )  # fmt: skip
    return rlvr_nano.train(rewarded, episodes=episodes, changes=changes)


def _read(
    folders: Sequence[Path], ablation: AblationConfig, seed: int, tiny: bool
) -> Iterator[Any]:
    wanted = chosen([open_dataset(folder).episodes for folder in folders], ablation, seed, tiny)
    for folder, indices in zip(folders, wanted, strict=True):
        if indices:
            yield from read_episodes(folder, indices)


def chosen(
    rows: Sequence[Sequence[Mapping[str, Any]]], ablation: AblationConfig, seed: int, tiny: bool
) -> list[list[int]]:
    """Which episodes of each data set are trained on.

    Raises:
        ConfigError: If none is.

    Example:
        >>> rows = [[{"env_name": "worlds/drawer-open", "policy": "expert"},
        ...          {"env_name": "worlds/door-open", "policy": "random"}]]
        >>> experts = AblationConfig(name="x", about="", policies=("expert",), negatives=())
        >>> chosen(rows, experts, 0, False)
        [[0]]
    """
    fitting = [
        (place, index)
        for place, part in enumerate(rows)
        for index, row in enumerate(part)
        if _fits(row, ablation)
    ]
    n = _TINY_EPISODES if tiny else ablation.n_episodes
    kept = _drawn(fitting, len(rows) - len(ablation.negatives), n, ablation.negative_share, seed)
    if not kept:
        raise ConfigError(f"ablation {ablation.name}: no episode of --data is left")
    return [
        [index for index in range(len(part)) if (place, index) in kept]
        for place, part in enumerate(rows)
    ]


def _drawn(
    fitting: Sequence[tuple[int, int]], n_data: int, n: int, share: float, seed: int
) -> set[tuple[int, int]]:
    """At most ``n`` episodes, at most ``share`` of them from the folders after ``n_data``."""
    rng = np.random.default_rng(seed)
    usual = [one for one in fitting if one[0] < n_data]
    negatives = [one for one in fitting if one[0] >= n_data]
    n_negatives = min(len(negatives), round(share * n), int(share * len(usual) / (1 - share)))
    n_usual = min(n - n_negatives, len(usual))
    kept = [usual[k] for k in rng.choice(len(usual), n_usual, replace=False).tolist()]
    kept += [negatives[k] for k in rng.choice(len(negatives), n_negatives, replace=False).tolist()]
    return set(kept)


def _fits(row: Mapping[str, Any], ablation: AblationConfig) -> bool:
    family = str(row.get("env_name", "")).rpartition("/")[2].partition("-")[0]
    kind = row.get("policy")
    return (not ablation.policies or kind in ablation.policies) and (
        not ablation.families or family in ablation.families
    )


def _quality(config: AblateConfig, model: Path) -> dict[str, float]:
    asked = QualityConfig.model_validate(
        {
            "model": str(model), "split": "dev", "tasks": config.tasks, "controls": False,
            "episodes_per_task": config.episodes_per_task, "threads": config.threads,
        }
    )  # fmt: skip
    row = measure(labelled_judge(asked), labelled_episodes(asked, asked.split), asked)
    found = {figure.name: figure.value for figure in result_figures({"": row}, "dev")}
    return {name: found[f"dev.{name}"] for name in ("spearman", "auc")}


def _hacked(config: AblateConfig, model: Path, seed: int, folder: Path) -> float:
    """Share of agents that are judged successful and are not; NaN without agents."""
    from sole.rl.train import train as train_agent

    verdicts = []
    for task in config.rl_tasks if config.rl_episodes else ():
        small: Mapping[str, Any] = {**_TINY_RL, "eval_episodes": 2} if config.tiny else {}
        last = train_agent(
            RlConfig(
                env=task, run_dir=folder / "rl" / task.replace("/", "-"), reward=str(model),
                episodes=config.rl_episodes, seed=seed, threads=config.threads, **small,
            )
        )  # fmt: skip
        verdicts.append(is_hacked(last["judged_success"], last["true_success"]))
    return sum(verdicts) / len(verdicts) if verdicts else math.nan
