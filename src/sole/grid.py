"""Tables that fit a terminal without cutting a number off."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

#: Widest part of a first column that is shown in one line; longer names are folded there.
_NAME_WIDTH = 22
_BORDERS = 3  # of each column, and one more of the table


@dataclass(frozen=True)
class Grid:
    """Cells of a table before it is known how many columns fit side by side.

    Attributes:
        title: Above it.
        columns: Their names.
        rows: Cells, all plain text.
        n_names: So many first columns say whose row it is.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    n_names: int = 1


def fitted(grid: Grid, width: int) -> list[Table]:
    """The grid as one table, or as several that repeat its first columns, each within ``width``.

    Only names are ever folded: a number that is cut off, or missing, would be another number.
    """
    widths = [max(map(len, cells)) for cells in zip(grid.columns, *grid.rows, strict=True)]
    names = [min(w, _NAME_WIDTH) + _BORDERS for w in widths[: grid.n_names]]
    room = width - 1 - sum(names)
    groups, used = [list[int]()], 0
    for column in range(grid.n_names, len(widths)):
        taken = widths[column] + _BORDERS
        if groups[-1] and used + taken > room:
            groups.append([])
            used = 0
        groups[-1].append(column)
        used += taken
    return [_table(grid, group, continued=k > 0) for k, group in enumerate(groups)]


def _table(grid: Grid, group: list[int], *, continued: bool) -> Table:
    table = Table(title=f"{grid.title}, continued" if continued else grid.title)
    for name in grid.columns[: grid.n_names]:
        table.add_column(name, overflow="fold")
    for column in group:
        table.add_column(grid.columns[column], justify="right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*(Text(row[k]) for k in (*range(grid.n_names), *group)))
    return table
