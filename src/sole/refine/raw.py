"""Results of refinements that are kept in the repository, and go on from there elsewhere.

One parquet file, a row for each layout of each run: whether clone and refined policy succeeded, and
beside it what the run was asked and who judged it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from sole.data.layout import read_table
from sole.errors import ConfigError, DataError
from sole.evals.output import write_table
from sole.refine.config import RefineConfig, as_begun
from sole.refine.run import Refined, compared
from sole.run import locked

_OUTCOMES = [
    ("task", pa.string()), ("seed", pa.int64()), ("reward", pa.string()), ("variant", pa.string()),
    ("layout", pa.int64()), ("before", pa.bool_()), ("after", pa.bool_()),
]  # fmt: skip
_OF_THE_RUN = [
    ("expert_success", pa.float64()), ("p_value", pa.float64()), ("ended_early", pa.float64()),
    ("false_endings", pa.float64()), ("settings", pa.string()), ("reward_model", pa.string()),
]  # fmt: skip
SCHEMA = pa.schema([*_OUTCOMES, *_OF_THE_RUN])
#: Task and seed.
Key = tuple[str, int]


@dataclass(frozen=True)
class Kept:
    """A finished refinement.

    Attributes:
        refined: What it came to.
        settings: What it was asked, without what changes nothing.
        reward_model: Whose rewards it had, with the hash of the weights.
    """

    refined: Refined
    settings: Mapping[str, Any]
    reward_model: str

    @property
    def key(self) -> Key:
        """Which one it is."""
        return self.refined.task, self.refined.seed


def raw_path(config: RefineConfig) -> Path | None:
    """The file of kept results, if they are to be kept."""
    return config.raw and config.raw / f"{config.prefix}.outcomes.parquet"


def write_kept(path: Path, kept: Sequence[Kept]) -> None:
    """Write a table of outcomes; it appears whole or not at all.

    Raises:
        DataError: If it cannot be written there.
    """
    write_table(path, [row for one in kept for row in _rows(one)], SCHEMA)


def _rows(kept: Kept) -> list[dict[str, Any]]:
    one = kept.refined
    about = {
        "task": one.task, "seed": one.seed, "reward": kept.settings["reward"],
        "variant": kept.settings["variant"], "expert_success": one.expert_success,
        "p_value": one.p_value, "ended_early": one.ended_early, "false_endings": one.false_endings,
        "settings": json.dumps(kept.settings, sort_keys=True), "reward_model": kept.reward_model,
    }  # fmt: skip
    pairs = zip(one.before, one.after, strict=True)
    return [
        {**about, "layout": layout, "before": before, "after": after}
        for layout, (before, after) in enumerate(pairs)
    ]


def read_kept(config: RefineConfig) -> dict[Key, Kept]:
    """What is kept under this prefix; nothing where nothing is.

    Raises:
        DataError: If the file is damaged, or of another version.
    """
    path = raw_path(config)
    if path is None or not path.exists():
        return {}
    rows: dict[Key, list[dict[str, Any]]] = {}
    try:
        table = read_table(path, SCHEMA.names)
    except DataError as error:
        raise DataError(
            f"{error}; if an older version wrote it, give another --prefix or delete it"
        ) from error
    for row in table.to_pylist():
        rows.setdefault((row["task"], row["seed"]), []).append(row)
    return {key: _kept(path, of_run) for key, of_run in rows.items()}


def _kept(path: Path, rows: Sequence[Mapping[str, Any]]) -> Kept:
    first = rows[0]
    try:
        begun = as_begun(json.loads(first["settings"]))
        asked = {"tasks": (first["task"],), "out": path.parent, **begun}
        settings = compared(RefineConfig.model_validate(asked))
    except (ValueError, TypeError, ValidationError) as error:
        raise DataError(
            f"{path}: settings of {first['task']}, seed {first['seed']}, are damaged, or of "
            "another version; delete the file to run its runs again"
        ) from error
    layouts = sorted(rows, key=lambda row: row["layout"])
    refined = Refined(
        first["task"], first["seed"],
        [row["before"] for row in layouts], [row["after"] for row in layouts],
        first["expert_success"], first["p_value"], first["ended_early"], first["false_endings"],
    )  # fmt: skip
    return Kept(refined, settings, first["reward_model"])


def check_kept(config: RefineConfig, model_id: str, kept: Mapping[Key, Kept]) -> None:
    """Refuse kept results of other settings or other weights: all of a file are one table.

    Raises:
        ConfigError: If there is one.
    """
    now = compared(config)
    for one in kept.values():
        differ = sorted(k for k in now if one.settings.get(k) != now[k])
        if one.reward_model != model_id:
            differ.append(f"reward model ({one.reward_model}, now {model_id})")
        if differ:
            raise ConfigError(
                f"raw: holds {one.refined.task}, seed {one.refined.seed}, of a run with another "
                f"{', '.join(differ)}; give another --prefix or --raw"
            )


def keep(config: RefineConfig, refined: Refined, model_id: str) -> None:
    """Add a finished refinement to what is kept; processes that do so take turns.

    Raises:
        ConfigError: If what is kept is of other settings or weights.
        DataError: If the file is damaged or cannot be written.
    """
    path = raw_path(config)
    if path is None:
        return
    with locked(path):
        kept = read_kept(config)
        check_kept(config, model_id, kept)
        one = Kept(refined, compared(config), model_id)
        if kept.get(one.key) != one:
            kept[one.key] = one
            write_kept(path, [kept[key] for key in sorted(kept)])
