"""What a training of an ablation came to: in its folder, and where results are kept for good."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sole.ablate.config import AblateConfig, AblationConfig
from sole.data.layout import read_json
from sole.data.lerobot_reader import open_dataset
from sole.errors import ConfigError, DataError
from sole.run import locked, make_folder, write_atomically

_RESULT = "result.json"
_BEGUN = "begun.json"
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
            found[str(folder)] = open_dataset(folder).episodes_hash()
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
            if other := _other_data(entry["data"], here):
                raise ConfigError(
                    f"{config.raw}: {key} was trained on other data than {other[0]} holds now; "
                    "make that data set again, or choose another --raw"
                )


def check_begun(config: AblateConfig, ablation: AblationConfig, seed: int) -> None:
    """Refuse to go on with a training that was begun with other settings or other data.

    Raises:
        ConfigError: If that is so; one that was begun before this was kept may go on.
        DataError: If the record of it is damaged.
    """
    path = folder_of(config, ablation, seed) / _BEGUN
    if not path.exists():
        return
    begun = read_json(path)
    try:
        alike = _with_defaults(begun["asked"]) == _asked(config, ablation)
        other = _other_data(begun["data"], _data_hashes(ablation))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error!r}); remove its folder to begin again") from error
    if not alike or other:
        raise ConfigError(
            f"{path.parent}: {ablation.name}, seed {seed}, was begun with other "
            f"{f'data in {other[0]}' if alike else 'settings'}; put them back to continue it, "
            "choose another --out, or remove this folder"
        )


def begin(config: AblateConfig, ablation: AblationConfig, seed: int) -> None:
    """Make a training's folder, and write what is asked for and of which data, before it begins.

    Raises:
        ConfigError: If it cannot be made, or was begun with something else.
        DataError: If its record is damaged or cannot be written.
    """
    check_begun(config, ablation, seed)
    folder = folder_of(config, ablation, seed)
    make_folder(folder)
    about = {"asked": _asked(config, ablation), "data": _data_hashes(ablation)}
    write_atomically(folder / _BEGUN, json.dumps(about, indent=1))


def _other_data(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The folders that hold something else than they did, as far as they are known."""
    return sorted(folder for folder in now if then.get(folder, now[folder]) != now[folder])


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
