"""``sole eval quality``: a reward model against the truth, with rows that must not win."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from sole.config import parse_config
from sole.console import stdout
from sole.data.episode import Episode, EpisodeScore, Truth
from sole.errors import ConfigError
from sole.evals import metrics
from sole.evals.figures import record_figures
from sole.evals.labelled import LabelledConfig, judge, labelled_episodes, labelled_judge
from sole.evals.output import make_room
from sole.evals.per_episode import (
    episode_metrics,
    first_success,
    held,
    moves,
    succeeds,
    success_score,
    table_row,
    write_episode_table,
)
from sole.evals.result import Row, result_figures, result_json, summary_table, task_table
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically
from sole.synth.claims import hallucination_rate, judge_text

#: Rows beside every model: time alone, chance, and a model that says that nothing ever moves.
CONTROLS = ("ramp", "random", "constant:0")


class QualityConfig(LabelledConfig):
    """Measure a reward model on simulated episodes of a split, or on a data set with truth."""

    split: Literal["test", "dev", "train"] = "test"
    """Which of the suite's tasks."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model; its calibrated numbers are measured."""
    controls: bool = True
    """Also measure the ramp, the random walk and the constant 0."""
    out: Path | None = None
    """Also write everything measured as JSON here, and NAME.episodes.parquet beside it."""
    prefix: str = ""
    """Name of the figures, for example test17."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval``; the first word chooses what is evaluated."""
    verbs: dict[str, Callable[[Sequence[str]], int]] = {
        "quality": run_quality, "robustness": _robustness, "cost": _cost,
    }  # fmt: skip
    if argv and argv[0] in {"-h", "--help"}:
        sys.stdout.write(
            "usage: sole eval quality|robustness|cost [flags]; sole eval WHAT --help shows them\n"
        )
        return 0
    if not argv or argv[0] not in verbs:
        raise ConfigError(f"expected one of {', '.join(verbs)}, got {' '.join(argv[:1])!r}")
    return verbs[argv[0]](argv[1:])


def _robustness(argv: Sequence[str]) -> int:
    from sole.evals.robustness import run_robustness

    return run_robustness(argv)


def _cost(argv: Sequence[str]) -> int:
    from sole.evals.cost import run_cost

    return run_cost(argv)


def run_quality(argv: Sequence[str]) -> int:
    """Measure, print, and record."""
    config = parse_config(QualityConfig, argv, "sole eval quality")
    make_room(config.out)
    models = [labelled_judge(config, config.calibration)]
    models += [load_reward_model(name) for name in (CONTROLS if config.controls else [])]
    episodes = labelled_episodes(config, config.split)
    rows = [measure(model, episodes, config) for model in models]
    settings = config.model_dump_json()
    if config.print_json:
        sys.stdout.write(result_json(rows, settings) + "\n")
    else:
        stdout.print(summary_table(rows))
        stdout.print(task_table(rows[0]))
    if config.out:
        write_atomically(config.out, result_json(rows, settings, indent=1))
        table = [line for row in rows for line in row.per_episode]
        write_episode_table(config.out.with_suffix(".episodes.parquet"), table)
    if config.figures:
        prefix = config.prefix or f"{config.suite}-{config.split}"
        record_figures(config.figures, result_figures(rows, prefix), _command(argv))
    return 0


def measure(model: RewardModel, episodes: Sequence[Episode], config: QualityConfig) -> Row:
    """Score the episodes and their controls (static, reversed, wrong instruction)."""
    began, calls = time.perf_counter(), model.costs.model_calls
    scores = judge(model, episodes, config.batch, "scoring")
    seconds, calls = time.perf_counter() - began, model.costs.model_calls - calls
    tasks = sorted({e.env_name for e in episodes})
    # Like the agent's, the clock covers the plain scoring only, not the controls that follow.
    controls = _controls(model, episodes, config)
    found = [episode_metrics(e, s) for e, s in zip(episodes, scores, strict=True)]
    sure = np.array([success_score(held(s)) for s in scores])
    per_task = {}
    for task in tasks:
        mine = [i for i, e in enumerate(episodes) if e.env_name == task]
        auc = metrics.roc_auc(sure[mine], [succeeds(episodes[i]) for i in mine])
        per_task[task] = {**_means([found[i] for i in mine]), "auc_task": auc, **controls[task]}
    pooled = _pooled(episodes, scores, config)
    n_frames = sum(e.n_frames - 1 for e in episodes)
    pooled |= {"ms_per_frame": 1000 * seconds / n_frames, "model_calls": float(calls)}
    table = tuple(table_row(*row) for row in zip(episodes, scores, found, strict=True))
    return Row(model.model_id, per_task, pooled, table)


