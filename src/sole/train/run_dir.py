"""Whether a training may begin, or go on, in a folder, from a model, and with its data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sole.config import Config, load_preset
from sole.data.lerobot_reader import open_dataset
from sole.errors import ConfigError
from sole.run import make_folder
from sole.synth.augment import refuse_held_out_rows

#: What a run that was killed in its first moments may have left.
_BEFORE_CONFIG = {"checkpoints", "data.json", ".data.json.tmp", ".config.json.tmp"}

_HASHES = "episodes_sha256"

#: What a run did that was begun before these settings existed, where it is not today's default.
_ABSENT = {"question_share": 0.0}


def check_run_dir(folder: Path, config: Config, verb: str, free: Collection[str]) -> None:
    """Refuse, before anything is written, a folder that holds another run than this one.

    Opening a run's folder cuts off its metrics behind the last checkpoint, so the folder of another
    verb, or of other settings, would lose what it holds. A setting that did not exist when the run
    began counts as having its default, or what such runs did.

    Args:
        folder: Of the run.
        config: What is asked for now.
        verb: For messages, such as ``sole sft``.
        free: Settings that may differ when a run is continued: they change no number of it.

    Raises:
        ConfigError: If it does.
    """
    path = folder / "config.json"
    if not path.exists():
        there = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        if there - _BEFORE_CONFIG:
            raise ConfigError(f"run_dir {folder}: not empty, and no run; choose another")
        return
    begun, asked = load_preset(path), config.model_dump(mode="json")
    fields = type(config).model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    if not required <= set(begun) <= set(asked):
        raise ConfigError(f"run_dir {folder}: holds no run of {verb}; choose another")
    defaults = type(config).model_validate({k: asked[k] for k in required}).model_dump(mode="json")
    begun = {**defaults, **{k: v for k, v in _ABSENT.items() if k in defaults}, **begun}
    changed = sorted(name for name in asked if name not in free and begun[name] != asked[name])
    if changed:
        raise ConfigError(
            f"run_dir {folder}: its run has another {', '.join(changed)}; choose another "
            "folder, or give the same settings to continue it"
        )


def make_run_dir(folder: Path, export: Path | None) -> None:
    """Make the run's folder; the finished model's, hours later, must be able to be one.

    Raises:
        ConfigError: If one of them cannot be a folder.
    """
    if export is not None and export.exists() and not export.is_dir():
        raise ConfigError(f"export {export}: is no folder; choose another")
    make_folder(folder)


def refuse_held_out_data(folders: Sequence[Path]) -> None:
    """Refuse datasets with episodes of tasks that must not be trained on.

    Raises:
        ConfigError: If there is one; recordings that name no environment cannot be told.
        DataError: If a folder is no dataset.
    """
    for folder in folders:
        refuse_held_out_rows(open_dataset(folder).episodes)


def about_data(folders: Sequence[Path]) -> dict[str, Any]:
    """What a run's data.json says of its data sets: where they lie, and what they hold."""
    hashes = {str(folder): open_dataset(folder).episodes_hash() for folder in folders}
    return {"folders": [str(folder) for folder in folders], _HASHES: hashes}


def check_same_data(run: Path, folders: Sequence[Path]) -> None:
    """Refuse to go on with other episodes than a run began with: a folder may be made again.

    Raises:
        ConfigError: If a folder holds others; runs of before this was kept may go on.
        DataError: If a folder is no dataset.
    """
    path = run / "data.json"
    if not (run / "config.json").exists() or not path.exists():
        return
    begun = load_preset(path).get(_HASHES, {})
    for folder, now in about_data(folders)[_HASHES].items():
        if begun.get(folder, now) != now:
            raise ConfigError(
                f"run_dir {run}: {folder} holds other episodes than those that the run began "
                "with; choose another run_dir, or make that data set again"
            )


def nano_folder(asked: str) -> Path:
    """Where the weights of ``--init`` lie; what is no nano is refused before anything is written.

    The network would be opened all the same, and what it does not find there would be random.

    Args:
        asked: ``nano`` for the weights that ship, or a folder.

    Raises:
        ConfigError: If there is no model, or one of another kind.
    """
    from sole.models.nano.reader import WEIGHTS  # only now: torch takes seconds

    folder = WEIGHTS if asked == "nano" else Path(asked)
    config = folder / "config.json"
    if not (folder / "model.safetensors").is_file() or not config.is_file():
        raise ConfigError(f"no model in --init {asked}: expected config.json and model.safetensors")
    if '"sole_nano"' not in config.read_text():
        raise ConfigError(
            f"--init {asked}: expected nano or a folder that `sole sft` wrote; "
            f"for another vision-language model: --model {asked}"
        )
    return folder
