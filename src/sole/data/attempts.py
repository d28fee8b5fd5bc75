"""What an RL run did, small enough to keep: seeds, actions and both curves of every episode.

One file a round, ``RUN/attempts/EPISODE.npz``. The same seed and actions give the same episode
again, so a training set can film what an agent found without the run having kept its pictures.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sole.errors import DataError

_ARRAYS = ("seeds", "actions", "judged_progress", "true_progress")


@dataclass(frozen=True)
class Attempt:
    """One training episode of an agent.

    Attributes:
        episode: Its number in the run, from 0.
        column: Seed of a procedural environment's geometry; in `sole rl` that is its place among
            the run's environments.
        seed: The seed of its reset.
        actions: ``(T-1, A)`` float32.
        judged_progress: ``(T,)`` percent as the agent was paid, NaN when dropped.
        true_progress: ``(T,)`` percent.
    """

    episode: int
    column: int
    seed: int
    actions: np.ndarray
    judged_progress: np.ndarray
    true_progress: np.ndarray

    @property
    def overrated(self) -> float:
        """Points by which the model saw more than there was, at the moment where that is most."""
        return float(np.nanmax(np.append(self.judged_progress - self.true_progress, 0.0)))


def save_attempts(folder: Path, first_episode: int, attempts: list[Attempt]) -> None:
    """Write one round; the file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{first_episode:06d}.npz"
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        seeds=np.array([a.seed for a in attempts], np.int64),
        columns=np.array([a.column for a in attempts], np.int64),
        actions=np.stack([a.actions for a in attempts]),
        judged_progress=np.stack([a.judged_progress for a in attempts]),
        true_progress=np.stack([a.true_progress for a in attempts]),
    )
    os.replace(temporary, path)


def read_attempts(folder: Path) -> list[Attempt]:
    """Read every round of a run, oldest first.

    Raises:
        DataError: If there are none, or a file is damaged.
    """
    files = sorted(p for p in folder.glob("*.npz") if not p.name.endswith(".tmp.npz"))
    if not files:
        raise DataError(f"{folder}: no attempts; `sole rl` writes them while it trains")
    return [attempt for path in files for attempt in _read_round(path)]


def _read_round(path: Path) -> list[Attempt]:
    try:
        # Opened here: numpy leaves the file open when what is in it cannot be read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            arrays = [data[name] for name in _ARRAYS]
            columns = data["columns"] if "columns" in data.files else range(len(arrays[0]))
        first = int(path.stem)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); delete it to go on without it") from error
    return [
        Attempt(first + k, int(column), int(seed), *row)
        for k, (column, seed, *row) in enumerate(zip(columns, *arrays, strict=True))
    ]
