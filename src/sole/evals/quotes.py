"""Quotes of recorded figures for a page that is written, and the command behind them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sole
from sole.run import file_at

_NAMES_MODELS = re.compile(r"--(?:model|rewards?|jury)[ =]((?:(?!--)\S+ ?)+)")
_WEIGHTS = Path(sole.__file__).parent / "models" / "nano" / "weights" / "model.safetensors"
Figures = Mapping[str, Mapping[str, Any]]


def quote(name: str, form: str, figures: Figures) -> str:
    """The value, with its interval where there is one; a dash where nothing was recorded.

    Example:
        >>> quote("a", "0%", {"a": {"value": 0.5}}), quote("b", "0%", {})
        ('<!--fig:a-->0%<!--/fig-->', '-')
    """
    figure = figures.get(name)
    if figure is None or figure.get("value") is None:
        return "-"
    value = f"<!--fig:{name}-->{form}<!--/fig-->"
    if figure.get("low") is None or figure.get("high") is None:
        return value
    ends = (f"<!--fig:{name}@{end}-->{form}<!--/fig-->" for end in ("low", "high"))
    return f"{value} [{', '.join(ends)}]"


def measured_by(names: Sequence[str], figures: Figures) -> list[str]:
    """A line for each command that recorded these figures: its date, commit and machine."""
    found = dict.fromkeys(_source(figures[name]) for name in names if name in figures)
    return [line for source in found for line in ("", source)]


def _source(figure: Mapping[str, Any]) -> str:
    commit, _, changes = str(figure.get("commit") or "unknown").partition("+")
    where = f"commit {commit[:10]}{'+' if changes else ''}{changes}, {figure.get('machine')}"
    earlier = "" if _is_of_another(figure["command"]) else _earlier_weights(commit)
    return f"`{figure['command']}`, {figure['date']}, {where}{earlier}."


def _is_of_another(command: str) -> bool:
    """Whether a command measured a model that it names, and that is not the shipped one.

    Example:
        >>> [_is_of_another(c) for c in ("x --model nano", "x --model=v0", "x", "x --rewards a")]
        [False, True, False, True]
        >>> _is_of_another("x --rewards oracle nano --out nano")
        False
    """
    named = [name for names in _NAMES_MODELS.findall(command) for name in names.split()]
    return bool(named) and "nano" not in named


@lru_cache
def _earlier_weights(commit: str) -> str:
    """Says so when a commit held other weights than this one: what they did may not be so now.

    Weights are committed before they are measured, so changes beside the commit are other ones.
    """
    held = file_at(commit, _WEIGHTS)
    if held is None:
        return "; weights unknown, because git does not know the commit"
    if held == _WEIGHTS.read_bytes():
        return ""
    name = f"nano-{hashlib.sha256(held).hexdigest()[:10]}"
    return f"; **measured with the weights before these** ({name})"
