"""What a training of an ablation came to: in its folder, and where results are kept for good."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sole.ablate.config import AblateConfig, AblationConfig
from sole.data.lerobot_reader import open_dataset
from sole.errors import ConfigError, DataError
from sole.run import locked, write_atomically

_RESULT = "result.json"
_MEASURED = {"tasks", "episodes_per_task", "rl_tasks", "rl_episodes", "tiny"}


def finished(config: AblateConfig, ablation: AblationConfig, seed: int) -> dict[str, float] | None:
    """The result in its folder, or else where results are kept.

    Raises:
        ConfigError: If either is one of other settings.
        DataError: If the file of kept results is damaged.
    """
    done = folder_of(config, ablation, seed) / _RESULT
    found = [(done.parent, json.loads(done.read_text()))] if done.exists() else []
    if config.raw and (kept := _kept(config.raw).get(_key(ablation, seed))):
        found.append((config.raw, kept))
    for where, one in found:
        if _with_defaults(one["asked"]) != _asked(config, ablation):
            raise ConfigError(
                f"{where}: {ablation.name}, seed {seed}, was run with other settings; choose "
                f"another {'--raw' if where == config.raw else '--out'}"
            )
    return found[0][1]["result"] if found else None


def _with_defaults(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A setting that came later had its default."""
    measured = AblateConfig.model_validate({"presets": (), **asked["measured"]})
    ablation = AblationConfig.model_validate(asked["ablation"])
    return _asked(measured, ablation)


def _key(ablation: AblationConfig, seed: int) -> str:
    return f"{ablation.name}/seed{seed}"


def _kept(path: Path) -> dict[str, Any]:
    """Results by ablation and seed; none where there is no file."""
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text())
        for one in kept.values():
            if not isinstance(one["result"], dict) or not isinstance(one["data"], dict):
                raise TypeError("an entry's result or data is none")
            _with_defaults(one["asked"])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of sole ablate --raw ({error!r})") from error
    return kept


def _data_hashes(ablation: AblationConfig) -> dict[str, str]:
    """What the data sets hold, by their folders, of those that are here."""
    found = {}
    for folder in (*ablation.data, *ablation.negatives):
        plan = folder / "meta" / "info.json"
        if plan.exists():
            episodes = json.dumps(open_dataset(folder).episodes, sort_keys=True, default=str)
            found[str(folder)] = hashlib.sha256(episodes.encode()).hexdigest()[:16]
    return found


def check_data(config: AblateConfig, ablations: Sequence[AblationConfig]) -> None:
    """Refuse rows of different data in one table: they are there to be compared.

    Raises:
        ConfigError: If a data set is another one than a kept result's of that folder.
    """
    if config.raw is None:
        return
    kept = _kept(config.raw)
    for one in ablations:
        here = _data_hashes(one)
        for key, entry in kept.items():
            if other := sorted(f for f in here if entry["data"].get(f, here[f]) != here[f]):
                raise ConfigError(
                    f"{config.raw}: {key} was trained on other data than {other[0]} holds now; "
                    "make that data set again, or choose another --raw"
                )


def finish(
    config: AblateConfig, ablation: AblationConfig, seed: int, result: Mapping[str, float]
) -> None:
    """Write the result into its folder, and where results are kept."""
    text = json.dumps({"asked": _asked(config, ablation), "result": result}, indent=1)
    write_atomically(folder_of(config, ablation, seed) / _RESULT, text)
    keep(config, ablation, seed)


def keep(config: AblateConfig, ablation: AblationConfig, seed: int) -> None:
    """Add a finished training to the kept results; processes that do so take turns.

    Raises:
        ConfigError: If there is one of other settings.
        DataError: If the file is damaged or cannot be written.
    """
    if config.raw is None:
        return
    with locked(config.raw):
        found, kept = finished(config, ablation, seed), _kept(config.raw)
        key = _key(ablation, seed)
        if key in kept:
            return
        kept[key] = {
            "asked": _asked(config, ablation),
            "data": _data_hashes(ablation),
            "result": found,
        }
        write_atomically(config.raw, json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


def folder_of(config: AblateConfig, ablation: AblationConfig, seed: int) -> Path:
    """Where a training's runs and its result lie."""
    return config.out / ablation.name / f"seed{seed}"


def _asked(config: AblateConfig, ablation: AblationConfig) -> dict[str, Any]:
    return {
        "ablation": ablation.model_dump(mode="json"),
        "measured": config.model_dump(mode="json", include=_MEASURED),
    }
