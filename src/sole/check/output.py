"""What every ``sole check`` has in common: settings, shares with intervals, tables, figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import Field
from rich.table import Table

from sole.config import Config
from sole.console import stdout
from sole.evals.figures import Figure, record_figures
from sole.evals.output import Share


class CheckConfig(Config):
    """Settings of every check."""

    seed: int = Field(0, ge=0)
    """Of everything that is drawn."""
    figures: Path | None = None
    """Record the numbers in this figures file."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class Measured:
    """One number: a share ``k`` of ``n``, or, without ``n``, the number ``k`` with its unit."""

    name: str
    k: float
    n: int | None = None
    unit: str = ""

    def figure(self) -> Figure:
        """As docs/figures.json keeps it; shares have Wilson's interval."""
        if self.n is None:
            return Figure(self.name, float(self.k), self.unit)
        share = Share(int(self.k), self.n)
        return Figure(self.name, share.value, "share", *share.interval)

    @property
    def text(self) -> str:
        """For the table."""
        if self.n is None:
            return f"{self.k:.5g} {self.unit}".strip()
        value = self.k / self.n if self.n else float("nan")
        return f"{value:.2%} ({self.k:.0f} of {self.n})"


ConfigT = TypeVar("ConfigT", bound=CheckConfig)
Check = Callable[[ConfigT], tuple[list[Measured], dict[str, Any]]]


def counted(what: str, config: ConfigT, check: Check[ConfigT], argv: Sequence[str]) -> int:
    """Run a check, print what it found, record it if asked; 0 whatever the numbers are."""
    measured, about = check(config)
    if config.print_json:
        numbers = {m.name: {"k": m.k, "n": m.n, "unit": m.unit} for m in measured}
        stdout.out(json.dumps({"measured": numbers, "about": about}, indent=1), highlight=False)
    else:
        _show(measured, about)
    if config.figures:
        command = " ".join(["sole check", what, *argv])
        record_figures(config.figures, [m.figure() for m in measured], command)
    return 0


def _show(measured: Sequence[Measured], about: dict[str, Any]) -> None:
    table = Table("what", "value")
    for one in measured:
        table.add_row(one.name, one.text)
    for name, value in about.items():
        table.add_row(name.replace("_", " "), json.dumps(value))
    stdout.print(table)
