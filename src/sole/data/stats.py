"""Minimum, maximum, mean, deviation and count of every column, as LeRobot normalises with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from sole.data.episode import Episode
from sole.data.layout import ACTION, COUNTERS, IMAGE_PREFIX, STATE

N_SAMPLED_FRAMES = 10
STAT_NAMES = ("min", "max", "mean", "std", "count")
Stats = dict[str, dict[str, np.ndarray]]


def column_stats(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the statistics of ``(N, D)`` values over N; each ``(D,)`` float64, count ``(1,)``.

    Example:
        >>> column_stats(np.array([[1.0], [3.0]]))["mean"]
        array([2.])
    """
    values = np.asarray(values, np.float64)
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
    }


def episode_stats(episode: Episode, counters: Mapping[str, np.ndarray]) -> Stats:
    """Return the statistics of one episode; pictures as ``(3, 1, 1)`` of values in [0, 1]."""
    stats: Stats = {}
    for name, frames in episode.views.items():
        chosen = np.linspace(0, len(frames) - 1, min(len(frames), N_SAMPLED_FRAMES)).astype(int)
        found = column_stats(frames[chosen].reshape(-1, 3) / 255.0)
        shaped = {key: value.reshape(3, 1, 1) for key, value in found.items() if key != "count"}
        stats[IMAGE_PREFIX + name] = {**shaped, "count": np.array([len(chosen)])}
    for key, rows in ((ACTION, episode.actions), (STATE, episode.proprio)):
        if rows is not None:
            stats[key] = column_stats(rows)
    for key in COUNTERS:
        stats[key] = column_stats(counters[key].reshape(-1, 1))
    return stats


def merge_stats(parts: Iterable[Stats]) -> Stats:
    """Combine the statistics of episodes into those of all of them."""
    grouped: dict[str, list[dict[str, np.ndarray]]] = {}
    for part in parts:
        for key, found in part.items():
            grouped.setdefault(key, []).append(found)
    return {key: _merged(found) for key, found in grouped.items()}


def _merged(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    stacked = {name: np.stack([np.asarray(p[name], float) for p in parts]) for name in STAT_NAMES}
    counts = stacked["count"].reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    total = counts.sum()
    mean = (stacked["mean"] * counts).sum(0) / total
    spread = stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2
    return {
        "min": stacked["min"].min(0),
        "max": stacked["max"].max(0),
        "mean": mean,
        "std": np.sqrt((spread * counts).sum(0) / total),
        "count": np.array([int(total)]),
    }


def stats_to_columns(stats: Stats) -> dict[str, Any]:
    """Flatten to ``stats/<feature>/<name>`` as the episode table has them."""
    return {
        f"stats/{key}/{name}": value.tolist()
        for key, found in stats.items()
        for name, value in found.items()
    }


def stats_from_table(table: pa.Table) -> list[Stats]:
    """Read the statistics of every episode back from the episode table."""
    rows = table.select([c for c in table.column_names if c.startswith("stats/")]).to_pylist()
    found: list[Stats] = []
    for row in rows:
        stats: Stats = {}
        for column, value in row.items():
            _, key, name = column.split("/")
            if value is not None:
                stats.setdefault(key, {})[name] = np.asarray(value)
        found.append(stats)
    return found
