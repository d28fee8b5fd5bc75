"""The page of one result: what was measured, plots, and the worst cases to look at."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping

import numpy as np

from sole.evals.result import COUNTS, PER_TASK, STEPWISE, UNITS
from sole.report.chart import Axis, Series, line_chart
from sole.report.player import document, numbers, player, progress_range
from sole.review.clips import Clip, Clips
from sole.review.frames import reliability
from sole.review.pieces import (
    STYLE,
    episode_scatter,
    interval_text,
    metric_cells,
    number_cell,
    table,
    value_text,
)
from sole.review.saved import SavedEpisode, SavedResult, SavedRow
from sole.review.worst import KINDS

#: Metric -> its name among the big numbers.
_BIG = {
    "headline": "trust, 0 to 1", "auc": "AUC: success from failure",
    "spearman": "Spearman with the truth", "mae": "MAE, points", "static_rise":
    "points gained where nothing moves",
}  # fmt: skip
_UNKNOWN = (math.nan, math.nan, math.nan)


def quality_page(result: SavedResult, clips: Clips[SavedEpisode]) -> str:
    """Return one HTML page that loads nothing; all text of the result in it is escaped."""
    row = result.rows[0]
    title = f"How far {row.model_id} can be trusted"
    parts = [
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>",
        f'<p class="lead">{html.escape(_lead(result))}</p>',
        numbers(_big_numbers(row)),
        _plots(row),
        f"<h2>By task</h2>{_task_table(row)}",
        f"<h2>All metrics</h2>{_metric_table(result)}",
        _worst(row, clips),
        "<footer>Intervals are 95% bootstraps over whole tasks. What each number means, "
        "and how it misleads, says docs/metrics.md. True progress comes from the simulator and was "
        "never shown to the model. Arrow keys step, space plays.</footer>",
    ]
    return document(title, "".join(parts))


def _lead(result: SavedResult) -> str:
    row, config = result.rows[0], result.config
    n_success = sum(e.true_success_ever for e in row.episodes)
    simulated = " ".join(config.get("tasks") or ()) or (
        f"{config.get('suite', '?')} {config.get('split', '?')}"
    )
    source = config.get("data") or config.get("recorded") or simulated
    if config.get("recorded"):
        source = f"{source}, without truth: taken for successes whose progress is time"
    words = "with" if config.get("think") else "without"
    return (
        f"{result.path.name}: {len(row.episodes)} episodes of {len(row.per_task)} tasks "
        f"({source}), {n_success} of which truly succeed; judged {words} reasoning."
    )


def _big_numbers(row: SavedRow) -> dict[str, str]:
    found = {}
    for name, words in _BIG.items():
        value, low, high = row.summary.get(name, _UNKNOWN)
        digits = UNITS[name][1]
        interval = interval_text(low, high, digits)
        found[f"{words} {interval}".strip()] = value_text(value, digits)
    return found


def _plots(row: SavedRow) -> str:
    return (
        '<div class="two">'
        f'<div><h2>Is a success judged a success?</h2><div class="card">{_score_scatter(row)}'
        '<p class="meta">One dot an episode. The judged success score is the mean of its five '
        "highest judged values. Rest the pointer on a dot for its name.</p></div></div>"
        f'<div><h2>Does a number mean what it says?</h2><div class="card">{_diagram(row)}'
        "</div></div></div>"
    )


def _score_scatter(row: SavedRow) -> str:
    episodes = row.episodes
    return episode_scatter(
        [float(e.true.max()) for e in episodes],
        [e.judged_top5 for e in episodes],
        [e.true_success_ever for e in episodes],
        [_dot_name(e) for e in episodes],
        ("highest true progress", "judged success score"),
    )


def _dot_name(episode: SavedEpisode) -> str:
    return (
        f"{episode.name}: judged {episode.judged_top5:.0f}%, truly at most "
        f"{episode.true.max():.0f}%, at the end {episode.true[-1]:.0f}%"
    )


def _diagram(row: SavedRow) -> str:
    """The reliability diagram: mean true progress where the model said so much."""
    found = reliability(row.episodes)
    if found is None:
        return "<p>No frame could be read.</p>"
    bins = found.bins
    low = progress_range([bins.said, bins.true, found.low])[0]
    ends = np.array([low, 100.0])
    known = np.isfinite(found.low)
    band = {
        "low": np.where(known, found.low, bins.true),
        "high": np.where(known, found.high, bins.true),
    }
    series = [
        Series("as it is", ends, ends, "held"),
        Series("mean of a bin", bins.said, bins.true, "judged", dots=True, **band),
    ]
    axes = Axis("judged progress", low, 100.0, "%"), Axis("true progress", low, 100.0, "%")
    chart = line_chart(series, *axes, title="true progress where the model said so much")
    return (
        f'{chart}<p class="meta">Judged frames in bins of ten points ({int(bins.counts.sum()):,} '
        f"frames in {len(bins.counts)} bins), with the 95% interval over tasks. Mean distance from "
        f"the dashed line: {bins.error:.1f} points.</p>"
    )


def _metric_table(result: SavedResult) -> str:
    rows = []
    for name, (unit, digits) in {**UNITS, **STEPWISE}.items():
        cells = [number_cell(*r.summary.get(name, _UNKNOWN), digits) for r in result.rows]
        rows.append(f"<tr>{metric_cells(name, unit)}{''.join(cells)}</tr>")
    for name in COUNTS:
        values = [r.pooled.get(name, math.nan) for r in result.rows]
        cells = [f'<td class="num">{_count(value)}</td>' for value in values]
        rows.append(f"<tr>{metric_cells(name, '')}{''.join(cells)}</tr>")
    return table(["metric", "meaning", *(row.model_id for row in result.rows)], rows, words=2)


def _count(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{value:.4g}"


def _task_table(row: SavedRow) -> str:
    rows = []
    for task, found in row.per_task.items():
        mine = [e for e in row.episodes if e.env_name == task]
        done = sum(e.true_success_ever for e in mine)
        cells = [
            f'<td class="num">{value_text(found.get(name, math.nan), UNITS[name][1])}</td>'
            for name in PER_TASK
        ]
        first = f'<td>{html.escape(task)}</td><td class="num">{done} of {len(mine)}</td>'
        rows.append(f"<tr>{first}{''.join(cells)}</tr>")
    return table(["task", "succeed", *(name.replace("_", " ") for name in PER_TASK)], rows)


def _worst(row: SavedRow, clips: Clips[SavedEpisode]) -> str:
    if clips.missing:
        return f"<h2>Worst cases</h2><p>There are no clips: {html.escape(clips.missing)}.</p>"
    about = (
        f"<p>Chosen by what was measured of {html.escape(row.model_id)}, which each heading says. "
        "The curve, the numbers and the words beside the pictures are one more verdict on the same "
        f"episode, of {html.escape(clips.model_id)}.</p>"
    )
    kinds = "".join(_kind(kind, part) for kind, part in clips.by_kind.items())
    return f"<h2>Worst cases</h2>{about}{kinds}"


def _kind(kind: str, clips: tuple[Clip[SavedEpisode], ...]) -> str:
    players = "".join(player(c.episode, c.score, case_words(kind, c.saved)) for c in clips)
    return f"<h2>{KINDS[kind]}</h2>{players or '<p>There are none.</p>'}"


def case_words(kind: str, episode: SavedEpisode) -> str:
    """One line about a worst case, as measured."""
    said = f"judged success score {episode.judged_top5:.0f}%"
    true: Mapping[str, str] = {
        "overrated": f"{said}, truly never above {episode.true.max():.0f}%",
        "underrated": f"{said}, truly done",
        "error": f"off by {episode.mae:.0f} points on average",
    }
    return f"{episode.name}: {true[kind]}"
