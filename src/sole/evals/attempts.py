"""``sole eval attempts``: which reward would have led agents to what was truly better?

It orders what agents of finished runs did, in minutes, where trying a reward in ``sole rl`` takes
hours. It is no proof that an agent learns with it: another reward leads to other attempts.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import stdout
from sole.data.attempt_table import write_attempt_table
from sole.data.episode import Episode, EpisodeScore
from sole.errors import ConfigError
from sole.evals.attempt_films import chosen_attempts, film
from sole.evals.figures import Figure, record_figures
from sole.evals.labelled import judge
from sole.evals.metrics import bootstrap_interval
from sole.evals.output import finite, make_room
from sole.evals.selection import Selection, select
from sole.progress.caution import lower_bound, uncertainties
from sole.progress.reward import hold_last_valid
from sole.protocol.chain import interpolate_scores, scored_frames
from sole.rewarders.base import RewardModel
from sole.rewarders.ensemble import EnsembleRewardModel
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically

_MEASURES = ("return_spearman", "final_spearman", "gain")


class AttemptsConfig(Config):
    """Judge what RL agents did, and see whether the better attempts are judged better."""

    runs: tuple[Path, ...]
    """Folders of sole rl or sole bench rl, or a file of attempts that --keep wrote."""
    models: tuple[str, ...] = ("nano",)
    """Reward models, anything that sole models list shows."""
    per_run: int = Field(default=20, gt=1)
    """Attempts of a run, evenly spaced from its first to its last."""
    score_every: int = Field(default=2, gt=0)
    """Judge a picture every this many decisions, as sole rl does."""
    from_zero_weight: float = Field(default=0.25, ge=0, le=1)
    """Share of the read that knows no earlier number."""
    think: bool = False
    """Judge with reasoning."""
    copies: int = Field(default=1, gt=0)
    """Judge each film this many times, shifted and recoloured a little; the mean counts."""
    caution: float = Field(default=0.0, ge=0)
    """Take this many times its uncertainty off the judged progress."""
    cache: Path = Path("runs/eval-cache")
    """Where films are kept."""
    batch: int = Field(default=8, gt=0)
    """Films judged together."""
    threads: int = Field(default=2, gt=0)
    """CPU threads."""
    keep: Path | None = None
    """Also write the chosen attempts here (parquet), to be judged again where the runs are not."""
    out: Path | None = None
    """Also write everything measured as JSON here."""
    prefix: str = "attempts"
    """Name of the figures, which are of the first model."""
    figures: Path | None = None
    """Record the numbers in this figures file."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