def _controls(
    model: RewardModel, episodes: Sequence[Episode], config: QualityConfig
) -> dict[str, dict[str, float]]:
    """One successful expert per task: frozen at its first frame, backwards, and mis-instructed."""
    experts = {e.env_name: e for e in reversed(episodes) if e.policy == "expert" and succeeds(e)}
    found: dict[str, dict[str, float]] = {e.env_name: {} for e in episodes}
    for task, episode in experts.items():
        last = first_success(episode)
        forward = episode.subset(np.arange(last + 1))
        static = episode.subset(np.zeros(episode.n_frames, int))
        backward = episode.subset(np.arange(last, -1, -1))
        still, back, right = (
            held(s) for s in judge(_fast(model), [static, backward, forward], config.batch, task)
        )
        found[task] = {
            # Rounded, because a chain may creep by amounts too small to matter to anyone.
            "voc_static": abs(metrics.voc(np.round(still, 1))),
            "static_drift": metrics.drift(still),
            "static_rise": metrics.rise(still),
            "vroc_expert": metrics.vroc(back),
        }
        if other := _other_sentence(episode, episodes):
            wrong = _mistold(forward, other)
            mistaken = held(judge(_fast(model), [wrong], config.batch, task)[0])
            found[task]["wrong_instruction_drop"] = float(right[-1] - mistaken[-1])
    return found


def _mistold(episode: Episode, sentence: str) -> Episode:
    """The episode under another task's sentence, of which it is no progress at all."""
    n_frames = episode.n_frames
    truth = Truth(np.zeros(n_frames, np.float32), np.zeros(n_frames, bool))
    return replace(episode, task=sentence, truth=truth)


def _fast(model: RewardModel) -> RewardModel:
    """Controls are read without words: they measure numbers, and words cost ten times more."""
    fast = getattr(model, "fast", None)
    return fast() if fast else model


def _pooled(
    episodes: Sequence[Episode], scores: Sequence[EpisodeScore], config: QualityConfig
) -> dict[str, float]:
    curves = [held(s) for s in scores]
    tasks = np.array([e.env_name for e in episodes])
    ever = np.array([succeeds(e) for e in episodes])
    at_end = np.array([e.truth is not None and bool(e.truth.true_success[-1]) for e in episodes])
    judged = [s for score in scores for s in score.steps[1:] if s.scored]
    pooled = _auc("auc", np.array([success_score(c) for c in curves]), ever, tasks)
    pooled |= _auc("auc_max", np.array([c.max() for c in curves]), ever, tasks)
    pooled |= _auc("auc_last", np.array([c[-1] for c in curves]), at_end, tasks)
    pooled |= {"n_episodes": float(len(episodes)), "n_success": float(ever.sum())}
    pooled["n_constant_truth"] = float(sum(not moves(e) for e in episodes))
    pooled["n_steps"] = float(len(judged))
    if config.think and any(s.reasoning or s.error for s in judged):
        pooled["parse_rate"] = float(np.mean([s.error is None for s in judged]))
        pooled |= _claims(episodes, scores)
    return pooled


def _auc(name: str, values: np.ndarray, labels: np.ndarray, tasks: np.ndarray) -> dict[str, float]:
    """AUC over all episodes; its interval draws whole tasks, since their episodes are alike."""

    def of_drawn(drawn: np.ndarray) -> float:
        index = drawn.astype(int)
        return metrics.roc_auc(values[index], labels[index])

    clusters = tasks if len(set(tasks)) > 1 else None  # of one task there is nothing to draw
    low, high = metrics.bootstrap_interval(
        np.arange(len(values)), statistic=of_drawn, clusters=clusters
    )
    return {name: metrics.roc_auc(values, labels), f"{name}_low": low, f"{name}_high": high}


def _claims(episodes: Sequence[Episode], scores: Sequence[EpisodeScore]) -> dict[str, float]:
    """Check every claim of every reasoning against the simulator's facts."""
    verdicts: list[bool | None] = []
    for episode, score in zip(episodes, scores, strict=True):
        facts = episode.truth.facts if episode.truth else ()
        shown = 0  # the frame that the prompt shows as the previous one: the last readable reply's
        for t, step in enumerate(score.steps):
            if t and facts and step.reasoning:
                told = judge_text(step.reasoning, facts[shown], facts[t], first=facts[0])
                verdicts += [verdict for _, verdict in told]
            shown = t if step.error is None else shown
    checked = [v for v in verdicts if v is not None]
    return {"hallucination": hallucination_rate(verdicts), "n_claims": float(len(checked))}


def _other_sentence(episode: Episode, episodes: Sequence[Episode]) -> str | None:
    """The sentence of a task half the alphabet away, or None when there is one task only."""
    sentences = {e.env_name: e.task for e in reversed(episodes)}
    names = sorted(sentences)
    other = names[(names.index(episode.env_name) + len(names) // 2) % len(names)]
    return sentences[other] if sentences[other] != episode.task else None


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row})
    return {name: _nanmean([row.get(name, math.nan) for row in rows]) for name in names}


def _nanmean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def _command(argv: Sequence[str]) -> str:
    return " ".join(["sole eval quality", *argv])
