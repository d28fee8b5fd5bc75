"""Attempts of many runs in one parquet file, to be filmed again where the runs are not.

A thousand episodes are half a megabyte, so what agents found against a model can travel with it:
``sole synth --from-runs`` leaves such a file in its data set and takes one in place of the runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sole.data.attempts import Attempt
from sole.data.layout import read_table, write_table
from sole.errors import DataError

_CURVE = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("env_name", pa.string()),
        ("task", pa.string()),
        ("run", pa.string()),
        ("episode", pa.int64()),
        ("column", pa.int64()),
        ("seed", pa.int64()),
        ("actions", pa.list_(_CURVE)),
        ("judged_progress", _CURVE),
        ("true_progress", _CURVE),
    ]
)


@dataclass(frozen=True)
class TaskAttempt:
    """An attempt, and at what.

    Attributes:
        env_name: The task's full name.
        task: The wording that replaced the task's sentence, or None.
        run: Name of the run it comes from, to be read by people.
        attempt: What the agent did.
    """

    env_name: str
    task: str | None
    run: str
    attempt: Attempt


def write_attempt_table(path: Path, tried: Sequence[TaskAttempt]) -> None:
    """Write them in this order; the file appears whole or not at all.

    Raises:
        DataError: If it cannot be written there.
    """
    table = pa.Table.from_pylist([_row(one) for one in tried], schema=SCHEMA)
    write_table(path, table, "zstd")


def read_attempt_table(path: Path) -> list[TaskAttempt]:
    """Read all of them.

    Raises:
        DataError: If the file is missing, damaged or another one.
    """
    return [_tried(path, row) for row in read_table(path, SCHEMA.names).to_pylist()]


def read_attempt_row(path: Path, number: int) -> TaskAttempt:
    """Read the one with this number, from 0.

    Raises:
        DataError: If the file is missing, damaged or another one, or has no such row.
    """
    rows = read_table(path, SCHEMA.names).slice(number, 1).to_pylist()
    if not rows:
        raise DataError(f"{path}: has no row {number}")
    return _tried(path, rows[0])


def _row(tried: TaskAttempt) -> dict[str, Any]:
    attempt = tried.attempt
    return {
        "env_name": tried.env_name,
        "task": tried.task,
        "run": tried.run,
        "episode": attempt.episode,
        "column": attempt.column,
        "seed": attempt.seed,
        "actions": attempt.actions.tolist(),
        "judged_progress": attempt.judged_progress.tolist(),
        "true_progress": attempt.true_progress.tolist(),
    }


def _tried(path: Path, row: dict[str, Any]) -> TaskAttempt:
    names = ("actions", "judged_progress", "true_progress")
    try:
        actions, judged, true = (np.array(row[name], np.float32) for name in names)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: not a file of attempts ({error})") from error
    known = [row[name] for name in ("env_name", "episode", "column", "seed")]
    if (
        None in known
        or actions.ndim != 2
        or not judged.shape == true.shape == (len(actions) + 1,)
        or not np.isfinite(true).all()
    ):
        raise DataError(
            f"{path}: the attempt of {row['env_name']}, seed {row['seed']}, is damaged; expected "
            "actions (T-1, A), and progress (T,) before and after each"
        )
    attempt = Attempt(row["episode"], row["column"], row["seed"], actions, judged, true)
    return TaskAttempt(row["env_name"], row["task"], row["run"], attempt)