def run_attempts(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval attempts``."""
    config = parse_config(AttemptsConfig, argv, "sole eval attempts")
    if not config.runs or not config.models:
        raise ConfigError("expected at least one of --runs and one of --models")
    make_room(config.out)
    models = [_model(config, name) for name in config.models]
    tried = chosen_attempts(config.runs, config.per_run)
    if config.keep:
        write_attempt_table(config.keep, tried)
    films = film(tried, config.cache)
    found = {model.model_id: measure(model, films, config) for model in models}
    whole = _as_dict(found, config)
    if config.print_json:
        sys.stdout.write(json.dumps(whole, allow_nan=False) + "\n")
    else:
        _print(found)
    if config.out:
        write_atomically(config.out, json.dumps(whole, indent=1, allow_nan=False))
    if config.figures:
        first = found[models[0].model_id]
        command = " ".join(["sole eval attempts", *argv])
        record_figures(config.figures, attempt_figures(first, config.prefix), command)
    return 0


def measure(
    model: RewardModel, films: Sequence[Episode], config: AttemptsConfig
) -> dict[str, Selection]:
    """Judge all films; one result for each task.

    Args:
        model: The judge.
        films: With the truth at every moment; a task is compared with itself only.
        config: How often it looks, and how cautious it is.
    """
    frames = [scored_frames(e.n_frames, config.score_every) for e in films]
    shown = [e.subset(list(index)) for e, index in zip(films, frames, strict=True)]
    scores = judge(model, shown, config.batch, "judging")
    curves = [
        interpolate_scores(_progress(score, config.caution), index, e.n_frames)
        for e, score, index in zip(films, scores, frames, strict=True)
    ]
    names = [e.env_name for e in films]
    return {name: select(*_of_task(name, names, curves, films)) for name in dict.fromkeys(names)}


def _of_task(
    name: str, names: Sequence[str], curves: Sequence[np.ndarray], films: Sequence[Episode]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    of = [k for k, other in enumerate(names) if other == name]
    return [curves[k] for k in of], [_truth(films[k]) for k in of]


def _truth(episode: Episode) -> np.ndarray:
    assert episode.truth is not None
    return episode.truth.true_progress


def _progress(score: EpisodeScore, caution: float) -> np.ndarray:
    held = hold_last_valid(score.judged_progress)
    return lower_bound(held, uncertainties(score), caution) if caution else held


def _model(config: AttemptsConfig, name: str) -> RewardModel:
    import torch

    torch.set_num_threads(config.threads)
    think = "always" if config.think else "fast"
    model = load_reward_model(name, think=think, from_zero_weight=config.from_zero_weight)
    if config.copies == 1:
        return model
    if name == "oracle":
        raise ConfigError("the oracle knows the truth: it takes no copies")
    return EnsembleRewardModel([model], config.copies)


def means(found: Mapping[str, Selection]) -> dict[str, tuple[float, float, float]]:
    """Each measure as its mean over tasks with a 95 percent interval; NaN where none is known.

    One task has no interval: tasks are what is drawn.
    """
    table = {n: np.array([getattr(s, n) for s in found.values()]) for n in _MEASURES}
    known = {name: values[~np.isnan(values)] for name, values in table.items()}
    return {
        name: (
            float(v.mean()) if len(v) else math.nan,
            *(bootstrap_interval(v) if len(v) > 1 else (math.nan, math.nan)),
        )
        for name, v in known.items()
    }


def attempt_figures(found: Mapping[str, Selection], prefix: str) -> list[Figure]:
    """``PREFIX.return_spearman``, ``.final_spearman`` and ``.selection_gain``."""
    names = {"gain": "selection_gain"}
    return [
        Figure(f"{prefix}.{names.get(name, name)}", value, "fraction", finite(low), finite(high))
        for name, (value, low, high) in means(found).items()
        if not np.isnan(value)
    ]


def _as_dict(
    found: Mapping[str, Mapping[str, Selection]], config: AttemptsConfig
) -> dict[str, Any]:
    rows = {
        model_id: {
            "means": {n: dict(zip(("value", "low", "high"), v, strict=True))
                      for n, v in means(tasks).items()},
            "tasks": {task: {**asdict(s), "gain": s.gain} for task, s in tasks.items()},
        }
        for model_id, tasks in found.items()
    }  # fmt: skip
    return finite({"models": rows, "config": config.model_dump(mode="json")})


def _print(found: Mapping[str, Mapping[str, Selection]]) -> None:
    for model_id, tasks in found.items():
        table = Table(title=model_id, caption="means over tasks, 95 % intervals over tasks")
        table.add_column("task", no_wrap=True)
        for name in ("attempts", "rank of return", "rank of end", "gain", "preferred/all/best"):
            table.add_column(name, justify="right")
        for name, s in tasks.items():
            ranks = [_number(v) for v in (s.return_spearman, s.final_spearman, s.gain)]
            true = f"{s.preferred:.0f}/{s.all:.0f}/{s.best:.0f}"
            table.add_row(name, str(s.n), *ranks, true)
        all_tasks = [_interval(*v) for v in means(tasks).values()]
        table.add_section()
        table.add_row("mean", str(sum(s.n for s in tasks.values())), *all_tasks, "")
        stdout.print(table)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _interval(value: float, low: float, high: float) -> str:
    return _number(value) if np.isnan(low) else f"{value:.2f} \\[{low:.2f}, {high:.2f}]"
