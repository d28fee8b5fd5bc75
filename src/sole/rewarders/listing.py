"""``sole models list``: which reward models there are, what they need and what they cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config, run_word
from sole.console import stdout
from sole.rewarders.catalogue import CATALOGUE, Entry

_USAGE = (
    "usage: sole models list [flags]\n\n"
    "  list  every reward model, what it needs, its cost for one episode, licence and source\n\n"
    "sole models list --help shows the flags.\n"
)


class ListConfig(Config):
    """List every reward model, what it needs, its cost for one episode, licence and source."""

    frames: Annotated[int, Field(ge=1)] = 25
    """Frames of the episode whose cost is shown; all of them are scored."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole models``; the first word chooses what is done."""
    return run_word(argv, {"list": f"{__name__}:run_list"}, "sole models", _USAGE)


def run_list(argv: Sequence[str]) -> int:
    """Run ``sole models list``."""
    config = parse_config(ListConfig, argv, "sole models list")
    if config.print_json:
        rows = [as_json(entry, config.frames) for entry in CATALOGUE]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _show(config.frames)
    return 0


def as_json(entry: Entry, n_frames: int) -> dict[str, Any]:
    """One reward model for machines, with its cost for an episode of ``n_frames``."""
    return {
        "name": entry.name,
        "about": entry.about,
        "needs": entry.needs,
        "memory": entry.memory,
        "n_frames": n_frames,
        "model_calls": entry.calls(n_frames) if entry.calls else None,
        "pictures": entry.pictures(n_frames) if entry.pictures else None,
        "reasoning": entry.reasoning,
        "judges_running_episodes": entry.running,
        "licence": entry.licence,
        "source": entry.source,
    }


def _show(n_frames: int) -> None:
    for entry in CATALOGUE:
        row = as_json(entry, n_frames)
        cost = "on the server"
        if row["model_calls"] is not None:
            cost = f"{row['model_calls']} calls with {row['pictures']} pictures"
        details = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
        details.add_column(style="dim", no_wrap=True)
        details.add_column()
        details.add_row("needs", entry.needs)
        details.add_row("weights", entry.memory)
        details.add_row(f"{n_frames} frames", cost)
        details.add_row("reasoning", entry.reasoning)
        details.add_row("running episodes", "yes" if entry.running else "no")
        details.add_row("licence", entry.licence)
        details.add_row("source", entry.source)
        stdout.print(f"[bold]{entry.name}[/]  {entry.about}")
        stdout.print(details)
    stdout.print(
        "[bold]env[/]  no reward model: the simulator's own dense reward, as --reward of sole rl, "
        "sole bench rl and sole refine"
    )
