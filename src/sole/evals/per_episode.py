"""What is measured on one episode, and the table of it: one row per model and episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sole.data.episode import Episode, EpisodeScore
from sole.evals import metrics
from sole.evals.output import write_table
from sole.evals.process import process_metrics
from sole.evals.trends import direction_accuracy, macro_f1, negative_rate

#: Metrics of one episode; null in the table where they are not defined.
METRICS = (
    "spearman", "pearson", "mae", "falling_f1", "rising_f1", "macro_f1", "direction_accuracy",
    "bias_success", "bias_failure", "voc_expert", "negative_rate",
    "prm_mp", "prm_mc50", "prm_ppl", "prm_cra", "prm_str",
)  # fmt: skip
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("model_id", "env_name", "policy", "task")]
    + [("seed", pa.int64()), ("true_success_ever", pa.bool_()), ("true_success_last", pa.bool_())]
    + [(name, pa.float64()) for name in METRICS]
    + [(name, pa.float64()) for name in ("judged_last", "judged_max", "judged_top5")]
    + [("n_errors", pa.int64())]
    + [(name, pa.list_(pa.float32())) for name in ("true_progress", "judged_progress")]
)


def held(score: EpisodeScore) -> np.ndarray:
    """Judged progress with failed reads held at the last valid one, as an agent would get it."""
    values = score.judged_progress.copy()
    for t in range(1, len(values)):
        if np.isnan(values[t]):
            values[t] = values[t - 1]
    return np.nan_to_num(values)


def success_score(judged: np.ndarray) -> float:
    """How sure a curve is that the task was done at some time: mean of its five highest values.

    One high frame may be a slip of the model; five are a claim. Chosen on the dev tasks, where it
    separates slightly better than the highest value alone (docs/log.md).

    Example:
        >>> success_score(np.array([0, 90, 100, 100, 100, 100]))
        98.0
    """
    return float(np.sort(judged)[-5:].mean())


def succeeds(episode: Episode) -> bool:
    """Whether the task was ever truly complete."""
    return episode.truth is not None and episode.truth.any_success


def moves(episode: Episode) -> bool:
    """Whether the true progress ever changes; a correlation with a constant means nothing."""
    return episode.truth is not None and float(np.ptp(episode.truth.true_progress)) > 1e-6


def first_success(episode: Episode) -> int:
    """First successful frame, at least the third: two points order themselves too easily."""
    assert episode.truth is not None
    return min(max(int(episode.truth.true_success.argmax()), 2), episode.n_frames - 1)


def episode_metrics(episode: Episode, score: EpisodeScore) -> dict[str, float]:
    """Compute :data:`METRICS` of one judged episode; NaN where one is not defined."""
    assert episode.truth is not None
    judged, true = held(score), episode.truth.true_progress
    moving = moves(episode)
    row = {
        "spearman": metrics.spearman(judged, true) if moving else math.nan,
        "pearson": metrics.pearson(judged, true) if moving else math.nan,
        "mae": metrics.mae(judged, true),
        "falling_f1": metrics.falling_f1(judged, true),
        "rising_f1": metrics.rising_f1(judged, true),
        "macro_f1": macro_f1(judged, true),
        "direction_accuracy": direction_accuracy(judged, true),
        "bias_success": _bias(judged, true, success=True),
        "bias_failure": _bias(judged, true, success=False),
        **process_metrics(judged),
    }
    if episode.policy == "expert" and episode.truth.any_success:
        until_done = judged[: first_success(episode) + 1]
        row["voc_expert"] = metrics.voc(until_done)
        row["negative_rate"] = negative_rate(until_done)
    return row


def _bias(judged: np.ndarray, true: np.ndarray, *, success: bool) -> float:
    chosen = (true >= 100.0) == success
    return float(np.mean((judged - true)[chosen])) if chosen.any() else math.nan


def table_row(episode: Episode, score: EpisodeScore, found: dict[str, float]) -> dict[str, Any]:
    """One row of the per-episode table; ``found`` are the metrics of this episode."""
    truth = episode.truth
    assert truth is not None
    judged = held(score)
    return {
        "model_id": score.model_id,
        "env_name": episode.env_name,
        "policy": episode.policy,
        "task": episode.task,
        "seed": episode.seed,
        "true_success_ever": truth.any_success,
        "true_success_last": bool(truth.true_success[-1]),
        **{name: None if math.isnan(value) else value for name, value in found.items()},
        "judged_last": float(judged[-1]),
        "judged_max": float(judged.max()),
        "judged_top5": success_score(judged),
        "n_errors": score.n_errors,
        "true_progress": truth.true_progress.tolist(),
        "judged_progress": [s.progress for s in score.steps],
    }


def write_episode_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of :func:`table_row` as parquet; the file appears only when it is whole.

    Raises:
        DataError: If it cannot be written there.
    """
    write_table(path, rows, SCHEMA)
