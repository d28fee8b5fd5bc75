"""How evaluations put down what they found: shares with their counts, JSON, tables."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sole.data import layout
from sole.errors import ConfigError
from sole.evals.metrics import bootstrap_interval, wilson_interval
from sole.run import make_folder


@dataclass(frozen=True)
class Share:
    """``k`` of ``n``; its interval is Wilson's, which takes the n for independent.

    Attributes:
        k: How many are.
        n: Of how many.
        over_tasks: Instead of Wilson's: an interval that knows that episodes of a task are alike.

    Example:
        >>> Share(1, 4).value, Share(1, 4).text, Share(0, 0).text
        (0.25, '25% (1/4)', '- (0/0)')
    """

    k: int
    n: int
    over_tasks: tuple[float, float] | None = None

    @classmethod
    def among(cls, hits: np.ndarray, members: np.ndarray, tasks: np.ndarray) -> Share:
        """The share of the members that are hits, with an interval over tasks.

        Whole tasks are drawn. Where every draw says the same (none or all are hits, or there is one
        task) that would be an interval of no width, and Wilson's stays.

        Args:
            hits: ``(N,)`` bool.
            members: ``(N,)`` bool.
            tasks: ``(N,)`` the task of each.

        Example:
            >>> hits, everyone = np.array([True, False, False, False]), np.ones(4, bool)
            >>> Share.among(hits, everyone, np.array(["a", "a", "b", "b"])).interval
            (0.0, 0.5)
        """
        found, of = hits[members], tasks[members]
        share = cls(int(found.sum()), len(found))
        if not 0 < share.k < share.n or len(set(of)) == 1:
            return share
        return cls(share.k, share.n, bootstrap_interval(found, clusters=of))

    @property
    def value(self) -> float:
        """In [0, 1]; NaN when there are none."""
        return self.k / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 percent; NaN when there are none."""
        if self.over_tasks is not None:
            return self.over_tasks
        return wilson_interval(self.k, self.n) if self.n else (math.nan, math.nan)

    @property
    def text(self) -> str:
        """For a table."""
        return f"{100 * self.value:.0f}% ({self.k}/{self.n})" if self.n else "- (0/0)"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        low, high = self.interval
        return finite({"value": self.value, "low": low, "high": high, "k": self.k, "n": self.n})


def finite(value: Any) -> Any:
    """The same nested dictionaries with None for every NaN, which JSON does not have.

    Example:
        >>> finite({"a": {"b": math.nan}, "c": 1.0})
        {'a': {'b': None}, 'c': 1.0}
    """
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def make_room(path: Path | None) -> None:
    """Make the folder of an output before anything is measured, so that no work is lost.

    Raises:
        ConfigError: If it cannot be made.
    """
    if path is None:
        return
    make_folder(path.parent)
    if path.is_dir():
        raise ConfigError(f"{path}: expected the name of a file, this is a folder")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{path}: its folder cannot be written to; choose another one")


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as parquet; the file appears only when it is whole.

    Raises:
        DataError: If it cannot be written there.
    """
    layout.write_table(path, pa.Table.from_pylist(list(rows), schema))
