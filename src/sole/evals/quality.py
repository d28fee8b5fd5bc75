"""``sole eval quality``: a reward model against the truth, with rows that must not win."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import progress_bar, stdout
from sole.data.episode import Episode, EpisodeScore
from sole.data.lerobot import read_episodes
from sole.errors import ConfigError, DataError
from sole.evals import metrics
from sole.evals.collection import collect
from sole.evals.figures import Figure, record_figures
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically
from sole.sims.registry import task_names
from sole.synth.claims import hallucination_rate, judge_text

#: Metric -> (unit, decimals shown).
UNITS = {
    "spearman": ("", 2), "pearson": ("", 2), "mae": ("points", 1), "voc_expert": ("", 2),
    "vroc_expert": ("", 2), "auc": ("", 2), "falling_f1": ("", 2), "bias_success": ("points", 1),
    "bias_failure": ("points", 1), "voc_static": ("", 2), "drift_static": ("points", 1),
    "wrong_instruction_drop": ("points", 1),
}  # fmt: skip


class QualityConfig(Config):
    """Measure a reward model on simulated episodes of a split, or on a data set with truth."""

    model: str = "nano"
    """nano, a checkpoint folder, or a control: ramp, random, constant:VALUE, oracle."""
    suite: str = "metaworld"
    """Suite that is simulated."""
    split: Literal["test", "dev", "train"] = "test"
    """Which of its tasks."""
    tasks: tuple[str, ...] = ()
    """Full task names instead of a split."""
    data: Path | None = None
    """A data set with truth instead of simulation."""
    episodes_per_task: int = Field(10, gt=0)
    """Episodes of each task; ten use nine kinds of policies, experts twice."""
    n_frames: int = Field(26, gt=2)
    """Frames per episode."""
    seed: int = 900_000_000
    """First seed of the evaluation's episodes."""
    cache: Path = Path("runs/eval-cache")
    """Where simulated episodes are kept."""
    think: bool = False
    """Judge with reasoning, and check its claims."""
    from_zero_weight: float = Field(0.25, ge=0, le=1)
    """Share of the read that knows no earlier number."""
    controls: bool = True
    """Also measure the ramp and the random walk."""
    batch: int = Field(10, gt=0)
    """Episodes judged together."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    json_: bool = Field(False, alias="json")
    """Print JSON instead of a table."""
    out: Path | None = None
    """Also write everything measured as JSON here."""
    figures: Path | None = None
    """Record the means in this figures file."""
    prefix: str = ""
    """Name of the figures, for example test17."""


@dataclass(frozen=True)
class Row:
    """One model's results: per task metrics, and what is pooled over everything."""

    model_id: str
    per_task: dict[str, dict[str, float]]
    pooled: dict[str, float]

    def mean(self, name: str) -> tuple[float, float, float]:
        """Mean over tasks with its 95 percent bootstrap interval over tasks."""
        if name in self.pooled:
            low, high = (
                self.pooled.get(f"{name}_low", math.nan),
                self.pooled.get(f"{name}_high", math.nan),
            )
            return self.pooled[name], low, high
        values = np.array([task.get(name, math.nan) for task in self.per_task.values()])
        known = values[~np.isnan(values)]
        if not len(known):
            return math.nan, math.nan, math.nan
        low, high = metrics.bootstrap_interval(known)
        return float(known.mean()), low, high


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval``; the first word chooses what is evaluated."""
    verbs: dict[str, Callable[[Sequence[str]], int]] = {"quality": run_quality, "cost": _cost}
    if not argv or argv[0] not in verbs:
        if argv and argv[0] in {"-h", "--help"}:
            stdout.print(
                "usage: sole eval quality|cost [flags]; sole eval quality --help shows them"
            )
            return 0
        raise ConfigError(
            f"sole eval: expected one of {', '.join(verbs)}, got {' '.join(argv[:1])!r}"
        )
    return verbs[argv[0]](argv[1:])


def _cost(argv: Sequence[str]) -> int:
    from sole.evals.cost import run_cost

    return run_cost(argv)


def run_quality(argv: Sequence[str]) -> int:
    """Measure, print, and record."""
    config = parse_config(QualityConfig, argv, "sole eval quality")
    _set_threads(config.threads)
    episodes = _episodes(config)
    names = [config.model, *(["ramp", "random"] if config.controls else [])]
    rows = [measure(_model(name, config), episodes, config) for name in names]
    result = {"rows": [vars(row) for row in rows], "config": json.loads(config.model_dump_json())}
    if config.json_:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        stdout.print(summary_table(rows))
        stdout.print(task_table(rows[0]))
    if config.out:
        write_atomically(config.out, json.dumps(result, indent=1))
    if config.figures:
        record_figures(config.figures, _figures(rows, config), _command(argv))
    return 0


def measure(model: RewardModel, episodes: Sequence[Episode], config: QualityConfig) -> Row:
    """Score the episodes and their controls (static, reversed, wrong instruction)."""
    began, calls = time.perf_counter(), model.costs.model_calls
    scores = _score(model, episodes, config, "scoring")
    seconds, calls = time.perf_counter() - began, model.costs.model_calls - calls
    tasks = sorted({e.env_name for e in episodes})
    controls = _controls(model, episodes, config)
    per_task = {}
    for task in tasks:
        mine = [(e, s) for e, s in zip(episodes, scores, strict=True) if e.env_name == task]
        per_task[task] = {**_task_metrics(mine), **controls[task]}
    pooled = _pooled(episodes, scores, config)
    n_frames = sum(e.n_frames - 1 for e in episodes)
    pooled |= {"ms_per_frame": 1000 * seconds / n_frames, "model_calls": float(calls)}
    return Row(model.model_id, per_task, pooled)


def _score(
    model: RewardModel, episodes: Sequence[Episode], config: QualityConfig, what: str
) -> list[EpisodeScore]:
    privileged = config.model == "oracle" and model.model_id.startswith("oracle")
    scores: list[EpisodeScore] = []
    with progress_bar(f"{what} ({model.model_id})", total=len(episodes)) as advance:
        for start in range(0, len(episodes), config.batch):
            part = episodes[start : start + config.batch]
            scores += model.score(part if privileged else [e.without_truth() for e in part])
            advance(len(part))
    return scores


def _held(score: EpisodeScore) -> np.ndarray:
    """Judged progress with failed reads held at the last valid one, as an agent would get it."""
    values = score.judged_progress.copy()
    for t in range(1, len(values)):
        if np.isnan(values[t]):
            values[t] = values[t - 1]
    return np.nan_to_num(values)


def _task_metrics(pairs: list[tuple[Episode, EpisodeScore]]) -> dict[str, float]:
    rows = []
    for episode, score in pairs:
        assert episode.truth is not None
        judged, true = _held(score), episode.truth.true_progress
        moving = float(np.ptp(true)) > 1e-6
        row = {
            "spearman": metrics.spearman(judged, true) if moving else math.nan,
            "pearson": metrics.pearson(judged, true) if moving else math.nan,
            "mae": metrics.mae(judged, true),
            "falling_f1": metrics.falling_f1(judged, true),
            "bias_success": _bias(judged, true, success=True),
            "bias_failure": _bias(judged, true, success=False),
        }
        if episode.policy == "expert" and episode.truth.any_success:
            row["voc_expert"] = metrics.voc(judged[: int(episode.truth.true_success.argmax()) + 1])
        rows.append(row)
    names = {name for row in rows for name in row}
    return {name: _nanmean([row.get(name, math.nan) for row in rows]) for name in sorted(names)}


def _bias(judged: np.ndarray, true: np.ndarray, *, success: bool) -> float:
    chosen = (true >= 100.0) == success
    return float(np.mean((judged - true)[chosen])) if chosen.any() else math.nan


def _controls(
    model: RewardModel, episodes: Sequence[Episode], config: QualityConfig
) -> dict[str, dict[str, float]]:
    """One successful expert per task: frozen at its first frame, backwards, and mis-instructed."""
    experts = {e.env_name: e for e in reversed(episodes) if e.policy == "expert" and _succeeds(e)}
    found: dict[str, dict[str, float]] = {e.env_name: {} for e in episodes}
    for task, episode in experts.items():
        last = _first_success(episode)
        forward = episode.subset(np.arange(last + 1))
        static = episode.subset(np.zeros(episode.n_frames, int))
        backward = episode.subset(np.arange(last, -1, -1))
        wrong = replace(forward, task=_other_task(episode, episodes), truth=None)
        parts = [static, backward, wrong, forward]
        quick = replace_think(model)
        still, back, mistaken, right = (_held(s) for s in _score(quick, parts, config, task))
        found[task] = {
            "voc_static": abs(metrics.voc(np.round(still, 1))),
            "drift_static": metrics.drift(still),
            "vroc_expert": metrics.voc(back),
            "wrong_instruction_drop": float(right[-1] - mistaken[-1]),
        }
    return found


def replace_think(model: RewardModel) -> RewardModel:
    """Controls are read without words: they measure numbers, and words cost ten times more."""
    fast = getattr(model, "fast", None)
    return fast() if fast else model


def _pooled(
    episodes: Sequence[Episode], scores: Sequence[EpisodeScore], config: QualityConfig
) -> dict[str, float]:
    labels = np.array([_succeeds(e) for e in episodes])
    peaks = np.array([_held(s).max() for s in scores])
    order = np.arange(len(labels))
    low, high = metrics.bootstrap_interval(
        order, statistic=lambda i: metrics.roc_auc(peaks[i.astype(int)], labels[i.astype(int)])
    )
    pooled = {"auc": metrics.roc_auc(peaks, labels), "auc_low": low, "auc_high": high}
    pooled |= {"n_episodes": float(len(episodes)), "n_success": float(labels.sum())}
    judged = [s for score in scores for s in score.steps[1:] if s.scored]
    pooled["n_steps"] = float(len(judged))
    pooled["parse_rate"] = float(np.mean([s.error is None for s in judged])) if judged else math.nan
    pooled |= _claims(episodes, scores) if config.think else {}
    return pooled


def _claims(episodes: Sequence[Episode], scores: Sequence[EpisodeScore]) -> dict[str, float]:
    """Check every claim of every reasoning against the simulator's facts."""
    verdicts: list[bool | None] = []
    for episode, score in zip(episodes, scores, strict=True):
        facts = episode.truth.facts if episode.truth else ()
        for t, step in enumerate(score.steps):
            if facts and step.reasoning:
                told = judge_text(step.reasoning, facts[t - 1], facts[t], first=facts[0])
                verdicts += [verdict for _, verdict in told]
    checked = [v for v in verdicts if v is not None]
    return {"hallucination": hallucination_rate(verdicts), "n_claims": float(len(checked))}


