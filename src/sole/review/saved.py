"""What ``sole eval quality --out RESULT.json`` left on disk, read back and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sole.errors import ConfigError, DataError

_NEEDED = (
    "model_id", "env_name", "policy", "seed", "task", "true_success_ever", "true_success_last",
    "judged_last", "judged_max", "judged_top5", "mae", "true_progress", "judged_progress",
)  # fmt: skip

#: Metrics that older results have under another name.
_RENAMED = {"vroc_expert": "voc_reversed", "wrong_instruction_drop": "instruction_gap"}
#: Percent points by which a truth may differ that was written as float32.
_SAME_TRUTH = 0.01


@dataclass(frozen=True)
class Measured:
    """An episode that was measured, by what it takes to find it again.

    Attributes:
        place: Its number among the episodes of the evaluation.
        env_name, policy, seed, task: Which episode it is.
        true_success_ever: Whether the task was truly done at any frame.
        true: ``(T,)`` true progress, percent.
    """

    place: int
    env_name: str
    policy: str
    seed: int
    task: str
    true_success_ever: bool
    true: np.ndarray

    @property
    def key(self) -> tuple[str, str, int]:
        """What two evaluations must share to be about the same episode."""
        return self.env_name, self.policy, self.seed

    @property
    def name(self) -> str:
        """The key as words."""
        return f"{self.env_name or self.task}, {self.policy or 'recorded'}, seed {self.seed}"


@dataclass(frozen=True)
class SavedEpisode(Measured):
    """One episode as one model judged it.

    Attributes:
        true_success_last: Whether the task was truly done at the last frame.
        judged_last, judged_max, judged_top5: Last, highest, and mean of the five highest values.
        mae: Mean absolute error in percent points.
        judged: ``(T,)`` judged progress, percent; NaN where a read failed.
    """

    true_success_last: bool
    judged_last: float
    judged_max: float
    judged_top5: float
    mae: float
    judged: np.ndarray


@dataclass(frozen=True)
class SavedRow:
    """One model's results.

    Attributes:
        model_id: Name and version.
        summary: Metric -> (value, low, high); NaN where it is not known.
        per_task: Task -> metric -> value.
        pooled: Metric -> value over all episodes.
        episodes: In the order of the evaluation.
    """

    model_id: str
    summary: Mapping[str, tuple[float, float, float]]
    per_task: Mapping[str, Mapping[str, float]]
    pooled: Mapping[str, float]
    episodes: tuple[SavedEpisode, ...]


@dataclass(frozen=True)
class SavedResult:
    """A whole evaluation: one row per model, the measured one first, and the settings."""

    path: Path
    rows: tuple[SavedRow, ...]
    config: Mapping[str, Any]

    def row(self, wanted: str) -> SavedRow:
        """The row of a model id, or of a number from 0; the first one for the empty string.

        Raises:
            ConfigError: If there is none.
        """
        if not wanted:
            return self.rows[0]
        if wanted.isdecimal() and int(wanted) < len(self.rows):
            return self.rows[int(wanted)]
        found = [row for row in self.rows if row.model_id == wanted]
        if not found:
            known = ", ".join(f"{k} {row.model_id}" for k, row in enumerate(self.rows))
            raise ConfigError(f"{self.path}: no row {wanted!r}; there are: {known}")
        return found[0]


def read_result(path: Path) -> SavedResult:
    """Read a result and the table of episodes beside it.

    Raises:
        DataError: If either is missing, damaged, or not what ``sole eval quality`` writes.
    """
    try:
        whole = json.loads(path.read_text())
        rows, config = list(whole["rows"]), dict(whole["config"])
        names = [str(row["model_id"]) for row in rows]
        tables = _read_table(path.with_suffix(".episodes.parquet"), names)
        made = tuple(_row(row, table) for row, table in zip(rows, tables, strict=True))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not what sole eval quality --out writes ({type(error).__name__}: {error})"
        ) from error
    return SavedResult(path, made, config)


def same_truth(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two curves of true progress are the same episode's.

    Example:
        >>> same_truth(np.array([0.0, 5.0]), np.array([0.0, 6.0]))
        False
    """
    return len(one) == len(two) and np.allclose(one, two, rtol=0.0, atol=_SAME_TRUTH)


def _read_table(path: Path, model_ids: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The lines of each row; they stand one model after the other."""
    try:
        table = pq.read_table(path, columns=list(_NEEDED))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; it lies beside the JSON that --out names") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    lines = table.to_pylist()
    n_each = len(lines) // max(len(model_ids), 1)
    parts = [lines[k * n_each : (k + 1) * n_each] for k in range(len(model_ids))]
    found = [line["model_id"] for part in parts for line in part]
    if not n_each or [name for name in model_ids for _ in range(n_each)] != found:
        raise DataError(f"{path}: does not belong to the JSON beside it; measure again with --out")
    if len(found) < len(lines):
        raise DataError(f"{path}: {len(lines)} lines for {len(model_ids)} models; measure again")
    return parts


def _row(row: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> SavedRow:
    summary = {
        _RENAMED.get(str(name), str(name)): (
            _number(v["value"]),
            _number(v["low"]),
            _number(v["high"]),
        )
        for name, v in row["summary"].items()
    }
    return SavedRow(
        str(row["model_id"]),
        summary,
        {task: _numbers(found) for task, found in row["per_task"].items()},
        _numbers(row["pooled"]),
        tuple(_episode(place, line) for place, line in enumerate(lines)),
    )


def _episode(place: int, line: Mapping[str, Any]) -> SavedEpisode:
    true = np.array(line["true_progress"], float)
    judged = np.array([_number(v) for v in line["judged_progress"]])
    if not len(true) or len(true) != len(judged):
        raise ValueError(f"episode {place}: {len(true)} true and {len(judged)} judged values")
    return SavedEpisode(
        place, line["env_name"], line["policy"], line["seed"], line["task"],
        line["true_success_ever"], true, line["true_success_last"], line["judged_last"],
        line["judged_max"], line["judged_top5"], line["mae"], judged,
    )  # fmt: skip


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    return {_RENAMED.get(name, name): _number(value) for name, value in found.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
