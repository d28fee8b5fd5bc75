"""``sole eval robustness``: what disturbed cameras do to a judge (:mod:`sole.evals.attacks`)."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from rich.table import Table

from sole.config import parse_config
from sole.console import progress_bar, stderr, stdout
from sole.data.episode import Episode, EpisodeScore
from sole.errors import ConfigError
from sole.evals import metrics
from sole.evals.attacks import ATTACKS, applies, attack
from sole.evals.figures import Figure, record_figures
from sole.evals.labelled import (
    LabelledConfig,
    judge,
    labelled_episodes,
    labelled_judge,
    score_blind,
    task_labels,
)
from sole.evals.output import Share, finite, make_room, write_table
from sole.evals.overlap import say_fitted_on
from sole.evals.per_episode import held, moves, succeeds, success_score
from sole.evals.refilm import SIM_ATTACKS, Refilm, Take, can_refilm
from sole.progress.calibrate import judged_success
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import success_at
from sole.run import write_atomically

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("model_id", "attack", "env_name", "policy", "task")]
    + [("strength", pa.float64()), ("seed", pa.int64()), ("changed", pa.bool_())]
    + [(name, pa.bool_()) for name in ("true_success_ever", "judged_success")]
    + [("spearman", pa.float64()), ("judged_top5", pa.float64())]
    + [("judged_progress", pa.list_(pa.float32()))]
)


class RobustnessConfig(LabelledConfig):
    """Disturb the cameras step by step, and see which failures the judge then takes for success."""

    split: Literal["test", "dev", "train"] = "test"
    """Which of the suite's tasks."""
    attacks: tuple[str, ...] = (*ATTACKS, *SIM_ATTACKS)
    """Which disturbances; all of them unless named. Those that end in _sim simulate again."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0)
    """How strong, above 0 to 1."""
    attack_seed: int = Field(0, ge=0)
    """Of the draws of the disturbances."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model; its threshold says what is judged success."""
    judged_success_at: float | None = Field(None, gt=0, le=1)
    """Success probability that counts as judged success; 0.5, or what the calibration says."""
    out: Path | None = None
    """Also write everything as JSON here, and NAME.episodes.parquet beside it."""


@dataclass(frozen=True)
class Judged:
    """A model's verdicts, one entry per episode.

    Attributes:
        success: ``(N,)`` bool, judged successful.
        spearman: ``(N,)`` rank correlation with the truth; NaN where the truth never moves.
        sure: ``(N,)`` mean of the five highest values of the curve, percent.
    """

    success: np.ndarray
    spearman: np.ndarray
    sure: np.ndarray