def _episodes(config: QualityConfig) -> list[Episode]:
    if config.data is not None:
        episodes = list(read_episodes(config.data))
        if any(e.truth is None for e in episodes):
            raise DataError(f"{config.data}: episodes without true progress cannot be evaluated on")
        return episodes
    names = config.tasks or tuple(
        n for n in task_names(config.split) if n.startswith(config.suite + "/")
    )
    if not names:
        raise ConfigError(f"suite {config.suite!r} has no tasks in split {config.split!r}")
    return collect(names, config.episodes_per_task, config.seed, config.cache, config.n_frames)


def _model(name: str, config: QualityConfig) -> RewardModel:
    think = "always" if config.think else "fast"
    return load_reward_model(name, think=think, from_zero_weight=config.from_zero_weight)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _succeeds(episode: Episode) -> bool:
    return episode.truth is not None and episode.truth.any_success


def _first_success(episode: Episode) -> int:
    assert episode.truth is not None
    return max(int(episode.truth.true_success.argmax()), 2)


def _other_task(episode: Episode, episodes: Sequence[Episode]) -> str:
    """The next task of the set in alphabetical order, another one than the episode's."""
    tasks = sorted({e.task for e in episodes})
    return tasks[(tasks.index(episode.task) + len(tasks) // 2) % len(tasks)]


def _nanmean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def summary_table(rows: Sequence[Row]) -> Table:
    """Models side by side: mean over tasks [95 percent interval]."""
    table = Table("metric", *[row.model_id for row in rows], title="mean over tasks [95% interval]")
    for name, (unit, digits) in UNITS.items():
        cells = [_cell(*row.mean(name), digits) for row in rows]
        table.add_row(f"{name} {unit}".strip(), *cells)
    for name in (
        "parse_rate",
        "hallucination",
        "n_steps",
        "n_claims",
        "ms_per_frame",
        "n_episodes",
    ):
        cells = [
            f"{row.pooled[name]:.4g}" if name in row.pooled else "not measured" for row in rows
        ]
        table.add_row(name, *cells)
    return table


def task_table(row: Row) -> Table:
    """One model's metrics per task."""
    table = Table("task", *UNITS, title=row.model_id)
    for task, found in row.per_task.items():
        cells = [
            _cell(found.get(n, math.nan), math.nan, math.nan, d) for n, (_, d) in UNITS.items()
        ]
        table.add_row(task.partition("/")[2], *cells)
    return table


def _cell(value: float, low: float, high: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if math.isnan(low) else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def _figures(rows: Sequence[Row], config: QualityConfig) -> list[Figure]:
    prefix = config.prefix or f"{config.suite}-{config.split}"
    figures = []
    for row, part in zip(rows, ("", "ramp.", "random."), strict=False):
        for name, (unit, _) in UNITS.items():
            value, low, high = row.mean(name)
            figures.append(Figure(f"{prefix}.{part}{name}", value, unit, low, high))
    if config.think:
        pooled = rows[0].pooled
        figures.append(Figure("nano.parse_rate", pooled["parse_rate"], "share"))
        figures.append(Figure("nano.hallucination", pooled["hallucination"], "share"))
        figures.append(Figure("nano.n_steps_checked", pooled["n_steps"], "steps"))
    return figures


def _command(argv: Sequence[str]) -> str:
    return " ".join(["sole eval quality", *argv])
