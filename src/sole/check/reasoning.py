"""``sole check reasoning``: are generated texts true, and are planted lies caught?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from sole.check.output import CheckConfig, Measured, counted
from sole.config import parse_config
from sole.console import progress_bar
from sole.data.episode import Truth
from sole.data.lerobot import open_dataset
from sole.data.summary import read_truths
from sole.errors import DataError
from sole.sims.registry import task_names
from sole.synth.planted import Planted, plant
from sole.synth.spot_check import explain_moments, spread_moments

_SIZE_PX = 32  # nobody looks at these pictures


class ReasoningConfig(CheckConfig):
    """Plant false claims in generated reasoning and count those that the checker catches."""

    data: tuple[Path, ...] = ()
    """Data sets whose facts are spoken of; without any, episodes are simulated."""
    episodes: int = Field(60, gt=0)
    """Episodes drawn or simulated."""
    planted: int = Field(500, gt=0)
    """False claims to be planted, each in a text of its own."""
    moments: int = Field(16, gt=1)
    """Frames of each episode that are spoken of."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole check reasoning``."""
    config = parse_config(ReasoningConfig, argv, "sole check reasoning")
    return counted("reasoning", config, check, argv)


def check(config: ReasoningConfig) -> tuple[list[Measured], dict[str, Any]]:
    """Measure both rates.

    Raises:
        DataError: If the episodes do not have enough moments to plant so many claims.
    """
    rng = np.random.default_rng(config.seed)
    told = list(_recorded(config, rng) if config.data else _simulated(config, rng))
    verdicts = _verdicts(told, config.moments, rng)
    lies = _planted(told, config, rng)
    missed = Counter(f"{lie.kind} {lie.value}" for lie in lies if not lie.caught)
    decided = verdicts["True"] + verdicts["False"]
    measured = [
        Measured("reasoning.planted_caught", sum(lie.caught for lie in lies), len(lies)),
        Measured("reasoning.true_rate", verdicts["True"], decided),
    ]
    return measured, {
        "episodes": len(told),
        "planted_kinds": dict(sorted(Counter(lie.kind for lie in lies).items())),
        "missed": dict(sorted(missed.items())),
        "false_alarms_beside_a_planted_claim": sum(lie.others_false for lie in lies),
        "claims_undecided": verdicts["None"],
    }


def _simulated(config: ReasoningConfig, rng: np.random.Generator) -> Iterator[tuple[str, Truth]]:
    from sole.synth.collect import collect_episode
    from sole.synth.plan import plan_jobs

    ours = [n for n in task_names("train") if n.startswith(("metaworld/", "worlds/"))]
    names = [ours[int(k)] for k in rng.permutation(len(ours))]
    jobs = plan_jobs(names, config.episodes // len(names) + 1, config.seed)[: config.episodes]
    with progress_bar("simulating", total=len(jobs)) as advance:
        for job in jobs:
            made = collect_episode(
                job.env_name, job.policy, job.seed, size_px=_SIZE_PX, options=job.options
            )
            assert made.truth is not None
            yield made.task, made.truth
            advance(1)


def _recorded(config: ReasoningConfig, rng: np.random.Generator) -> Iterator[tuple[str, Truth]]:
    infos = [open_dataset(folder) for folder in config.data]
    known = [
        (info, row["episode_index"])
        for info in infos for row in info.episodes if row.get("has_facts")
    ]  # fmt: skip
    if not known:
        raise DataError(f"{', '.join(map(str, config.data))}: no episode has facts")
    drawn = rng.permutation(len(known))[: config.episodes]
    for info in infos:
        mine = [known[int(k)][1] for k in drawn if known[int(k)][0] is info]
        for index, truth in read_truths(info, mine):
            yield info.episodes[index]["tasks"][0], truth


def _verdicts(
    told: Sequence[tuple[str, Truth]], n_moments: int, rng: np.random.Generator
) -> Counter[str]:
    counts: Counter[str] = Counter()
    for task, truth in told:
        moments = spread_moments(len(truth.true_progress), n_moments)
        for one in explain_moments(task, truth, moments, rng):
            counts.update(str(verdict) for _, verdict in one.claims)
    return counts


def _planted(
    told: Sequence[tuple[str, Truth]], config: ReasoningConfig, rng: np.random.Generator
) -> list[Planted]:
    """So many lies, in moments drawn without repeats."""
    moments = [
        (task, truth, before, now)
        for task, truth in told
        for before, now in pairwise(spread_moments(len(truth.true_progress), config.moments))
    ]
    lies: list[Planted] = []
    for place in rng.permutation(len(moments)):
        task, truth, before, now = moments[int(place)]
        lie = plant(task, truth, before, now, rng)
        lies += [] if lie is None else [lie]
        if len(lies) == config.planted:
            return lies
    raise DataError(
        f"only {len(lies)} of {config.planted} claims could be planted; raise --episodes"
    )
