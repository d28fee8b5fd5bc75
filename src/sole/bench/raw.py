"""Results of a sweep that are kept in the repository, and go on from there on another machine.

The two parquet files of ``--raw`` say what every finished run came to, with which settings and by
which reward model, so a run that stands in them is not run again where its folder is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from sole.bench.outcome import Outcome, Point, read_outcome, schema_of
from sole.bench.plan import compared, finished_as
from sole.data.layout import read_table
from sole.errors import ConfigError, DataError
from sole.evals.output import write_table
from sole.rl.config import RlConfig
from sole.run import locked, stored_model

RUNS, EVALUATIONS = "runs.parquet", "evaluations.parquet"
#: Task, reward model's name and seed: what a run of a sweep is called.
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        outcome: What it came to.
        points: Its evaluations, oldest first.
        settings: What it was asked, without what changes nothing.
        reward_model: Whose rewards it had, with the hash of the weights.
    """

    outcome: Outcome
    points: tuple[Point, ...]
    settings: Mapping[str, Any]
    reward_model: str

    @property
    def key(self) -> Key:
        """Which run of a sweep this is."""
        return self.outcome.task, self.outcome.reward, self.outcome.seed


def key_of(run: RlConfig) -> Key:
    """Which run of a sweep this is."""
    return run.env, run.reward, run.seed


def read_result(run: RlConfig) -> Result:
    """Read a finished run's folder.

    Raises:
        DataError: If something of it is missing or damaged, or its task has no truth.
    """
    outcome, points = read_outcome(run)
    model = stored_model(run.run_dir)
    assert model is not None  # a finished run has it
    return Result(outcome, tuple(points), compared(run), model)


def write_results(folder: Path, results: Sequence[Result], prefix: str = "") -> None:
    """Write runs.parquet and evaluations.parquet, with ``prefix`` before their names.

    Raises:
        DataError: If they cannot be written.
    """
    runs = [
        {
            **asdict(one.outcome),
            "settings": json.dumps(one.settings, sort_keys=True),
            "reward_model": one.reward_model,
        }
        for one in results
    ]
    points = [asdict(point) for one in results for point in one.points]
    # In this order: whoever finds a run finds its evaluations.
    write_table(folder / f"{prefix}{EVALUATIONS}", points, schema_of(Point))
    write_table(folder / f"{prefix}{RUNS}", runs, _RUNS_SCHEMA)


_RUNS_SCHEMA = schema_of(Outcome).append(pa.field("settings", pa.string()))
_RUNS_SCHEMA = _RUNS_SCHEMA.append(pa.field("reward_model", pa.string()))


def read_results(folder: Path, prefix: str = "") -> dict[Key, Result]:
    """Read what :func:`write_results` wrote; nothing where there is no file.

    Raises:
        DataError: If a file is damaged, or of another version.
    """
    path = folder / f"{prefix}{RUNS}"
    if not path.exists():
        return {}
    # The other way round than they are written, so that no run lacks its evaluations.
    rows = read_table(path, _RUNS_SCHEMA.names).to_pylist()
    curves: dict[Key, list[Point]] = {}
    evaluations = read_table(folder / f"{prefix}{EVALUATIONS}", schema_of(Point).names)
    for row in evaluations.to_pylist():
        point = Point(**row)
        curves.setdefault((point.task, point.reward, point.seed), []).append(point)
    results = [_result(path, row, curves) for row in rows]
    return {one.key: one for one in results}


def _result(path: Path, row: dict[str, Any], curves: Mapping[Key, Sequence[Point]]) -> Result:
    outcome = Outcome(**{field.name: row[field.name] for field in fields(Outcome)})
    key = outcome.task, outcome.reward, outcome.seed
    try:
        # Settings that are newer than the file had their defaults.
        asked = RlConfig.model_validate({**json.loads(row["settings"]), "run_dir": path.parent})
    except (ValueError, TypeError, ValidationError) as error:
        raise DataError(
            f"{path}: settings of {' '.join(map(str, key))} are damaged, or of another version; "
            "delete the file to run its runs again"
        ) from error
    if key not in curves:
        raise DataError(
            f"{path}: {' '.join(map(str, key))} has no evaluations in the file beside it; restore "
            "both from git"
        )
    return Result(outcome, tuple(curves[key]), compared(asked), row["reward_model"])


def check_kept(runs: Sequence[RlConfig], kept: Mapping[Key, Result]) -> None:
    """Refuse kept results under the names of planned runs that are results of other settings.

    Raises:
        ConfigError: If there is one.
    """
    for run in runs:
        _check_settings(key_of(run), compared(run), kept.get(key_of(run)))


def _check_settings(key: Key, now: Mapping[str, Any], kept: Result | None) -> None:
    if kept is None or kept.settings == now:
        return
    (task, reward, seed), was = key, kept.settings
    differ = sorted(k for k in now if was.get(k) != now[k])
    raise ConfigError(
        f"raw: holds {task} by {reward}, seed {seed}, of a run with another {', '.join(differ)}; "
        "give the sweep another --name or --raw"
    )


def results_of(runs: Sequence[RlConfig], kept: Mapping[Key, Result]) -> list[Result]:
    """Those of the planned runs that are finished, here or where they were kept.

    Raises:
        DataError: If a finished run's folder is damaged.
    """
    found = [read_result(run) if finished_as(run) else kept.get(key_of(run)) for run in runs]
    return [one for one in found if one is not None]


def keep_results(folder: Path, name: str, results: Sequence[Result]) -> None:
    """Add results to those that are kept; processes that do so take turns, and lose nothing.

    Raises:
        ConfigError: If what is kept is of other settings, or of a reward model with other weights.
        DataError: If a file is damaged or cannot be written.
    """
    prefix = f"{name}."
    with locked(folder / f"{prefix}{RUNS}"):
        kept = read_results(folder, prefix)
        for one in results:
            _check_settings(one.key, one.settings, kept.get(one.key))
        here = {one.key for one in results}
        merged = [*results, *(one for key, one in kept.items() if key not in here)]
        _check_models(merged)
        if merged != list(kept.values()):
            write_results(folder, merged, prefix)


def _check_models(results: Sequence[Result]) -> None:
    """One name, one model: or old and new weights would pass for the same."""
    models: dict[str, str] = {}
    for one in results:
        first = models.setdefault(one.outcome.reward, one.reward_model)
        if first != one.reward_model:
            raise ConfigError(
                f"raw: holds runs of {one.outcome.reward} that {one.reward_model} judged beside "
                f"those of {first}; give the sweep another --name or --raw"
            )
