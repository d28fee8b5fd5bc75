"""Line charts as inline SVG: text in, text out, coloured by the page's own style sheet."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 30, 40


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        label: What the legend says.
        x: ``(N,)`` positions.
        y: ``(N,)`` values; NaN breaks the line.
        kind: Class in the style sheet, which gives the colour: ``judged``, ``true``, ``held``.
        low: ``(N,)`` lower end of a band around the line, or None.
        high: Its upper end.
        dots: Mark each point.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    kind: str
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dots: bool = False


@dataclass(frozen=True)
class Dots:
    """Unconnected points of a scatter chart.

    Attributes:
        label: What the legend says.
        x: ``(N,)`` positions; a point with a NaN is left out.
        y: ``(N,)`` values.
        kind: Class in the style sheet of the page.
        names: What a pointer that rests on a dot reads, one per point, or nothing.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    kind: str
    names: Sequence[str] = ()


@dataclass(frozen=True)
class Axis:
    """One axis: its words and its range; ``unit`` follows each tick's number."""

    label: str
    low: float
    high: float
    unit: str = ""


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that cover a range, both ends inside it.

    Example:
        >>> ticks(0, 430), ticks(-30, 100)
        ([0.0, 100.0, 200.0, 300.0, 400.0], [-25.0, 0.0, 25.0, 50.0, 75.0, 100.0])
    """
    span = high - low
    if not span > 0:
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.9)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def line_chart(
    series: Sequence[Series], x_axis: Axis, y_axis: Axis, *, title: str, cursor: bool = False
) -> str:
    """Draw lines over a grid.

    Args:
        series: The lines, first at the bottom; a legend is drawn when there are two or more.
        x_axis: Words and range.
        y_axis: Words and range.
        title: Read aloud by screen readers.
        cursor: Add a vertical line and a dot that the page's script moves; the element then
            carries the geometry as ``data-`` attributes.

    Returns:
        One ``<svg>`` element; every text in it is escaped.
    """
    frame = _Frame(x_axis, y_axis)
    parts = [*frame.grid(), *(part for s in series for part in frame.line(s))]
    if cursor:
        parts.append(frame.cursor())
    if len(series) > 1:
        parts += _legend(series)
    label = html.escape(title, quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"'
        f"{frame.data()}>{''.join(parts)}</svg>"
    )


def scatter_chart(
    groups: Sequence[Dots], x_axis: Axis, y_axis: Axis, *, title: str, diagonal: str = ""
) -> str:
    """Draw dots over a grid.

    Args:
        groups: The dots, first at the bottom, with a legend.
        x_axis: Words and range; dots outside it lie on the edge.
        y_axis: Words and range.
        title: Read aloud by screen readers.
        diagonal: What the legend says of the line on which both values are the same; without
            words it is not drawn.

    Returns:
        One ``<svg>`` element; every text in it is escaped.

    Example:
        >>> one = Dots("a", np.array([1.0, np.nan]), np.array([2.0, 3.0]), "judged", ["it", "not"])
        >>> svg = scatter_chart([one], Axis("x", 0, 4), Axis("y", 0, 4), title="t")
        >>> svg.count("<title>it</title>"), svg.count("<title>not</title>")
        (1, 0)
    """
    frame = _Frame(x_axis, y_axis)
    parts = frame.grid()
    x = float(_LEFT)
    if diagonal:
        ends = np.array([max(x_axis.low, y_axis.low), min(x_axis.high, y_axis.high)])
        alike = Series(diagonal, ends, ends, "held")
        parts += [*frame.line(alike), *_legend([alike])]
        x += _legend_width(diagonal)
    parts += [dot for group in groups for dot in frame.dots(group)]
    for group in groups:
        parts.append(f'<circle class="dot {group.kind}" cx="{x + 5:.0f}" cy="10" r="4"/>')
        parts.append(f'<text class="legend" x="{x + 15:.0f}" y="14">'
                     f"{html.escape(group.label)}</text>")  # fmt: skip
        x += _legend_width(group.label)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title, quote=True)}">{"".join(parts)}</svg>'
    )


class _Frame:
    """Where numbers land on the picture."""

    def __init__(self, x_axis: Axis, y_axis: Axis):
        self.x_axis, self.y_axis = x_axis, y_axis

    def x(self, value: float) -> float:
        return _between(value, self.x_axis, _LEFT, WIDTH - _RIGHT)

    def y(self, value: float) -> float:
        return _between(value, self.y_axis, HEIGHT - _BOTTOM, _TOP)

    def data(self) -> str:
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        y_axis = self.y_axis
        return (
            f' data-left="{_LEFT}" data-right="{right}" data-top="{_TOP}" data-bottom="{bottom}"'
            f' data-low="{y_axis.low:g}" data-high="{y_axis.high:g}"'
        )

    def grid(self) -> list[str]:
        parts = []
        for value in ticks(self.y_axis.low, self.y_axis.high):
            y = f"{self.y(value):.1f}"
            kind = "zero" if value == 0 else "grid"
            parts.append(f'<path class="{kind}" d="M{_LEFT} {y}H{WIDTH - _RIGHT}"/>')
            text = f"{value:g}{html.escape(self.y_axis.unit)}"
            parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">'
                         f"{text}</text>")  # fmt: skip
        for value in ticks(self.x_axis.low, self.x_axis.high, about=6):
            text = f"{value:g}{html.escape(self.x_axis.unit)}"
            parts.append(f'<text class="tick" x="{self.x(value):.1f}" y="{HEIGHT - _BOTTOM + 15}"'
                         f' text-anchor="middle">{text}</text>')  # fmt: skip
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
                     f"{html.escape(self.x_axis.label)}</text>")  # fmt: skip
        half = (HEIGHT - _BOTTOM + _TOP) / 2
        parts.append(f'<text class="label" transform="translate(11 {half:.0f}) rotate(-90)" '
                     f'text-anchor="middle">{html.escape(self.y_axis.label)}</text>')  # fmt: skip
        return parts

    def line(self, series: Series) -> list[str]:
        parts = []
        if series.low is not None and series.high is not None and len(series.x):
            upper = [self.point(x, y) for x, y in zip(series.x, series.high, strict=True)]
            lower = [self.point(x, y) for x, y in zip(series.x, series.low, strict=True)]
            corners = " ".join([*upper, *lower[::-1]])
            parts.append(f'<polygon class="band {series.kind}" points="{corners}"/>')
        parts.append(f'<path class="line {series.kind}" d="{self.path(series)}"/>')
        known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if np.isfinite(y)]
        if series.dots or len(known) == 1:
            parts += [
                f'<circle class="dot {series.kind}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}"'
                f' r="3"/>'
                for x, y in known
            ]
        return parts

    def dots(self, group: Dots) -> list[str]:
        names = group.names or [""] * len(group.x)
        places = zip(group.x, group.y, names, strict=True)
        return [
            f'<circle class="dot {group.kind}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="4">'
            f"<title>{html.escape(name)}</title></circle>"
            for x, y, name in places
            if np.isfinite(x) and np.isfinite(y)
        ]

    def point(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def path(self, series: Series) -> str:
        moves, pen_down = [], False
        for x, y in zip(series.x, series.y, strict=True):
            if not np.isfinite(y):
                pen_down = False
                continue
            moves.append(f"{'L' if pen_down else 'M'}{self.point(x, y)}")
            pen_down = True
        return "".join(moves)

    def cursor(self) -> str:
        return (
            f'<path class="cursor" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}"/>'
            f'<circle class="cursor" cx="{_LEFT}" cy="{self.y(0):.1f}" r="4.5"/>'
        )


def _between(value: float, axis: Axis, start_px: float, end_px: float) -> float:
    """Place a value on the picture; values outside the range stop at its edge."""
    span = axis.high - axis.low
    share = (value - axis.low) / span if span > 0 else 0.0
    return start_px + min(max(share, 0.0), 1.0) * (end_px - start_px)


def _legend(series: Sequence[Series]) -> list[str]:
    parts, x = [], float(_LEFT)
    for one in series:
        parts.append(f'<path class="line {one.kind}" d="M{x:.0f} 10h18"/>')
        parts.append(f'<text class="legend" x="{x + 23:.0f}" y="14">'
                     f"{html.escape(one.label)}</text>")  # fmt: skip
        x += _legend_width(one.label)
    return parts


def _legend_width(label: str) -> float:
    """A line's mark, its words in a wide font such as DejaVu Sans, and a gap."""
    return 36 + 6.8 * len(label)
