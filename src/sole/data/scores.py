"""Scores of reward models on disk: one parquet row per frame, readable by LeRobot's own tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sole.data.episode import EpisodeScore, StepScore
from sole.data.layout import read_table, write_table
from sole.errors import DataError

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("episode_index", pa.int64()),
        ("frame_index", pa.int64()),
        ("progress_dense", pa.float32()),
        ("progress", pa.float64()),
        ("success_probability", pa.float64()),
        ("reasoning", pa.string()),
        ("uncertainty", pa.float64()),
        ("error", pa.string()),
        ("scored", pa.bool_()),
        ("model_id", pa.string()),
        ("task", pa.string()),
    ]
)


def write_scores(
    path: Path | str, scores: Sequence[EpisodeScore], episode_indices: Sequence[int] | None = None
) -> None:
    """Write scores as the parquet that LeRobot's reward tools read, with our columns beside.

    ``progress_dense`` is the fraction in [0, 1] (negative progress is 0), ``progress`` the percent;
    both are null where the model failed. ``index`` counts the rows of the file, which is LeRobot's
    frame index when every episode of a dataset is scored in order.

    Args:
        path: The file; it appears only when it is whole.
        scores: One per episode.
        episode_indices: The episodes' indices in their dataset; None counts from 0.

    Raises:
        DataError: If it cannot be written there.
        ValueError: If the lengths differ.
    """
    path = Path(path)
    indices = range(len(scores)) if episode_indices is None else episode_indices
    rows = [
        _row(step, score, int(episode), frame)
        for episode, score in zip(indices, scores, strict=True)
        for frame, step in enumerate(score.steps)
    ]
    for index, row in enumerate(rows):
        row["index"] = index
    write_table(path, pa.Table.from_pylist(rows, SCHEMA))


def _row(step: StepScore, score: EpisodeScore, episode: int, frame: int) -> dict[str, Any]:
    percent = step.progress
    return {
        "episode_index": episode,
        "frame_index": frame,
        "progress_dense": None if percent is None else float(np.clip(percent / 100.0, 0.0, 1.0)),
        "progress": percent,
        "success_probability": step.success_probability,
        "reasoning": step.reasoning,
        "uncertainty": step.uncertainty,
        "error": step.error,
        "scored": step.scored,
        "model_id": score.model_id,
        "task": score.task,
    }


def read_scores(path: Path | str) -> list[EpisodeScore]:
    """Read what :func:`write_scores` wrote, in the order it was written.

    Raises:
        DataError: If the file is missing, damaged, or lacks our columns.
    """
    table = read_table(Path(path), SCHEMA.names)
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault(row["episode_index"], []).append(row)
    try:
        return [_score(rows) for rows in groups.values()]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _score(rows: list[dict[str, Any]]) -> EpisodeScore:
    steps = tuple(
        StepScore(
            progress=row["progress"],
            success_probability=row["success_probability"],
            reasoning=row["reasoning"],
            uncertainty=row["uncertainty"],
            error=row["error"],
            scored=row["scored"],
        )
        for row in rows
    )
    return EpisodeScore(steps, model_id=rows[0]["model_id"], task=rows[0]["task"])
