"""Where text for people goes: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sole.errors import SoleError

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


@contextmanager
def progress_bar(what: str, total: int, completed: int = 0) -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr while the block runs; call the yielded function with each advance."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=completed)
        yield lambda n: bar.advance(task, n)


def run_module(main: Callable[[Sequence[str]], int], name: str) -> NoReturn:
    """End the process as ``python -m`` of one of our modules does: a user's mistake is one line."""
    try:
        code = main(sys.argv[1:])
    except SoleError as error:
        stderr.print(f"{name}: {error}", markup=False, soft_wrap=True)
        code = error.exit_code
    raise SystemExit(code)
