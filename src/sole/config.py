"""How a verb gets its settings: a frozen pydantic class, a TOML or JSON preset, then flags."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from sole.errors import ConfigError


class Config(BaseModel):
    """Base of every verb's settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ConfigT = TypeVar("ConfigT", bound=Config)


def load_preset(path: Path) -> dict[str, Any]:
    """Read a preset: TOML, or JSON as a run saves it.

    Raises:
        ConfigError: If the file is missing, is neither, or does not hold settings by name.
    """
    try:
        text = path.read_text(encoding="utf-8")
        preset = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"preset {path}: cannot be read ({error.strerror})") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {path}: {error}") from error
    if not isinstance(preset, dict):
        raise ConfigError(f"preset {path}: expected settings by name, got {str(preset)[:80]}")
    return preset


def run_word(argv: Sequence[str], words: Mapping[str, str], verb: str, usage: str) -> int:
    """Run what the word behind a verb names, such as ``quality`` in ``sole eval quality``.

    Args:
        argv: The word, and what is for it alone; ``--help`` prints the usage.
        words: ``module:function`` by word. Only the chosen module is imported, so that help is
            there at once.
        verb: What the user typed before the word, for the error.
        usage: The text of ``--help``.

    Raises:
        ConfigError: If there is no such word.
    """
    if argv and argv[0] in {"-h", "--help"}:
        sys.stdout.write(usage)
        return 0
    if not argv or argv[0] not in words:
        raise ConfigError(
            f"expected one of {', '.join(words)}, got {' '.join(argv[:1])!r}: {verb} --help"
        )
    module, _, function = words[argv[0]].partition(":")
    return getattr(importlib.import_module(module), function)(argv[1:])


def parse_config(
    kind: type[ConfigT], argv: Sequence[str], prog: str, *, presets: bool = True
) -> ConfigT:
    """Turn ``[PRESET] --flag value ...`` into a config.

    A first argument that ends in .toml or .json is a preset; flags override what it says. A verb
    that reads such files itself says ``presets=False``.

    Raises:
        ConfigError: For an invalid value, naming the setting.
    """
    arguments = list(argv)
    preset: dict[str, Any] = {}
    first = arguments[0] if presets and arguments else ""
    if Path(first).suffix in {".toml", ".json"} and "=" not in first:
        preset = load_preset(Path(arguments.pop(0)))
    try:
        if not preset:
            return tyro.cli(kind, args=arguments, prog=prog, description=kind.__doc__)
        default = _defaults(kind, preset)
        return tyro.cli(kind, args=arguments, prog=prog, description=kind.__doc__, default=default)
    except ValidationError as error:
        raise ConfigError(first_complaint(error)) from error


def _defaults(kind: type[ConfigT], preset: Mapping[str, Any]) -> ConfigT:
    """What a preset says; the settings that it must leave to flags are marked as missing."""
    absent = [n for n, f in kind.model_fields.items() if f.is_required() and n not in preset]
    if not absent:
        return kind.model_validate(preset)
    fields: dict[str, Any] = dict.fromkeys(absent, (Any, tyro.MISSING))
    partial = create_model(kind.__name__, __base__=kind, **fields).model_validate(preset)
    return kind.model_construct(**dict(partial))


def first_complaint(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: which setting, why, and what came."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "config"
    return f"{name}: {first['msg']} (got {first.get('input')!r})"
