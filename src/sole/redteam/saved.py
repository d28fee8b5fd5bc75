"""Exploits on disk: where their files lie, and how they are read back and checked."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sole.data.cache import get_episode
from sole.data.episode import Episode
from sole.errors import DataError
from sole.redteam.exploit import Finding, Rule

RECORD = "exploit.json"
FILM = "episode.npz"
SCORES = "scores.parquet"
#: Folder of the set that is being written; a killed run leaves it behind.
UNFINISHED = ".exploits.tmp"
_KNOWN = ("env", "optimiser", "episode", "seed", "model_id", "rule", "finding")


@dataclass(frozen=True)
class Saved:
    """One exploit on disk: its folder, what is noted of it, its pictures with the truth."""

    folder: Path
    about: dict[str, Any]
    episode: Episode

    @property
    def rule(self) -> Rule:
        """The rule that it was found with."""
        return Rule(**self.about["rule"])

    @property
    def judged_success_at(self) -> float | None:
        """What its search was told to count as success; None where nothing was, or is noted."""
        return self.about.get("judged_success_at")


def read_exploits(folder: Path) -> list[Saved]:
    """Every exploit in or below a folder, sorted by path.

    Raises:
        DataError: If there is none, or one is damaged.
    """
    paths = exploit_folders(folder)
    if not paths:
        raise DataError(f"{folder}: no exploits in it; expected a folder that sole redteam wrote")
    return [read_exploit(path) for path in paths]


def exploit_folders(folder: Path) -> list[Path]:
    """Where the exploits in or below a folder lie, sorted; empty where there are none."""
    return sorted(p.parent for p in folder.rglob(RECORD) if UNFINISHED not in p.parts)


def read_exploit(folder: Path) -> Saved:
    """One exploit.

    Raises:
        DataError: If a file of it is missing, damaged, or not what ``sole redteam`` writes.
    """
    try:
        about = json.loads((folder / RECORD).read_text())
        episode = get_episode(folder / FILM)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(folder, str(error)) from error
    if wrong := _wrong(about):
        raise _damaged(folder, f"{RECORD}: {wrong}")
    return Saved(folder, about, episode)


def _damaged(folder: Path, why: str) -> DataError:
    return DataError(f"{folder}: damaged ({why}); delete it to go on without it")


def _wrong(about: Any) -> str:
    """What a record lacks; empty when it is whole.

    Example:
        >>> _wrong({"env": "worlds/door-open"})
        'no optimiser, episode, seed, model_id, rule, finding'
    """
    if not isinstance(about, dict):
        return f"expected an object, got {type(about).__name__}"
    if missing := [name for name in _KNOWN if name not in about]:
        return f"no {', '.join(missing)}"
    for name, shape in (("rule", Rule), ("finding", Finding)):
        if wrong := _not_numbers(about[name], [f.name for f in fields(shape)]):
            return f"{name}: {wrong}"
    told = about.get("judged_success_at")
    if told is not None and not isinstance(told, int | float):
        return f"judged_success_at: expected a number or null, got {told!r}"
    return ""


def _not_numbers(part: Any, names: list[str]) -> str:
    """Whether a part of a record holds exactly these numbers; a flag is one."""
    if not isinstance(part, Mapping) or set(part) != set(names):
        return f"expected {', '.join(names)}, got {part!r}"
    bad = [name for name in names if not isinstance(part[name], int | float)]
    return f"expected numbers, got {part[bad[0]]!r} for {bad[0]}" if bad else ""
