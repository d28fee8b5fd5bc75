"""What is measured on single judged frames: numbers against the truth, and words against all.

Frames of one episode are alike, so every interval draws whole tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sole.data.episode import Episode, EpisodeScore
from sole.evals import metrics
from sole.evals.labelled import task_labels
from sole.evals.per_episode import held
from sole.evals.reasoning import contradictions, direction, told_direction
from sole.evals.reliability import PROGRESS_BINS, calibration_error
from sole.synth.claims import Claim, hallucination_rate, judge_text

_DRAWS = 300
Found = dict[str, float]


@dataclass(frozen=True)
class Told:
    """One text about one frame.

    Attributes:
        task: Of the episode.
        said: Which way the text says that the step went: 1, 0, -1, or None.
        own: Change of the judged progress since the picture shown as the previous one, points.
        true: Change of the true progress since then.
        verdicts: Of each claim; None where the facts cannot tell.
        coherent: Whether nothing in it contradicts it; None where it claims nothing.
    """

    task: str
    said: int | None
    own: float
    true: float
    verdicts: tuple[bool | None, ...]
    coherent: bool | None


def number_metrics(episodes: Sequence[Episode], scores: Sequence[EpisodeScore]) -> Found:
    """``frame_spearman``, ``frame_pearson``, ``progress_error`` and ``spread_spearman``.

    Frame 0, which is 0 by definition, and frames that were not read are left out.
    """
    frames, tasks = [], []
    for episode, score, task in zip(episodes, scores, task_labels(episodes), strict=True):
        assert episode.truth is not None
        for step, true in zip(score.steps[1:], episode.truth.true_progress[1:], strict=True):
            if step.progress is not None:
                spread = math.nan if step.uncertainty is None else step.uncertainty
                frames.append((step.progress, float(true), spread))
                tasks.append(task)
    if not frames:
        return {}
    judged, true, spread = np.array(frames).T
    groups = np.array(tasks)
    found = _with_interval("frame_spearman", metrics.spearman, (judged, true), groups)
    found |= _with_interval("frame_pearson", metrics.pearson, (judged, true), groups)
    found |= _with_interval("progress_error", _progress_error, (judged, true), groups)
    known = ~np.isnan(spread)
    if known.any():
        off = np.abs(judged - true)[known]
        found |= _with_interval("spread_spearman", metrics.spearman, (spread[known], off),
                                groups[known])  # fmt: skip
    return found


def _progress_error(judged: np.ndarray, true: np.ndarray) -> float:
    return calibration_error(judged, true, PROGRESS_BINS)


def parse_rate(episodes: Sequence[Episode], scores: Sequence[EpisodeScore]) -> Found:
    """``parse_rate``: share of judged frames whose reply has a number; without frame 0."""
    read, tasks = [], []
    for score, task in zip(scores, task_labels(episodes), strict=True):
        steps = [step for step in score.steps[1:] if step.scored]
        read += [float(step.error is None) for step in steps]
        tasks += [task] * len(steps)
    return _with_interval("parse_rate", _mean, (np.array(read),), np.array(tasks))


def told(episodes: Sequence[Episode], scores: Sequence[EpisodeScore]) -> list[Told]:
    """Every text of every episode with what it can be compared with."""
    found = []
    for episode, score, task in zip(episodes, scores, task_labels(episodes), strict=True):
        found += _told_of(episode, score, task)
    return found


def _told_of(episode: Episode, score: EpisodeScore, task: str) -> list[Told]:
    assert episode.truth is not None
    facts, curve, true = episode.truth.facts, held(score), episode.truth.true_progress
    found: list[Told] = []
    before: list[Claim] = []
    shown = 0  # the frame that the prompt shows as the previous one: the last readable reply's
    for t, step in enumerate(score.steps):
        if t and facts and step.reasoning:
            judged = judge_text(step.reasoning, facts[shown], facts[t], first=facts[0])
            claims = [claim for claim, _ in judged]
            wrong = contradictions(claims, float(curve[t]), before) if claims else None
            own, moved = curve[t] - curve[shown], true[t] - true[shown]
            found.append(Told(
                task, told_direction(claims), float(own), float(moved),
                tuple(verdict for _, verdict in judged), None if wrong is None else not wrong,
            ))  # fmt: skip
            before = claims if step.error is None else before
        shown = t if step.error is None else shown
    return found


def word_metrics(texts: Sequence[Told]) -> Found:
    """Hallucination, agreement of words with numbers and with the truth, and coherence.

    Args:
        texts: From :func:`told`; where a metric has none of them to look at, it is NaN.
    """
    tasks = np.array([text.task for text in texts])
    checked = np.array([[v.count(True), v.count(False)] for v in (t.verdicts for t in texts)])
    checked = checked.reshape(-1, 2)
    rate = hallucination_rate(v for text in texts for v in text.verdicts)
    low, high = _interval(_false_share, (checked,), tasks)
    found = {"hallucination": rate, "hallucination_low": low, "hallucination_high": high}
    found["n_claims"] = float(checked.sum())
    said = [text for text in texts if text.said is not None]
    groups = np.array([text.task for text in said])
    words = np.array([text.said for text in said], float)
    for name in ("own", "true"):
        change = np.array([direction(getattr(text, name)) for text in said], float)
        pair = (words, change)
        found |= _with_interval(f"words_{name}", _agreement, pair, groups)
        found |= _with_interval(f"words_{name}_kappa", metrics.cohen_kappa, pair, groups)
        found |= _with_interval(f"words_{name}_opposite", _opposite, pair, groups)
    known = [text for text in texts if text.coherent is not None]
    fits = np.array([bool(text.coherent) for text in known], float)
    found |= _with_interval("coherence", _mean, (fits,), np.array([text.task for text in known]))
    return found | {"n_texts": float(len(texts)), "n_directions": float(len(said))}


def _false_share(checked: np.ndarray) -> float:
    total = checked.sum()
    return float(checked[:, 1].sum() / total) if total else math.nan


def _agreement(words: np.ndarray, change: np.ndarray) -> float:
    return float(np.mean(words == change)) if len(words) else math.nan


def _opposite(words: np.ndarray, change: np.ndarray) -> float:
    return float(np.mean(words * change < 0)) if len(words) else math.nan


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _with_interval(
    name: str, statistic: Callable[..., float], columns: tuple[np.ndarray, ...], tasks: np.ndarray
) -> Found:
    low, high = _interval(statistic, columns, tasks)
    return {name: statistic(*columns), f"{name}_low": low, f"{name}_high": high}


def _interval(
    statistic: Callable[..., float], columns: tuple[np.ndarray, ...], tasks: np.ndarray
) -> tuple[float, float]:
    """Over tasks; of fewer than two there is nothing to draw."""
    if len(set(tasks.tolist())) < 2:
        return math.nan, math.nan

    def of_drawn(drawn: np.ndarray) -> float:
        index = drawn.astype(int)
        return statistic(*(column[index] for column in columns))

    places = np.arange(len(tasks))
    return metrics.bootstrap_interval(places, _DRAWS, statistic=of_drawn, clusters=tasks)
