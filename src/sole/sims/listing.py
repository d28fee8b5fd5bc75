"""``sole sims list``: suites, tasks and splits, what is installed, how to get the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from sole.config import Config, parse_config, run_word
from sole.console import stdout
from sole.errors import ConfigError
from sole.sims.registry import SUITES, split_of, task_names

_USAGE = (
    "usage: sole sims list|sheet [flags]\n\n"
    "  list   suites, tasks and splits; what is installed, and the command for what is not\n"
    "  sheet  one picture of a suite, a small view of each task\n\n"
    "sole sims list --help shows the flags.\n"
)
_SPLITS = ("train", "dev", "test")


class SimsConfig(Config):
    """List suites, tasks and splits; what is installed, and the command for what is not."""

    suite: str | None = None
    """Show this suite only, each task with its sentence."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of the table."""


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole sims``; the first word chooses what is done."""
    words = {"list": f"{__name__}:run_list", "sheet": "sole.sims.sheet:main"}
    return run_word(argv, words, "sole sims", _USAGE)


def run_list(argv: Sequence[str]) -> int:
    """Run ``sole sims list``."""
    config = parse_config(SimsConfig, argv, "sole sims list")
    if config.suite is not None and config.suite not in SUITES:
        raise ConfigError(f"no suite {config.suite!r}; choose from: {', '.join(SUITES)}")
    rows = [as_json(name) for name in SUITES if config.suite in (None, name)]
    if config.print_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _show(rows, sentences=config.suite is not None)
    return 0


def as_json(suite: str) -> dict[str, Any]:
    """One suite for machines: whether it is installed, and its tasks."""
    about = SUITES[suite]
    names = [name for name in task_names() if name.startswith(f"{suite}/")]
    return {
        "suite": suite,
        "installed": about.installed(),
        "install": about.install,
        "tasks": [_task(name) for name in names],
        "held_out_but_not_offered": dict(about.held_out),
    }


def _task(full_name: str) -> dict[str, Any]:
    suite, _, name = full_name.partition("/")
    task = SUITES[suite].tasks.get(name)
    return {
        "name": full_name,
        "split": split_of(full_name),
        # Sentences of our own worlds are made with each scene.
        "sentence": task.sentence if task else None,
        "paraphrases": list(task.paraphrases) if task else [],
        "expert": getattr(task, "expert", True),
    }


def _show(rows: list[dict[str, Any]], *, sentences: bool) -> None:
    for row in rows:
        state = "installed" if row["installed"] else f"not installed: {escape(row['install'])}"
        # On one line, however narrow the terminal: the command is there to be copied.
        stdout.print(f"[bold]{row['suite']}[/]  {len(row['tasks'])} tasks  {state}", soft_wrap=True)
        details = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
        details.add_column(style="dim", no_wrap=True)
        details.add_column(overflow="fold")  # not cut: names are there to be copied
        for split in _SPLITS:
            tasks = [task for task in row["tasks"] if task["split"] == split]
            if sentences:
                for task in tasks:
                    details.add_row(split, f"{task['name']}: {task['sentence'] or 'many'}")
            elif tasks:
                details.add_row(f"{split} {len(tasks)}", _short(tasks))
        stdout.print(details)


def _short(tasks: list[dict[str, Any]]) -> str:
    names = [task["name"].partition("/")[2] for task in tasks]
    more = f" and {len(names) - 40} more" if len(names) > 40 else ""
    return ", ".join(names[:40]) + more
