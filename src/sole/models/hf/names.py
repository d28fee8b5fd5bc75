"""What a model's name says, before anything heavy is imported."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from sole.errors import ConfigError
from sole.models.hf.presets import READINGS, ROBUST

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_PARTS = re.compile(r"(?P<where>.+?)(?:@(?P<revision>[^@:]+))?(?::(?P<preset>\w+))?")


@dataclass(frozen=True)
class ModelName:
    """``WHERE[@REVISION][:PRESET]`` in its parts.

    Attributes:
        where: A folder, or ``ORGANISATION/MODEL`` on Hugging Face.
        revision: Branch, tag or commit there; None for the main branch.
        preset: ``robust`` or ``published``; None when it is not said.
    """

    where: str
    revision: str | None = None
    preset: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine."""
        return Path(self.where).is_dir()

    @property
    def is_hub_name(self) -> bool:
        """Whether it has the form of a model on Hugging Face."""
        return _HUB_NAME.fullmatch(self.where) is not None

    @property
    def reading(self) -> str:
        """The preset, ``robust`` when none is said."""
        return self.preset or ROBUST.name


def parse_name(name: str) -> ModelName:
    """Take a model's name apart; a folder that is really called so is taken as it is.

    Raises:
        ConfigError: If a folder or hub name is followed by a preset that there is not.

    Example:
        >>> parse_name("Philip-MIT/SOLE-R1-8B@main:published")
        ModelName(where='Philip-MIT/SOLE-R1-8B', revision='main', preset='published')
        >>> parse_name("Qwen/Qwen3-VL-2B-Instruct").reading
        'robust'
    """
    if Path(name).is_dir():
        return ModelName(name)
    match = _PARTS.fullmatch(name)
    if match is None:
        return ModelName(name)
    found = ModelName(**match.groupdict())
    real = found.is_folder or found.is_hub_name
    if real and found.preset is not None and found.preset not in READINGS:
        presets = " or ".join(f":{preset}" for preset in READINGS)
        raise ConfigError(f"model {name}: no preset {found.preset!r}; expected {presets}")
    return found


def model_type(folder: Path) -> str:
    """What ``config.json`` says the model is.

    Raises:
        ConfigError: If there is no such file, it cannot be read, or it does not say.
    """
    try:
        found = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"model {folder}: no config.json in this folder; expected a checkpoint as "
            "save_pretrained writes it (sole sft: the folder it names when it is done)"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"model {folder}: config.json cannot be read ({error})") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(kind, str):
        raise ConfigError(f"model {folder}: config.json names no model_type")
    return kind
