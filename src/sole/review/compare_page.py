"""The page of a comparison: every metric of two models, and every episode under both."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sole.evals.result import PER_TASK, UNITS
from sole.report.chart import Axis, Series, line_chart
from sole.report.player import document, numbers, player, progress_range
from sole.review.compare_cases import KINDS, Pair, PairClips
from sole.review.paired import Difference, paired_episodes
from sole.review.pieces import (
    STYLE,
    episode_scatter,
    interval_text,
    metric_cells,
    table,
    value_text,
)
from sole.review.saved import SavedRow

_BIG = ("headline", "auc", "spearman", "mae", "static_rise")


def compare_page(
    a: SavedRow, b: SavedRow, found: Sequence[Difference],
    cases: Mapping[str, Sequence[Pair]], clips: PairClips,
) -> str:  # fmt: skip
    """Return one HTML page that loads nothing; all text of the results in it is escaped.

    Args:
        a: One model.
        b: The other one.
        found: What :func:`sole.review.paired.differences` returns.
        cases: The episodes on which they differ most, by kind.
        clips: What both say of these.
    """
    parts = [
        f"<style>{STYLE}</style><h1>Two models on the same episodes</h1>",
        f'<p class="lead">A is {html.escape(a.model_id)}, B is {html.escape(b.model_id)}: '
        f"{len(a.episodes)} episodes of {len(a.per_task)} tasks.</p>",
        numbers(dict(_big(d) for d in found if d.name in _BIG)),
        f"<h2>All metrics</h2>{_metric_table(found)}",
        f'<p class="meta">{html.escape(CAUTION)}</p>',
        f'<h2>Episode by episode</h2><div class="card narrow">{_scatter(a, b)}<p class="meta">One '
        "dot an episode: its judged success score, the mean of its five highest judged values. "
        "Rest the pointer on a dot for its name.</p></div>",
        f"<h2>By task, B minus A</h2>{_task_table(a, b)}",
        _worst(cases, clips),
        "<footer>docs/metrics.md says what each number is. Arrow keys step, space plays.</footer>",
    ]
    return document(f"{a.model_id} and {b.model_id}", "".join(parts))


#: What a reader of many intervals must know.
CAUTION = (
    "Bold: the 95% interval of B - A, drawn over whole tasks, the same ones for both, excludes 0. "
    "Of twenty metrics that do not differ, one will look so by chance. It says nothing about other "
    "training seeds of the models."
)


def _big(one: Difference) -> tuple[str, str]:
    digits = UNITS[one.name][1]
    interval = interval_text(one.low, one.high, digits)
    words = f"{one.name}: {value_text(one.a, digits)} to {value_text(one.b, digits)}; {interval}"
    return words.removesuffix("; "), signed_text(one.value, digits)


def signed_text(value: float, digits: int) -> str:
    """A difference with its sign, a dash where it is not known.

    Example:
        >>> signed_text(0.25, 1), signed_text(-3.0, 0), signed_text(float("nan"), 1)
        ('+0.2', '-3', '-')
    """
    return "-" if math.isnan(value) else f"{value:+.{digits}f}"


def _metric_table(found: Sequence[Difference]) -> str:
    head = ["metric", "meaning", "A", "B", "B - A", "tasks"]
    return table(head, [_metric_row(one) for one in found], words=2)


def _metric_row(one: Difference) -> str:
    unit, digits = UNITS[one.name]
    values = "".join(f'<td class="num">{value_text(v, digits)}</td>' for v in (one.a, one.b))
    marked = " marked" if one.excludes_zero else ""
    interval = " ".join(
        part for part in (interval_text(one.low, one.high, digits), one.verdict) if part
    )
    difference = (
        f'<td class="num{marked}">{signed_text(one.value, digits)} <small>{interval}</small></td>'
    )
    tasks = f'<td class="num">{one.n_tasks}</td>'
    return f"<tr>{metric_cells(one.name, unit)}{values}{difference}{tasks}</tr>"


def _scatter(a: SavedRow, b: SavedRow) -> str:
    pairs = paired_episodes(a, b)
    return episode_scatter(
        [x.judged_top5 for x, _ in pairs],
        [y.judged_top5 for _, y in pairs],
        [x.true_success_ever for x, _ in pairs],
        [f"{x.name}: A {x.judged_top5:.0f}%, B {y.judged_top5:.0f}%" for x, y in pairs],
        ("A", "B"),
        "A and B alike",
    )


def _task_table(a: SavedRow, b: SavedRow) -> str:
    rows = []
    for task, found in a.per_task.items():
        other = b.per_task.get(task, {})
        gaps = ((other.get(n, math.nan) - found.get(n, math.nan), UNITS[n][1]) for n in PER_TASK)
        cells = "".join(f'<td class="num">{signed_text(*gap)}</td>' for gap in gaps)
        rows.append(f"<tr><td>{html.escape(task)}</td>{cells}</tr>")
    return table(["task", *(name.replace("_", " ") for name in PER_TASK)], rows)


def _worst(cases: Mapping[str, Sequence[Pair]], clips: PairClips) -> str:
    about = (
        f"There are no clips: {clips.missing}."
        if clips.missing
        else "Chosen by what was measured, which each heading says and the first curve of each "
        "shows. The curves, the numbers and the words beside the pictures are one more verdict on "
        f"the same episode, of {clips.a.model_id} (A) and {clips.b.model_id} (B)."
    )
    kinds = "".join(_kind(kind, part, clips) for kind, part in cases.items())
    return f"<h2>Where they differ most</h2><p>{html.escape(about)}</p>{kinds}"


def _kind(kind: str, pairs: Sequence[Pair], clips: PairClips) -> str:
    told = zip(clips.a.by_kind.get(kind, ()), clips.b.by_kind.get(kind, ()), strict=True)
    players = [
        "".join(
            player(clip.episode, clip.score, f"{who}: {clip.saved.words}")
            for who, clip in zip("AB", both, strict=True)
        )
        for both in told
    ] or [""] * len(pairs)
    shown = "".join(
        f'<h3>{html.escape(pair.words)}</h3><div class="card">{_curves(pair)}</div>{both}'
        for pair, both in zip(pairs, players, strict=True)
    )
    return f"<h2>{KINDS[kind]}</h2>{shown or '<p>There are none.</p>'}"


def _curves(pair: Pair) -> str:
    """What both said of an episode when they were measured, over the truth."""
    true, a, b = pair.a.true, pair.a.judged, pair.b.judged
    at = np.arange(len(true), dtype=float)
    series = [Series("true progress", at, true, "true"), Series("A", at, a, "judged"),
              Series("B", at, b, "held")]  # fmt: skip
    low, high = progress_range([true, a, b])
    axes = Axis("frame", 0.0, float(at[-1]) or 1.0), Axis("progress", low, high, "%")
    return line_chart(series, *axes, title="measured progress by frame")
