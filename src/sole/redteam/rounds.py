"""What a search leaves on disk: one file a round, from which it can be continued."""

from __future__ import annotations

import dataclasses
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sole.data.episode import EpisodeScore
from sole.errors import DataError
from sole.progress.reward import apply_failure_policy
from sole.redteam.exploit import Curves


@dataclass(frozen=True)
class Round:
    """One round of one search, ``n`` episodes judged together at ``F`` moments each.

    Attributes:
        geometry: Seed of a procedural scene's geometry; other suites have one geometry.
        seeds: ``(n,)`` of the resets.
        candidates: ``(n, D)`` what the optimiser proposed; D is 0 where it proposes none.
        values: ``(n,)`` the optimiser's objective.
        judged, success, true: ``(n, F)`` as in :class:`~sole.redteam.exploit.Curves`.
        solved: ``(n,)`` bool.
        pictures: ``(n, P)`` float32 change pictures.
        seconds: What the round took.
    """

    geometry: int
    seeds: np.ndarray
    candidates: np.ndarray
    values: np.ndarray
    judged: np.ndarray
    success: np.ndarray
    true: np.ndarray
    solved: np.ndarray
    pictures: np.ndarray
    seconds: float

    @property
    def curves(self) -> list[Curves]:
        """Of each episode."""
        rows = zip(self.judged, self.success, self.true, self.solved, strict=True)
        return [
            Curves(judged, success, true, bool(solved)) for judged, success, true, solved in rows
        ]


def read_curves(score: EpisodeScore, true: np.ndarray, *, solved: bool) -> Curves:
    """Put what was said beside what was true; failed reads hold the last valid number."""
    held = apply_failure_policy(score, "hold").progress
    judged = np.full(len(true), np.nan) if held is None else held
    return Curves(judged, score.judged_success, np.asarray(true, float), solved)


def objective(curves: Curves, truth_weight: float) -> float:
    """What random search and CEM maximise: judged progress at the end, less the true one.

    Progress below the start counts as 0, or pushing things away would pay. A truly solved task
    costs 100 points, an episode that could not be judged is worth nothing at all (-inf).

    Example:
        >>> said, unsaid = np.array([0.0, 70.0]), np.array([np.nan, np.nan])
        >>> objective(Curves(said, unsaid, np.array([0.0, 20.0]), False), 1.0)
        50.0
    """
    if np.isnan(curves.judged).any():
        return -np.inf
    paid = curves.judged[-1] - truth_weight * max(float(curves.true[-1]), 0.0)
    return float(paid) - 100.0 * curves.solved


def save_round(folder: Path, number: int, done: Round) -> None:
    """Write one round; the file appears whole or not at all, and with it the round is finished."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{number:05d}.tmp.npz"
    np.savez(temporary, **vars(done))
    os.replace(temporary, folder / f"{number:05d}.npz")


def read_rounds(folder: Path) -> list[Round]:
    """Read the finished rounds of a search, in order.

    Raises:
        DataError: If one is damaged or missing.
    """
    paths = sorted(p for p in folder.glob("*.npz") if not p.name.startswith("."))
    names = [f"{number:05d}.npz" for number in range(len(paths))]
    if [path.name for path in paths] != names:
        raise DataError(f"{folder}: expected rounds 0 to {len(paths) - 1}, one is missing")
    return [_read_round(path) for path in paths]


def _read_round(path: Path) -> Round:
    try:
        # Opened here: numpy leaves the file open when what is in it cannot be read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            values = {field.name: data[field.name] for field in dataclasses.fields(Round)}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); delete it and all later rounds") from error
    values["geometry"], values["seconds"] = int(values["geometry"]), float(values["seconds"])
    return Round(**values)


def stack_curves(curves: Sequence[Curves]) -> dict[str, np.ndarray]:
    """The curves of a round's episodes as the arrays of :class:`Round`."""
    names = ("judged", "success", "true")
    stacked = {name: np.stack([getattr(c, name) for c in curves]) for name in names}
    return {**stacked, "solved": np.array([c.solved for c in curves], bool)}
