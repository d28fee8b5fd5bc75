"""What the red team hands over: a page that needs nothing beside it, a PNG and a table."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sole.console import stderr
from sole.evals.output import write_table
from sole.redteam.harvest import Filmed, Tried
from sole.redteam.search import Search
from sole.report.chart import Axis, Series, line_chart
from sole.report.player import document, numbers, player
from sole.run import write_atomically

SCHEMA = pa.schema(
    [("env", pa.string()), ("optimiser", pa.string())]
    + [(name, pa.int64()) for name in ("episode", "seed", "geometry", "frame")]
    + [(name, pa.float64()) for name in ("judged", "true", "judged_last", "true_last")]
    + [(name, pa.bool_()) for name in ("true_success_ever", "fools", "claims_success")]
)
#: Colours of the PNG and, as variables of the page's style sheet, of the chart.
_COLOURS = {"random": "#7a8b99", "cem": "#c05f10", "sac": "#1b67a8"}
_VARIABLES = {"random": "held", "cem": "judged", "sac": "true"}
_STYLE = "".join(
    f".chart .{name} {{ stroke: var(--{colour}); }} .chart .dot.{name} {{ stroke: none; "
    f"fill: var(--{colour}); fill-opacity: .75; }} "
    for name, colour in _VARIABLES.items()
)
_SOFT = "#5d646d"
_MOST_PLAYERS = 24


def write_report(
    out: Path, result: Mapping[str, Any], tried: Mapping[Search, Sequence[Tried]],
    filmed: Sequence[Filmed],
) -> None:  # fmt: skip
    """Write report.html, scatter.png (if matplotlib is there) and episodes.parquet."""
    everyone = [one for episodes in tried.values() for one in episodes]
    write_table(out / "episodes.parquet", [_table_row(one) for one in everyone], SCHEMA)
    points = _points(everyone)
    if not draw_scatter(out / "scatter.png", str(result["model_id"]), points, result["rule"]):
        stderr.print("no scatter.png: pip install 'sole-rewards\\[report]'")
    title = f"Red team against {result['model_id']}"
    write_atomically(out / "report.html", document(title, _body(title, result, points, filmed)))


def _table_row(one: Tried) -> dict[str, Any]:
    true, judged = one.moment
    last = len(one.curves.judged) - 1
    return {
        "env": one.search.env_name,
        "optimiser": one.search.optimiser,
        "episode": one.number,
        "seed": one.seed,
        "geometry": one.geometry,
        "frame": one.finding.frame if one.finding else last,
        "judged": judged,
        "true": true,
        "judged_last": float(one.curves.judged[-1]),
        "true_last": float(one.curves.true[-1]),
        "true_success_ever": one.curves.solved,
        "fools": one.finding is not None,
        "claims_success": one.finding is not None and one.finding.claims_success,
    }


def _points(everyone: Sequence[Tried]) -> dict[str, np.ndarray]:
    """``(N, 2)`` of true and judged progress for each optimiser that has any."""
    by_name: dict[str, list[tuple[float, float]]] = {}
    for one in everyone:
        by_name.setdefault(one.search.optimiser, []).append(one.moment)
    return {name: np.array(rows, float) for name, rows in by_name.items()}


def scatter(points: Mapping[str, np.ndarray]) -> str:
    """Judged over true progress as inline SVG: one dot an episode, and the line judged = true."""
    low = _lowest(points)
    diagonal = Series("as it is", np.array([low, 100.0]), np.array([low, 100.0]), "held")
    dots = [
        Series(name, _apart(rows[:, 0]), _apart(rows[:, 1]), name, dots=True)
        for name, rows in points.items()
    ]
    axes = Axis("true progress (%)", low, 100.0), Axis("judged progress (%)", low, 100.0)
    return line_chart([diagonal, *dots], *axes, title="judged over true progress")


def _apart(values: np.ndarray) -> np.ndarray:
    """NaN after each value: a chart then draws dots and no lines between them."""
    return np.stack([values, np.full(len(values), np.nan)], axis=1).ravel()


def _lowest(points: Mapping[str, np.ndarray]) -> float:
    values = np.concatenate([rows.ravel() for rows in points.values()] or [np.zeros(1)])
    known = values[np.isfinite(values)]
    return float(25.0 * np.floor(min(known.min(initial=0.0), 0.0) / 25.0))


def _body(
    title: str, result: Mapping[str, Any], points: Mapping[str, np.ndarray],
    filmed: Sequence[Filmed],
) -> str:  # fmt: skip
    return "".join(
        [
            f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>",
            '<p class="lead">Optimisers looked for episodes that the model judges far better than '
            "they are.</p>",
            numbers(_headline(result)),
            f'<h2>Judged against true</h2><div class="card">{scatter(points)}'
            '<p class="meta">One dot an episode: where it fools the model, or else at its end.</p>'
            "</div>",
            _definition(result["rule"], float(result["alike"])),
            _search_table(result["searches"]),
            _clips(filmed, result["unrepeatable"]),
            "<footer>True progress comes from the simulator; it was used to find these episodes "
            "and never shown to the model. Arrow keys step, space plays.</footer>",
        ]
    )


def _headline(result: Mapping[str, Any]) -> dict[str, str]:
    rate = result["exploits_per_hour"]
    return {
        "distinct exploits": str(result["n_exploits"]),
        "exploits per hour of search": "-" if rate is None else f"{rate:.0f}",
        "episodes that fool the model": f"{result['n_fooling']} of {result['n_episodes']}",
        "of the saved ones fool its reasoning too": (
            f"{result['n_fooling_with_words']} of {result['n_saved']}"
        ),
        "minutes of search": f"{result['seconds'] / 60:.1f}",
    }


def _definition(rule: Mapping[str, float], alike: float) -> str:
    return (
        "<h2>What counts</h2><p>The task is never truly done, and either the model calls it done "
        f"(success probability {rule['success_at']:.2g} or more) at a moment whose true progress "
        f"is below {rule['true_below']:g}%, or the episode ends judged {rule['judged_from']:g}% or "
        f"more with true progress below {rule['true_below']:g}% and at least {rule['min_gap']:g} "
        f"points less. Episodes of a task whose change pictures have a cosine of {alike:g} or more "
        "are one exploit.</p>"
    )


def _search_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("task", "optimiser", "episodes", "fool it", "exploits", "largest gap", "minutes")
    body = "".join(_table_line("td", _cells(row)) for row in rows)
    return (
        '<h2>Searches</h2><div class="card scroll"><table class="wide">'
        f"{_table_line('th', names)}{body}</table></div>"
    )


def _table_line(tag: str, cells: Sequence[str]) -> str:
    """A row whose first two cells are words, the others numbers."""
    numeric = ("" if k < 2 else ' class="num"' for k in range(len(cells)))
    inner = (f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(numeric, cells, strict=True))
    return f"<tr>{''.join(inner)}</tr>"


def _cells(row: Mapping[str, Any]) -> list[str]:
    gap = "-" if row["largest_gap"] is None else f"{row['largest_gap']:.0f} points"
    task = row["env"] + (" (held out)" if row["held_out"] else "")
    counts = [str(row[name]) for name in ("episodes", "fooling", "exploits")]
    return [html.escape(task), row["optimiser"], *counts, gap, f"{row['seconds'] / 60:.1f}"]


def _clips(filmed: Sequence[Filmed], unrepeatable: Sequence[Mapping[str, Any]]) -> str:
    missing = _without_film(unrepeatable)
    if not filmed:
        return f"<h2>Exploits</h2>{missing or '<p>None was found.</p>'}"
    ranked = sorted(filmed, key=lambda f: f.exploit.finding.strength, reverse=True)
    shown = ranked[:_MOST_PLAYERS]
    note = "" if len(shown) == len(ranked) else f", the strongest {len(shown)} of {len(ranked)}"
    players = "".join(player(f.episode, f.score, heading(f)) for f in shown)
    return (
        f"<h2>Exploits{note}</h2><p>Numbers and words of a clip are one verdict, with reasoning "
        "where the model has it; its heading says how the search's own reads were fooled.</p>"
        f"{missing}{players}"
    )


def _without_film(unrepeatable: Sequence[Mapping[str, Any]]) -> str:
    """Which counted exploits the simulator does not give again; empty when it gives all."""
    if not unrepeatable:
        return ""
    names = "; ".join(
        f"{one['env']}, {one['optimiser']}, episode {one['episode']}"
        + (" (an earlier film is shown)" if one["film_kept"] else "")
        for one in unrepeatable
    )
    return (
        "<p>Counted, but they do not come out again when they are simulated anew: "
        f"{html.escape(names)}.</p>"
    )


def heading(filmed: Filmed) -> str:
    """One line over a clip."""
    exploit, finding = filmed.exploit, filmed.exploit.finding
    tried = exploit.tried
    said = f"judged {finding.judged:.0f}%" + (" and done" if finding.claims_success else "")
    words = "fools the reasoning too" if filmed.finding else "does not fool the reasoning"
    if filmed.score.reasoning and not any(filmed.score.reasoning):
        words = "the model gives no reasons"
    return (
        f"{tried.search.env_name}: {said} at {finding.true:.0f}% true "
        f"({tried.search.optimiser}, episode {tried.number}, {exploit.n_alike} alike; {words})"
    )


def draw_scatter(
    path: Path, title: str, points: Mapping[str, np.ndarray], rule: Mapping[str, float]
) -> bool:
    """Write the scatter as PNG with the region of the rule shaded; False without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    low = _lowest(points)
    axes.plot([low, 100], [low, 100], color=_SOFT, linewidth=1, linestyle="--", label="as it is")
    true = np.linspace(low, rule["true_below"], 100)
    least = np.maximum(rule["judged_from"], true + rule["min_gap"])
    axes.fill_between(true, least, 100, color="#b3261e", alpha=0.08, linewidth=0, label="exploits")
    for name, rows in points.items():
        axes.plot(rows[:, 0], rows[:, 1], "o", color=_COLOURS[name], markersize=3.5, alpha=0.7,
                  markeredgewidth=0, label=name)  # fmt: skip
    axes.set(xlabel="true progress (%)", ylabel="judged progress (%)", title=title,
             xlim=(low - 3, 103), ylim=(low - 3, 103))  # fmt: skip
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=130, format="png")
    os.replace(temporary, path)
    return True
