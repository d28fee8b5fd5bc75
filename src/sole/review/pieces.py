"""What both pages are made of: tables, numbers with intervals, and scatters of episodes."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from sole.report.chart import Axis, Dots, scatter_chart
from sole.report.player import progress_range
from sole.review.meanings import BETTER_WORDS, MEANINGS

STYLE = """
.chart { overflow: visible; }
.chart .dot.success { fill: var(--true); fill-opacity: .8; }
.chart .dot.failure { fill: none; stroke: var(--judged); stroke-width: 1.6; }
.wide small { color: var(--soft); white-space: nowrap; }
.wide .about { color: var(--soft); font-size: .85rem; }
.narrow { max-width: 34rem; }
.two { display: grid; gap: 0 1.2rem; }
.wide .marked { font-weight: 600; }
@media (min-width: 48rem) { .two { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
"""


def value_text(value: float, digits: int) -> str:
    """A number, or a dash where it is not known.

    Example:
        >>> value_text(0.525, 1), value_text(float("nan"), 1)
        ('0.5', '-')
    """
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def interval_text(low: float, high: float, digits: int) -> str:
    """An interval, or nothing where it is not known.

    Example:
        >>> interval_text(0.5, 1.0, 1), interval_text(float("nan"), 1.0, 1)
        ('[0.5, 1.0]', '')
    """
    known = not (math.isnan(low) or math.isnan(high))
    return f"[{low:.{digits}f}, {high:.{digits}f}]" if known else ""


def number_cell(value: float, low: float, high: float, digits: int) -> str:
    """A table cell with a number and its interval."""
    interval = interval_text(low, high, digits)
    small = f" <small>{interval}</small>" if interval else ""
    return f'<td class="num">{value_text(value, digits)}{small}</td>'


def metric_cells(name: str, unit: str) -> str:
    """The first two cells of a metric's line: its name with unit and direction, its meaning."""
    better, meaning = MEANINGS[name]
    words = ", ".join(part for part in (unit, BETTER_WORDS[better]) if part)
    small = f" <small>{words}</small>" if words else ""
    return f'<td>{name}{small}</td><td class="about">{html.escape(meaning)}</td>'


def table(head: Sequence[str], rows: Sequence[str], *, words: int = 1) -> str:
    """A card with a table that scrolls sideways on narrow screens.

    Args:
        head: Column names; escaped, and broken after a slash where room is short. All but the
            first ``words`` stand right-aligned over numbers.
        rows: ``<tr>`` elements as they are.
        words: How many columns hold words.
    """
    names = "".join(
        f"<th{' class=num' if k >= words else ''}>{html.escape(name).replace('/', '/<wbr>')}</th>"
        for k, name in enumerate(head)
    )
    return (
        f'<div class="card scroll"><table class="wide"><tr>{names}</tr>{"".join(rows)}</table>'
        "</div>"
    )


def episode_scatter(
    x: Sequence[float], y: Sequence[float], success: Sequence[bool], names: Sequence[str],
    words: tuple[str, str], alike: str = "as it is",
) -> str:  # fmt: skip
    """One dot per episode, percent against percent, true success filled and failure hollow.

    Args:
        x: Percent.
        y: Percent.
        success: Whether each episode truly succeeds.
        names: What a pointer on its dot reads.
        words: Labels of the axes.
        alike: What the line is called on which both are the same.
    """
    places, done = np.array([x, y], float), np.array(success, bool)
    low = progress_range([places])[0]
    groups = [
        Dots(label, places[0, chosen], places[1, chosen], kind,
             [name for name, c in zip(names, chosen, strict=True) if c])
        for label, kind, chosen in (("truly failed", "failure", ~done),
                                    ("truly succeeded", "success", done))
    ]  # fmt: skip
    axes = Axis(words[0], low, 100.0, "%"), Axis(words[1], low, 100.0, "%")
    return scatter_chart(groups, *axes, title=f"{words[1]} against {words[0]}", diagonal=alike)
