"""``sole report robustness``: one page about disturbed cameras, with turned failures as clips."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import stderr
from sole.report.chart import Axis, Series, line_chart
from sole.report.outputs import OutputFiles, check_output
from sole.report.player import document, numbers, player
from sole.review.attacked import Attacked, choose, film_turned, read_attacked
from sole.review.pieces import STYLE, interval_text, number_cell, table
from sole.review.plots import check_matplotlib, write_attacks_plot
from sole.run import write_atomically


class RobustnessReportConfig(Config):
    """Show a result of sole eval robustness as one page that needs nothing beside it."""

    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT.json")]
    """What sole eval robustness --out wrote; RESULT.episodes.parquet lies beside it."""
    html: Path | None = None
    """The page (.html); RESULT.html when not given."""
    png: Path | None = None
    """Also write the vulnerability of every attack as a picture (.png)."""
    worst: int = Field(6, ge=0)
    """Clips of failures that an attack turned; 0: none, and no model is loaded."""
    cache: Path | None = None
    """The simulated episodes that were measured, if they now lie elsewhere."""


def run_robustness_report(argv: Sequence[str]) -> int:
    """Entry point of ``sole report robustness``."""
    config = parse_config(RobustnessReportConfig, argv, "sole report robustness", presets=False)
    page = config.html or config.result.with_suffix(".html")
    check_output("--html", page, (".html", ".htm"), ())
    if config.png:
        check_output("--png", config.png, (".png",), ())
        check_matplotlib()
    result = read_attacked(config.result)
    clips, missing = film_turned(result, choose(result.turned, config.worst), config.cache)
    if missing:
        stderr.print(f"no clips: {missing}", markup=False, soft_wrap=True)
    players = "".join(player(episode, score, one.words) for one, episode, score in clips)
    with OutputFiles() as files:
        write_atomically(files.temporary(page), robustness_page(result, players, missing))
        if config.png:
            write_attacks_plot(files.temporary(config.png), result.whole)
    for path in (page, config.png):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def robustness_page(result: Attacked, players: str, missing: str) -> str:
    """Return one HTML page that loads nothing; all text of the result in it is escaped.

    Args:
        result: The measurement.
        players: Clips of turned failures, as HTML.
        missing: Why there are none.
    """
    whole = result.whole
    title = f"What disturbed cameras do to {whole['model_id']}"
    lead = (
        f"{result.path.name}: {whole['n_episodes']} episodes, {whole['n_failed']} of which truly "
        f"fail; judged successful from {whole['judged_success_at']:.3g} on."
    )
    parts = [
        f'<style>{STYLE}</style><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}',
        f"</p>{numbers(_big(whole))}",
        f'<h2>Failures taken for success</h2><div class="card">{_chart(whole)}</div>',
        f"<h2>Every attack and strength</h2>{_table(whole)}",
        f"<h2>Turned failures</h2>{_clips(result, players, missing)}",
        "<footer>Vulnerability: of the truly failed episodes that were judged failed as they are, "
        "those that are judged successful disturbed. docs/metrics.md says what each attack is. "
        "Arrow keys step, space plays.</footer>",
    ]
    return document(title, "".join(parts))


def _big(whole: Mapping[str, Any]) -> dict[str, str]:
    effects = whole["effects"]
    known = [e for e in effects if e["vulnerability"]["value"] is not None]
    worst = max(known, key=lambda e: e["vulnerability"]["value"], default=None)
    found = {
        f"of {which} episodes judged successful as they are": _share(whole["undisturbed"][name])
        for name, which in (("fpr", "failed"), ("recall", "successful"))
        if name in whole["undisturbed"]  # results of before have no recall
    }
    if worst is not None:
        name = f"vulnerability at worst: {worst['attack']} {worst['strength']:g}"
        found[name] = _share(worst["vulnerability"])
    return found


def _share(share: Mapping[str, Any]) -> str:
    return "-" if share["value"] is None else f"{100 * share['value']:.0f}%"


def _chart(whole: Mapping[str, Any]) -> str:
    """Mean vulnerability over attacks, and that of the worst attack, by strength."""
    shares: dict[float, list[float]] = {}
    for effect in whole["effects"]:
        if effect["vulnerability"]["value"] is not None:
            shares.setdefault(effect["strength"], []).append(100 * effect["vulnerability"]["value"])
    if not shares:
        return "<p>No failed episode was judged failed, so none could be turned.</p>"
    at = np.array(sorted(shares))
    series = [
        Series("worst attack", at, np.array([max(shares[s]) for s in at]), "judged", dots=True),
        Series("mean of the attacks", at, np.array([np.mean(shares[s]) for s in at]), "true",
               dots=True),
    ]  # fmt: skip
    axes = Axis("strength", 0.0, 1.0), Axis("vulnerability", 0.0, 100.0, "%")
    return line_chart(series, *axes, title="vulnerability by strength")


def _table(whole: Mapping[str, Any]) -> str:
    rows = []
    for effect in whole["effects"]:
        cells = [_share_cell(effect[name]) for name in ("vulnerability", "blinded", "fpr")]
        cells += [_number(effect[name]) for name in ("spearman_change", "auc_change")]
        first = (
            f'<td>{html.escape(effect["attack"])}</td><td class="num">{effect["strength"]:g}</td>'
        )
        rows.append(f"<tr>{first}{''.join(cells)}</tr>")
    heads = ("vulnerability", "blinded", "false positives", "Spearman change", "AUC change")
    return table(["attack", "strength", *heads], rows)


def _share_cell(share: Mapping[str, Any]) -> str:
    low, high = (math.nan if share[k] is None else 100 * share[k] for k in ("low", "high"))
    interval = interval_text(low, high, 0)
    small = f" <small>{interval}</small>" if interval else ""
    return f'<td class="num">{_share(share)} ({share["k"]}/{share["n"]}){small}</td>'


def _number(change: Mapping[str, float | None]) -> str:
    value, low, high = (_known(change.get(k)) for k in ("value", "low", "high"))
    return number_cell(value, low, high, 2)


def _clips(result: Attacked, players: str, missing: str) -> str:
    if missing:
        return f"<p>There are no clips: {html.escape(missing)}.</p>"
    if not result.turned:
        return "<p>No failure was turned by any attack.</p>"
    about = (
        f"<p>{len(result.turned)} failures were turned, counted once for each attack and strength. "
        "Chosen by what was measured, one of each attack first; the curve and the words are one "
        "more verdict on the same disturbed pictures.</p>"
    )
    return about + players


def _known(value: float | None) -> float:
    return math.nan if value is None else value