@dataclass(frozen=True)
class Effect:
    """What one attack at one strength did, against the same episodes undisturbed.

    Attributes:
        attack: Its name.
        strength: In (0, 1].
        n_changed: Episodes of which at least one pixel differs.
        vulnerability: Of the truly failed episodes that were judged failed undisturbed, those that
            are judged successful disturbed.
        blinded: Of the truly successful ones that were judged successful, those judged failed.
        fpr: Of all truly failed episodes, those judged successful disturbed.
        spearman_change: Mean over tasks, with its interval, disturbed minus undisturbed.
        auc_change: Of success by the five highest values, pooled, with its interval over tasks.
    """

    attack: str
    strength: float
    n_changed: int
    vulnerability: Share
    blinded: Share
    fpr: Share
    spearman_change: tuple[float, float, float]
    auc_change: tuple[float, float, float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, with None for what is not known."""
        shares = {n: getattr(self, n).as_dict() for n in ("vulnerability", "blinded", "fpr")}
        changes = {
            name: dict(zip(("value", "low", "high"), getattr(self, name), strict=True))
            for name in ("spearman_change", "auc_change")
        }
        plain = {name: getattr(self, name) for name in ("attack", "strength", "n_changed")}
        return {**plain, **shares, **finite(changes)}


def run_robustness(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval robustness``."""
    config = parse_config(RobustnessConfig, argv, "sole eval robustness")
    _check(config)
    make_room(config.out)
    model = labelled_judge(config, config.calibration)
    episodes = labelled_episodes(config, config.split)
    say_fitted_on([model], episodes)
    at = success_at(model, config.judged_success_at)
    effects, clean, table = measure(model, episodes, config, at)
    whole = _as_dict(model, episodes, clean, effects, at, config)
    if config.print_json:
        sys.stdout.write(json.dumps(whole, allow_nan=False) + "\n")
    else:
        stdout.print(effect_table(effects, whole))
    if config.out:
        write_atomically(config.out, json.dumps(whole, indent=1, allow_nan=False))
        write_table(config.out.with_suffix(".episodes.parquet"), table, SCHEMA)
    if config.figures:
        command = " ".join(["sole eval robustness", *argv])
        record_figures(config.figures, robustness_figures(effects, whole), command)
    return 0


def measure(
    model: RewardModel, episodes: Sequence[Episode], config: RobustnessConfig, at: float
) -> tuple[list[Effect], Judged, list[dict[str, Any]]]:
    """Judge the episodes undisturbed and under every attack.

    Returns:
        One effect per attack and strength, the undisturbed verdicts, and one table row per attack,
        strength and episode (attack ``none`` first).
    """
    scores = judge(model, episodes, config.batch, "undisturbed")
    clean = verdicts(episodes, scores, at)
    table = _rows(episodes, scores, clean, "none", 0.0, [False] * len(episodes))
    names = _possible(config, episodes)
    refilmed = _judge_refilmed(model, episodes, config, [n for n in names if n in SIM_ATTACKS])
    effects = []
    for name in names:
        for strength in sorted(config.strengths):
            if name in SIM_ATTACKS:
                scores, changed = refilmed[name, strength]
            else:
                disturb = _Disturb(name, strength, config.attack_seed)
                scores = judge(model, episodes, config.batch, f"{name} {strength:g}", disturb)
                changed = disturb.changed
            found = verdicts(episodes, scores, at)
            effects.append(effect(episodes, clean, found, (name, strength), sum(changed)))
            table += _rows(episodes, scores, found, name, strength, changed)
    return effects, clean, table


def _possible(config: RobustnessConfig, episodes: Sequence[Episode]) -> list[str]:
    """The attacks that every episode allows; of the others it is said why not."""
    simulated = config.data is None and all(map(can_refilm, episodes))
    kept = []
    for name in config.attacks:
        of_sim = name in SIM_ATTACKS
        if simulated if of_sim else all(applies(e, name) for e in episodes):
            kept.append(name)
        else:
            needed = "simulated episodes of metaworld or worlds" if of_sim else (
                "both views in every episode"
            )  # fmt: skip
            stderr.print(f"{name}: left out, it needs {needed}")
    return kept


def _judge_refilmed(
    model: RewardModel,
    episodes: Sequence[Episode],
    config: RobustnessConfig,
    names: Sequence[str],
) -> dict[Take, tuple[list[EpisodeScore], list[bool]]]:
    """Judge every simulated attack; each episode is simulated once for all of them."""
    takes = [(name, strength) for name in names for strength in config.strengths]
    found: dict[Take, tuple[list[EpisodeScore], list[bool]]] = {take: ([], []) for take in takes}
    if not takes:
        return found
    camera = Refilm(config.attack_seed)
    with progress_bar(f"filming again ({model.model_id})", total=len(episodes)) as advance:
        for start in range(0, len(episodes), config.batch):
            part = episodes[start : start + config.batch]
            films = [camera.film(e, takes) for e in part]
            for take, (scores, changed) in found.items():
                after = [film[take] for film in films]
                scores.extend(score_blind(model, after))
                changed.extend(_differs(a, b) for a, b in zip(part, after, strict=True))
            advance(len(part))
    camera.close()
    return found


def _differs(before: Episode, after: Episode) -> bool:
    return not all(np.array_equal(after.views[n], f) for n, f in before.views.items())


class _Disturb:
    """Disturbs episodes one by one and notes which of them it changed at all."""

    def __init__(self, name: str, strength: float, seed: int):
        self._attack = partial(attack, name=name, strength=strength, seed=seed)
        self.changed: list[bool] = []

    def __call__(self, episode: Episode) -> Episode:
        after = self._attack(episode)
        self.changed.append(_differs(episode, after))
        return after


def verdicts(episodes: Sequence[Episode], scores: Sequence[EpisodeScore], at: float) -> Judged:
    """Reduce scores to what is compared; failed reads are held at the last valid value."""
    curves = [held(s) for s in scores]
    return Judged(
        np.array([judged_success(s, at) for s in scores], bool),
        np.array([_spearman(e, c) for e, c in zip(episodes, curves, strict=True)], float),
        np.array([success_score(c) for c in curves], float),
    )


def effect(
    episodes: Sequence[Episode],
    clean: Judged,
    found: Judged,
    what: tuple[str, float],
    n_changed: int,
) -> Effect:
    """Compare the verdicts on the same episodes, undisturbed and disturbed."""
    success = np.array([succeeds(e) for e in episodes], bool)
    at_risk, seen = ~success & ~clean.success, success & clean.success
    tasks = np.array(task_labels(episodes))
    return Effect(
        *what,
        n_changed=n_changed,
        vulnerability=Share.among(found.success, at_risk, tasks),
        blinded=Share.among(~found.success, seen, tasks),
        fpr=Share.among(found.success, ~success, tasks),
        spearman_change=_over_tasks(found.spearman - clean.spearman, tasks),
        auc_change=_auc_change(clean.sure, found.sure, success, tasks),
    )


def _over_tasks(values: np.ndarray, tasks: np.ndarray) -> tuple[float, float, float]:
    """Mean over tasks of each task's mean, with a bootstrap interval over tasks (from two on)."""
    known = ~np.isnan(values)
    means = np.array([values[known & (tasks == t)].mean() for t in np.unique(tasks[known])])
    if not len(means):
        return math.nan, math.nan, math.nan
    low, high = metrics.bootstrap_interval(means) if len(means) > 1 else (math.nan, math.nan)
    return float(means.mean()), low, high


def _auc_change(
    before: np.ndarray, after: np.ndarray, success: np.ndarray, tasks: np.ndarray
) -> tuple[float, float, float]:
    def of_drawn(drawn: np.ndarray) -> float:
        i = drawn.astype(int)
        return metrics.roc_auc(after[i], success[i]) - metrics.roc_auc(before[i], success[i])

    everything = np.arange(len(tasks))
    clusters = tasks if len(set(tasks)) > 1 else None  # of one task there is nothing to draw
    low, high = metrics.bootstrap_interval(everything, statistic=of_drawn, clusters=clusters)
    return of_drawn(everything), low, high


def _spearman(episode: Episode, judged: np.ndarray) -> float:
    if not moves(episode) or episode.truth is None:
        return math.nan
    return metrics.spearman(judged, episode.truth.true_progress)


def _check(config: RobustnessConfig) -> None:
    known = (*ATTACKS, *SIM_ATTACKS)
    if unknown := sorted(set(config.attacks) - set(known)):
        raise ConfigError(f"no attack {', '.join(unknown)}; choose from: {', '.join(known)}")
    wrong = [s for s in config.strengths if not 0.0 < s <= 1.0]
    if wrong or not config.strengths or not config.attacks:
        raise ConfigError(
            f"expected at least one attack and one strength above 0 up to 1, got {config.attacks} "
            f"and {config.strengths}"
        )
    for flag, given in (("--attacks", config.attacks), ("--strengths", config.strengths)):
        if len(set(given)) < len(given):
            raise ConfigError(f"{flag}: expected each one once, got {' '.join(map(str, given))}")


def _rows(
    episodes: Sequence[Episode],
    scores: Sequence[EpisodeScore],
    found: Judged,
    name: str,
    strength: float,
    changed: Sequence[bool],
) -> list[dict[str, Any]]:
    return [
        {
            "model_id": score.model_id, "attack": name, "strength": strength,
            "env_name": e.env_name, "policy": e.policy, "task": e.task, "seed": e.seed,
            "changed": changed[i], "true_success_ever": succeeds(e),
            "judged_success": bool(found.success[i]),
            "spearman": None if math.isnan(found.spearman[i]) else float(found.spearman[i]),
            "judged_top5": float(found.sure[i]),
            "judged_progress": [s.progress for s in score.steps],
        }
        for i, (e, score) in enumerate(zip(episodes, scores, strict=True))
    ]  # fmt: skip


def _as_dict(
    model: RewardModel,
    episodes: Sequence[Episode],
    clean: Judged,
    effects: Sequence[Effect],
    at: float,
    config: RobustnessConfig,
) -> dict[str, Any]:
    success = np.array([succeeds(e) for e in episodes], bool)
    tasks = np.array(task_labels(episodes))
    fpr = Share.among(clean.success, ~success, tasks)
    recall = Share.among(clean.success, success, tasks)
    spearman = _over_tasks(clean.spearman, tasks)[0]
    undisturbed = {"spearman": spearman, "auc": metrics.roc_auc(clean.sure, success)}
    return {
        "model_id": model.model_id,
        "judged_success_at": at,
        "n_episodes": len(episodes),
        "n_failed": fpr.n,
        "undisturbed": {**finite(undisturbed), "fpr": fpr.as_dict(), "recall": recall.as_dict()},
        "effects": [effect.as_dict() for effect in effects],
        "config": json.loads(config.model_dump_json()),
    }


def effect_table(effects: Sequence[Effect], whole: dict[str, Any]) -> Table:
    """One line per attack and strength."""
    fpr, recall = (whole["undisturbed"][name] for name in ("fpr", "recall"))
    table = Table(
        title=f"{whole['model_id']}: success from {whole['judged_success_at']:.3g} on",
        caption=f"undisturbed: {fpr['k']} of {fpr['n']} failed and {recall['k']} of {recall['n']} "
        "successful episodes judged successful",
    )
    table.add_column("attack", no_wrap=True)
    for name in ("strength", "vulnerability", "blinded", "spearman change", "AUC change"):
        table.add_column(name, justify="right", overflow="fold")
    for e in effects:
        changes = [_change(*e.spearman_change), _change(*e.auc_change)]
        table.add_row(e.attack, f"{e.strength:g}", e.vulnerability.text, e.blinded.text, *changes)
    return table


def _change(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:+.2f}" if math.isnan(low) else f"{value:+.2f} \\[{low:+.2f}, {high:+.2f}]"


def robustness_figures(effects: Sequence[Effect], whole: dict[str, Any]) -> list[Figure]:
    """Of each attack at its strongest: ``robust.ATTACK.vulnerability`` and the two changes.

    Beside them what was judged undisturbed: who refuses everything is vulnerable to nothing.
    """
    strongest = {e.attack: e for e in sorted(effects, key=lambda e: e.strength)}
    figures = [Figure("robust.success_at", whole["judged_success_at"], "probability")]
    for name in ("recall", "fpr"):
        known = [
            math.nan if (v := whole["undisturbed"][name][end]) is None else v
            for end in ("value", "low", "high")
        ]
        figures.append(Figure(f"robust.undisturbed.{name}", known[0], "share", *known[1:]))
    for name, e in strongest.items():
        share = e.vulnerability
        figures.append(
            Figure(f"robust.{name}.vulnerability", share.value, "share", *share.interval)
        )
        figures.append(Figure(f"robust.{name}.spearman_change", e.spearman_change[0], "",
                              *e.spearman_change[1:]))  # fmt: skip
        figures.append(Figure(f"robust.{name}.auc_change", e.auc_change[0], "", *e.auc_change[1:]))
    return figures
