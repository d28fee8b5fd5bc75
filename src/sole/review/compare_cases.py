"""The episodes on which two models differ most, as clips that both judge once more aloud."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sole.data.episode import Episode
from sole.errors import DataError, SoleError
from sole.evals.output import write_table
from sole.evals.quality import QualityConfig, row_settings
from sole.review.clips import Clips, judged_again, pictures_of, settings, thinking_aloud
from sole.review.saved import SavedEpisode, SavedResult, SavedRow

#: Kind -> what the page says of it.
KINDS = {
    "a_nearer": "A is nearer to the truth",
    "b_nearer": "B is nearer to the truth",
    "success": "Success is judged differently",
}
_SAID = ("mae", "judged_last", "judged_max", "judged_top5")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("a_model_id", "b_model_id", "env_name", "policy", "task")]
    + [("seed", pa.int64()), ("true_success_ever", pa.bool_())]
    + [(f"{who}_{name}", pa.float64()) for name in _SAID for who in "ab"]
    + [("true_progress", pa.list_(pa.float32()))]
    + [(f"{who}_judged_progress", pa.list_(pa.float32())) for who in "ab"]
)


@dataclass(frozen=True)
class Pair:
    """One episode as both models judged it."""

    a: SavedEpisode
    b: SavedEpisode

    @property
    def mae_gap(self) -> float:
        """Points by which B's mean absolute error is larger."""
        return self.b.mae - self.a.mae

    @property
    def success_gap(self) -> float:
        """Points between the two judged success scores."""
        return abs(self.b.judged_top5 - self.a.judged_top5)

    @property
    def words(self) -> str:
        """One line about it, as measured."""
        truth = "truly done" if self.a.true_success_ever else "truly failed"
        return (
            f"{self.a.name}: {truth}; off by {self.a.mae:.0f} points (A) and {self.b.mae:.0f} (B), "
            f"judged success score {self.a.judged_top5:.0f}% and {self.b.judged_top5:.0f}%"
        )


@dataclass(frozen=True)
class PairClips:
    """Both verdicts on the same pictures, or why there are none.

    Attributes:
        a: By kind, in the order of the cases.
        b: The same of the other model.
        missing: Why there is no clip; empty when there are some.
    """

    a: Clips[Pair]
    b: Clips[Pair]
    missing: str = ""


def most_different(pairs: Sequence[Pair], per_kind: int) -> dict[str, tuple[Pair, ...]]:
    """The pairs of each of :data:`KINDS`, the largest difference first; none is in two of them.

    Nearer is the model with the smaller mean absolute error; success is judged differently where
    the judged success scores of the other pairs differ.

    Args:
        pairs: The same episodes of both.
        per_kind: At most so many of each.
    """
    found = {
        "a_nearer": _first(pairs, per_kind, lambda p: p.mae_gap),
        "b_nearer": _first(pairs, per_kind, lambda p: -p.mae_gap),
    }
    shown = {pair.a.place for part in found.values() for pair in part}
    others = [pair for pair in pairs if pair.a.place not in shown]
    return {**found, "success": _first(others, per_kind, lambda p: p.success_gap)}


def _first(pairs: Sequence[Pair], n: int, size: Callable[[Pair], float]) -> tuple[Pair, ...]:
    differing = [pair for pair in pairs if size(pair) > 0]
    return tuple(sorted(differing, key=lambda p: (-size(p), p.a.place))[:n])


def film_pairs(
    results: tuple[SavedResult, SavedResult], rows: tuple[SavedRow, SavedRow],
    cases: Mapping[str, Sequence[Pair]], data: Path | None, cache: Path | None,
) -> PairClips:  # fmt: skip
    """The pictures of the cases, judged once more by both models with reasoning.

    Args:
        results: A's and B's; the episodes are those of A.
        rows: Which row of each.
        cases: By kind.
        data: The data set of A, where it now lies elsewhere than when it was measured.
        cache: The same of the simulated episodes.
    """
    wanted = [pair.a for part in cases.values() for pair in part]
    if not wanted:
        return no_pairs("no episode was judged differently")
    try:
        config = settings(results[0], data, cache)
        episodes = pictures_of(config, wanted)
        a, b = (
            _aloud(result, row, cases, episodes) for result, row in zip(results, rows, strict=True)
        )
    except SoleError as error:
        return no_pairs(str(error))
    return PairClips(a, b)


def no_pairs(why: str) -> PairClips:
    """No clips, and the reason."""
    return PairClips(Clips({}), Clips({}), why)


def _aloud(
    result: SavedResult, row: SavedRow, cases: Mapping[str, Sequence[Pair]],
    episodes: Sequence[Episode],
) -> Clips[Pair]:  # fmt: skip
    config = _settings_of(result, row)
    model = thinking_aloud(config, config.calibration, row.model_id)
    return judged_again(cases, model, episodes, config.batch)


def _settings_of(result: SavedResult, row: SavedRow) -> QualityConfig:
    """The first row is the model; the others are counted from the last, as controls were added."""
    own, *others = row_settings(settings(result, None, None))
    n_after = next(k for k, one in enumerate(reversed(result.rows)) if one is row)
    if row is result.rows[0]:
        return own
    if n_after >= len(others):
        raise DataError(f"{result.path}: its rows are not those that its settings ask for")
    return others[-1 - n_after]


def write_pairs(path: Path, a: SavedRow, b: SavedRow, pairs: Sequence[Pair]) -> None:
    """Write one line an episode as parquet: who it is, the truth, and what both said.

    Args:
        path: The file; it appears only when it is whole.
        a: One model.
        b: The other one.
        pairs: Their episodes.
    """
    lines = [
        {
            "a_model_id": a.model_id, "b_model_id": b.model_id, "env_name": pair.a.env_name,
            "policy": pair.a.policy, "task": pair.a.task, "seed": pair.a.seed,
            "true_success_ever": pair.a.true_success_ever, "true_progress": pair.a.true.tolist(),
            **_said("a", pair.a), **_said("b", pair.b),
        }
        for pair in pairs
    ]  # fmt: skip
    write_table(path, lines, _SCHEMA)


def _said(who: str, episode: SavedEpisode) -> dict[str, Any]:
    curve = [None if math.isnan(value) else value for value in episode.judged.tolist()]
    numbers = {f"{who}_{name}": getattr(episode, name) for name in _SAID}
    return {**numbers, f"{who}_judged_progress": curve}
