"""Figures that documents quote: written by the command that measured them, compared by a test.

``python -m sole.evals.figures README.md docs/*.md`` rewrites the quotes
``<!--fig:NAME-->VALUE<!--/fig-->`` from docs/figures.json, keeping the digits shown.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sole.errors import DataError
from sole.run import git_state, write_atomically

_QUOTE = re.compile(r"<!--fig:(?P<name>[\w.\-]+)-->(?P<text>.*?)<!--/fig-->")
_NUMBER = re.compile(r"-?\d+(?:\.(?P<decimals>\d+))?")


@dataclass(frozen=True)
class Figure:
    """One measured number; ``low`` and ``high`` bound it where an interval was computed."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None


def load_figures(path: Path) -> dict[str, dict[str, Any]]:
    """Read docs/figures.json by name; an absent file holds none."""
    if not path.exists():
        return {}
    try:
        return {entry["name"]: entry for entry in json.loads(path.read_text())}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of figures ({error}); restore it from git") from error


def record_figures(path: Path, figures: Sequence[Figure], command: str) -> None:
    """Add or replace figures, with commit, machine and date of this moment."""
    entries = load_figures(path)
    git = git_state(path.resolve().parent)
    about = {
        "command": command,
        "commit": f"{git['commit']}{'+changes' if git['dirty'] else ''}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    for figure in figures:
        numbers = {k: _plain(v) for k, v in vars(figure).items()}
        entries[figure.name] = {**numbers, **about}
    write_atomically(path, json.dumps([entries[name] for name in sorted(entries)], indent=1) + "\n")


def check_quotes(markdown: str, figures: dict[str, dict[str, Any]]) -> list[str]:
    """Say which quotes name no figure or show another number than the figure, as rounded.

    Example:
        >>> check_quotes("<!--fig:a-->0.52<!--/fig-->", {"a": {"value": 0.519}})
        []
        >>> check_quotes("<!--fig:a-->0.60<!--/fig-->", {"a": {"value": 0.519}})
        ['a: shows 0.60, measured 0.52']
    """
    complaints = []
    for quote in _QUOTE.finditer(markdown):
        name, text = quote["name"], quote["text"]
        if name not in figures:
            complaints.append(f"{name}: no such figure")
        elif (right := _shown(text, figures[name]["value"])) != text:
            complaints.append(f"{name}: shows {text}, measured {right}")
    return complaints


def fill_quotes(markdown: str, figures: dict[str, dict[str, Any]]) -> str:
    """Rewrite every quote of a known figure with its number.

    Example:
        >>> fill_quotes("<!--fig:a-->0.00<!--/fig-->", {"a": {"value": 0.519}})
        '<!--fig:a-->0.52<!--/fig-->'
    """

    def put(quote: re.Match[str]) -> str:
        name, text = quote["name"], quote["text"]
        if name in figures:
            text = _shown(text, figures[name]["value"])
        return f"<!--fig:{name}-->{text}<!--/fig-->"

    return _QUOTE.sub(put, markdown)


def _shown(text: str, value: float) -> str:
    """``value`` with the decimals of ``text``; a quote that ends in % shows a share in percent."""
    found = _NUMBER.search(text)
    decimals = len(found["decimals"] or "") if found else 2
    if text.rstrip().endswith("%"):
        return f"{100 * value:.{decimals}f}%"
    return f"{value:.{decimals}f}"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def main(paths: Sequence[str]) -> int:
    """Fill the quotes of these Markdown files from docs/figures.json."""
    figures = load_figures(Path("docs/figures.json"))
    for name in paths:
        path = Path(name)
        path.write_text(fill_quotes(path.read_text(), figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
