"""Figures that documents quote: written by the command that measured them, compared by a test.

``python -m sole.evals.figures fill README.md docs/*.md`` rewrites the quotes
``<!--fig:NAME-->VALUE<!--/fig-->`` from docs/figures.json, keeping the digits shown; ``check``
instead of ``fill`` lists those that are wrong. ``forget 'test17.*vroc_expert'`` drops figures whose
measure is gone or has another name.

A quote shows the value with as many decimals as it has. One that ends in ``%`` shows a share (0.654
as 65%); a figure whose unit is already ``%`` or ``percent`` is not multiplied. One that ends in
``M`` shows millions. ``NAME@low`` and ``NAME@high`` quote the ends of the interval. A bare ``0`` or
``?`` is a place-holder: filling gives it the decimals of its unit.
"""

from __future__ import annotations

import datetime
import fnmatch
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sole.console import run_module
from sole.errors import BadInputError, ConfigError, DataError
from sole.run import git_state, locked, write_atomically

FIGURES = Path("docs/figures.json")
_QUOTE = re.compile(r"<!--fig:(?P<name>[\w.\-]+(?:@low|@high)?)-->(?P<text>.*?)<!--/fig-->")
#: A path from the root of the file system, at the start of a word or after "=".
_ABSOLUTE = re.compile(r"(?:(?<=\s)|(?<==)|^)/(?:[^\s/]+/)*([^\s/]+)/?")
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
    # What an earlier command recorded here is no change of the code that measures.
    git = git_state(path.resolve().parent, apart_from=path)
    about = {
        "command": portable(command, path.resolve().parent.parent),
        "commit": f"{git['commit']}{'+changes' if git['dirty'] else ''}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    with locked(path):
        entries = load_figures(path)
        for name, numbers in by_name(figures).items():
            entries[name] = {**numbers, **about}
        _write(path, entries)


def by_name(figures: Sequence[Figure]) -> dict[str, dict[str, Any]]:
    """Figures as the file holds them, without where they come from: rounded, None for no number.

    Example:
        >>> by_name([Figure("a", math.nan, "s")])["a"]["value"] is None
        True
    """
    return {one.name: {k: _plain(v) for k, v in vars(one).items()} for one in figures}


def _write(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    write_atomically(path, json.dumps([entries[name] for name in sorted(entries)], indent=1) + "\n")


def portable(command: str, root: Path) -> str:
    """A command without the folders of one machine: a reader's are other ones.

    Paths below ``root`` and the working folder become relative to it; of others the name is kept.

    Example:
        >>> portable("sole demo --out /tmp/demo --figures /r/docs/f.json", Path("/r"))
        'sole demo --out demo --figures docs/f.json'
        >>> portable("sole score --model openai:http://host/v1#m --against a=/x/b", Path("/r"))
        'sole score --model openai:http://host/v1#m --against a=b'
    """
    for folder in (root, Path.cwd()):
        command = command.replace(f"{folder}{os.sep}", "")
    return _ABSOLUTE.sub(r"\1", command)


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
        figure = quoted(name, figures)
        if figure is None:
            complaints.append(f"{name}: no such figure")
        elif (right := _shown(text, figure)) != text:
            complaints.append(f"{name}: shows {text}, measured {right}")
    return complaints


def fill_quotes(markdown: str, figures: dict[str, dict[str, Any]]) -> str:
    """Rewrite every quote of a known figure with its number; ``?`` takes the form of its unit.

    Example:
        >>> fill_quotes("<!--fig:a-->0.00<!--/fig-->", {"a": {"value": 0.519}})
        '<!--fig:a-->0.52<!--/fig-->'
    """

    def put(quote: re.Match[str]) -> str:
        name, text = quote["name"], quote["text"]
        if (figure := quoted(name, figures)) is not None:
            pattern = _pattern(figure) if text.strip() == "?" else text
            text = _shown(pattern, figure)
        return f"<!--fig:{name}-->{text}<!--/fig-->"

    return _QUOTE.sub(put, markdown)


def quoted(name: str, figures: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The figure that a quote names, or one end of its interval as a figure; None without one.

    Example:
        >>> quoted("a@low", {"a": {"value": 0.5, "low": 0.4, "unit": "share"}})["value"]
        0.4
    """
    base, _, end = name.partition("@")
    figure = figures.get(base)
    return figure if figure is None or not end else {**figure, "value": figure.get(end)}


def _pattern(figure: dict[str, Any]) -> str:
    """How a figure is shown where the document has not decided: an example of the form."""
    value, unit = figure["value"], figure.get("unit", "")
    if unit == "parameters":
        return "0.0M"
    if unit in {"", "share"}:
        return "0.00"
    return "0" if value is None or abs(value) >= 100 else "0.0"


def _shown(pattern: str, figure: dict[str, Any]) -> str:
    """The figure's value in the form of ``pattern``: its decimals and its sign of unit."""
    value = figure["value"]
    if value is None:
        return "not measured"
    found = _NUMBER.search(pattern)
    decimals = len(found["decimals"] or "") if found else 2
    sign = pattern.rstrip()[-1:]
    scale = 1.0
    if sign == "%" and figure.get("unit") not in {"%", "percent"}:
        scale = 100.0
    elif sign == "M":
        scale = 1e-6
    number = f"{round(scale * value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no minus zero
    return number + (sign if sign in {"%", "M"} else "")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def main(argv: Sequence[str]) -> int:
    """``fill FILES``, ``check FILES``, ``forget NAMES`` or ``time NAME COMMAND``."""
    if len(argv) > 2 and argv[0] == "time":
        return _time(argv[1], argv[2:])
    if len(argv) > 1 and argv[0] == "forget":
        return _forget(argv[1:])
    if not argv or argv[0] not in {"fill", "check"}:
        raise ConfigError(
            "usage: python -m sole.evals.figures fill|check FILE.md... | forget NAME... | time ..."
        )
    figures = load_figures(FIGURES)
    wrong = []
    for path in map(Path, argv[1:]):
        try:
            text = path.read_text()
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read ({error.strerror})") from error
        if argv[0] == "fill" and (filled := fill_quotes(text, figures)) != text:
            text = filled
            write_atomically(path, text)
        wrong += [f"{path}: {complaint}" for complaint in check_quotes(text, figures)]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


def _forget(patterns: Sequence[str]) -> int:
    """Drop the figures of these names, which may hold ``*``; none of them may name nothing."""
    entries = load_figures(FIGURES)
    for pattern in patterns:
        found = fnmatch.filter(entries, pattern)
        if not found:
            raise ConfigError(f"{FIGURES}: no figure is called {pattern}")
        for name in found:
            del entries[name]
            sys.stdout.write(f"{name}\n")
    _write(FIGURES, entries)
    return 0


def _time(name: str, command: Sequence[str]) -> int:
    """Run a command and record its minutes if it succeeds."""
    began = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        minutes = (time.perf_counter() - began) / 60
        record_figures(FIGURES, [Figure(name, minutes, "minutes")], " ".join(command))
    return code


if __name__ == "__main__":
    run_module(main, "figures")
