"""The page of a data set: what it is made of, how good its labels are, examples to look at."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sole.data.episode import Episode
from sole.data.summary import HISTOGRAM_EDGES, RECORDED
from sole.report.chart import Axis, Series, line_chart
from sole.report.player import document, numbers, progress_range
from sole.synth.augment import ORDER_PROGRESS
from sole.synth.spot_check import Explained, verdict_word

#: Longest list of tasks that is not cut short.
MOST_ROWS = 12
_TILE_PX = 112
_QUALITY = 80
_MARKS = {"true": "✓", "false": "✗", "undecided": "?"}
_STYLE = """
.bars td { padding: .1rem .6rem .1rem 0; border: 0; }
.bars td:first-child { white-space: nowrap; width: 1%; } .bars td:nth-child(2) { width: 70%; }
.bar { display: block; height: .85rem; min-width: 1px; background: var(--true); }
.num { text-align: right; white-space: nowrap; width: 1%; }
.bad { color: var(--bad); font-weight: 600; }
.card h3 { margin: 0; font-size: 1rem; font-weight: 600; }
.strip { display: block; width: 100%; height: auto; border-radius: 6px; background: #000; }
.times { display: flex; color: var(--soft); font-size: .8rem; margin: 0 0 .4rem; }
.times span { flex: 1 1 0; text-align: center; font-variant-numeric: tabular-nums; }
.said { margin: .5rem 0 .8rem; padding: 0; list-style: none; }
.said li { margin: 0 0 .55rem; }
.claims { display: block; font-size: .85rem; color: var(--soft); }
.claims .false { color: var(--bad); font-weight: 600; } .claims .true { color: var(--true); }
.scroll { overflow-x: auto; }
"""


@dataclass(frozen=True)
class Example:
    """An episode of the page.

    Attributes:
        number: Its place in the data set.
        episode: With pictures.
        moments: Frames that are shown in the strip.
        explained: What is said at them; empty without facts.
    """

    number: int
    episode: Episode
    moments: tuple[int, ...]
    explained: tuple[Explained, ...]


def dataset_page(found: Mapping[str, Any], examples: Sequence[Example]) -> str:
    """Return one HTML page that loads nothing; all text of the data set in it is escaped.

    Args:
        found: What :func:`sole.data.summary.summary` returns, and ``claims``.
        examples: Shown in this order.
    """
    title = f"Data set {Path(found['folder']).name}"
    quality = found["label_quality"]
    big = {
        "episodes": f"{found['n_episodes']:,}",
        "frames": f"{found['n_frames']:,}",
        "sentences": f"{found['n_sentences']:,}",
        "environments": f"{len(found['environments']):,}",
        "labels that break a rule": f"{quality['n_violations']:,}",
        "generated claims that are true": percent(found["claims"]["true_share"]),
    }
    parts = [
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<p class="lead">{html.escape(headline(found))}</p>{numbers(big)}',
        *(f"<h2>By {title}</h2>{_shares(part)}" for title, part in mixtures(found).items()),
        f"<h2>True progress</h2>{_histogram(found['progress_histogram'])}",
        f"<h2>Are the labels good?</h2>{_lines(quality_lines(quality))}",
        _drops(found["expert_drops"]),
        f"<h2>Generated reasoning, checked</h2>{_lines(claim_lines(found['claims']))}",
        "<h2>Examples</h2>" if examples else "",
        *(_example(example) for example in examples),
    ]
    return document(title, "".join(parts))


def headline(found: Mapping[str, Any]) -> str:
    """One line that says what it is."""
    return (
        f"{found['folder']}: {found['n_episodes']} episodes, {found['n_frames']} frames at "
        f"{found['fps']:.3g} Hz, {found['n_sentences']} sentences, cameras "
        f"{', '.join(c.rpartition('.')[2] for c in found['cameras'])}; without truth: "
        f"{found['n_without_truth']}, with facts: {found['n_with_facts']}"
    )


def percent(share: float | None, digits: int = 0) -> str:
    """A share as text, a dash where it is not known.

    Example:
        >>> percent(0.256), percent(None), percent(0.0042, 1)
        ('26%', '-', '0.4%')
    """
    return "-" if share is None else f"{100 * share:.{digits}f}%"


def quality_lines(quality: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Label quality as (words, value, whether it is as it should be)."""
    rules = (
        ("success, but progress is not exactly 100", "success_not_100", "n_success_frames"),
        ("progress 100 without success", "not_success_100", "n_frames"),
        ("outside -100 to 100, or no number", "out_of_range", "n_frames"),
        ("episodes that do not begin at 0", "starts_off_zero", "n_episodes"),
        ("episodes that begin complete", "starts_complete", "n_episodes"),
    )
    lines = [
        (words, f"{quality[key]} of {quality[total]}", quality[key] == 0)
        for words, key, total in rules
    ]
    if not quality["n_experts"]:
        return lines
    experts = {
        f"experts that succeed (of {quality['n_experts']})": percent(
            quality["expert_success_share"], 1
        ),
        f"expert steps that fall at all (of {quality['n_expert_steps']})": percent(
            quality["expert_fall_share"], 1
        ),
        "expert steps that fall by more than 2 points": percent(quality["expert_drop_share"], 1),
        "the same before the first success": percent(
            quality["expert_drop_share_before_success"], 1
        ),
        "experts without such a fall": percent(quality["expert_monotone_share"], 1),
        "largest fall of an expert": f"{quality['expert_largest_drop']:.0f} points",
    }
    return lines + [(words, value, True) for words, value in experts.items()]


def claim_lines(claims: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Checked claims as (words, value, whether it is as it should be)."""
    kinds = ", ".join(f"{kind} {n}" for kind, n in claims["false_by_kind"].items())
    drawn = f"{claims['n_texts']} texts of {claims['n_episodes']} random episodes"
    return [
        ("drawn", drawn, True),
        ("claims found in them", str(claims["n_claims"]), True),
        ("true, of those that can be decided", percent(claims["true_share"], 2), True),
        ("false", f"{claims['n_false']} {kinds}".strip(), claims["n_false"] == 0),
        ("undecided", str(claims["n_undecided"]), True),
    ]


def mixtures(found: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a data set by what they are split by; operators only where there are any."""
    keys = {
        "suite": "suites",
        "policy": "policies",
        "operator": "operators",
        "task": "environments",
    }
    plain = [part["name"] for part in found["operators"]] == [RECORDED]
    return {title: found[key] for title, key in keys.items() if not (plain and key == "operators")}


def _shares(shares: Sequence[Mapping[str, Any]]) -> str:
    most = max((share["n_episodes"] for share in shares), default=1)
    rows = [_bar_row(share, most) for share in shares]
    head = '<tr><td></td><td></td><td class="num">episodes</td><td class="num">succeed</td></tr>'
    shown = f'<table class="bars">{head}{"".join(rows[:MOST_ROWS])}</table>'
    if len(rows) <= MOST_ROWS:
        return shown
    return (
        f"{shown}<details><summary>{len(rows) - MOST_ROWS} more</summary>"
        f'<table class="bars">{"".join(rows[MOST_ROWS:])}</table></details>'
    )


def _bar_row(share: Mapping[str, Any], most: int) -> str:
    width = 100 * share["n_episodes"] / most
    return (
        f"<tr><td>{html.escape(share['name'])}</td>"
        f'<td><span class="bar" style="width:{width:.1f}%"></span></td>'
        f'<td class="num">{share["n_episodes"]}</td>'
        f'<td class="num">{percent(share["success_share"])}</td></tr>'
    )


def _histogram(counts: Sequence[int]) -> str:
    ranges = [f"{low} to {low + 10}" for low in HISTOGRAM_EDGES[:-1]]
    most, total = max(counts, default=0) or 1, sum(counts) or 1
    rows = [
        f'<tr><td>{name}</td><td><span class="bar" style="width:{100 * n / most:.1f}%"></span>'
        f'</td><td class="num">{n}</td><td class="num">{percent(n / total, 1)}</td></tr>'
        for name, n in zip([*ranges, "exactly 100"], counts, strict=True)
        if n
    ]
    return f'<p class="meta">Frames per 10 points.</p><table class="bars">{"".join(rows)}</table>'


def _lines(lines: Sequence[tuple[str, str, bool]]) -> str:
    rows = (
        f"<tr><th>{html.escape(words)}</th>"
        f"<td{'' if good else ' class=bad'}>{html.escape(value)}</td></tr>"
        for words, value, good in lines
    )
    return f"<table>{''.join(rows)}</table>"


def _drops(drops: Sequence[Sequence[Any]]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{n}</td><td>{percent(share, 1)}</td>"
        f"<td>{largest:.0f}</td></tr>"
        for name, n, share, largest in drops
        if share > 0
    )
    if not rows:
        return ""
    return (
        "<details><summary>Tasks whose experts lose progress</summary><table><tr><td>task</td>"
        "<td>experts</td><td>steps that fall by more than 2 points</td><td>largest fall</td></tr>"
        f"{rows}</table></details>"
    )


def _example(example: Example) -> str:
    episode = example.episode
    about = " · ".join(
        part for part in (f"episode {example.number}", episode.env_name, episode.policy) if part
    )
    strips = "".join(
        f'<img class="strip" alt="{name} view" src="data:image/jpeg;base64,{_strip(frames)}">'
        for name, frames in (
            (name, frames[list(example.moments)]) for name, frames in episode.views.items()
        )
    )
    said = "".join(_said(one) for one in example.explained)
    return (
        f'<section class="card"><h3>{html.escape(episode.task)}</h3>'
        f'<p class="meta">{html.escape(about)}</p>{strips}{_times(example)}{_curve(example)}'
        f'<ul class="said">{said}</ul></section>'
    )


def _strip(frames: np.ndarray) -> str:
    """Join frames to one JPEG, in base64."""
    height, width = frames.shape[1:3]
    size = (max(round(width * _TILE_PX / height), 1), _TILE_PX)
    tiles = [np.asarray(Image.fromarray(frame).resize(size)) for frame in frames]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(tiles, axis=1)).save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


def _labels(episode: Episode) -> tuple[str, np.ndarray] | None:
    if episode.truth is not None:
        return "true progress", episode.truth.true_progress
    proxy = episode.extra.get(ORDER_PROGRESS)
    if isinstance(proxy, list) and len(proxy) == episode.n_frames:
        return "order of frames (a proxy)", np.asarray(proxy, float)
    return None


def _times(example: Example) -> str:
    labels = _labels(example.episode)
    texts = []
    for t in example.moments:
        value = "" if labels is None else f": {labels[1][t]:.0f}%"
        texts.append(f"<span>{t / example.episode.fps:.1f} s{value}</span>")
    return f'<div class="times">{"".join(texts)}</div>'


def _curve(example: Example) -> str:
    labels, episode = _labels(example.episode), example.episode
    if labels is None:
        return '<p class="meta">Nothing is known of its progress.</p>'
    name, values = labels
    seconds = np.arange(episode.n_frames) / episode.fps
    low, high = progress_range([values])
    kind = "true" if episode.truth is not None else "held"
    return line_chart(
        [Series(name, seconds, values, kind)],
        Axis("time (s)", 0.0, float(seconds[-1]) or 1.0),
        Axis(name, low, high, "%"),
        title=f"{name} over time",
    )


def _said(one: Explained) -> str:
    claims = " ".join(
        f'<span class="{verdict_word(verdict)}">{_MARKS[verdict_word(verdict)]} '
        f"{html.escape(f'{claim.kind}: {claim.value}')}</span>"
        for claim, verdict in one.claims
    )
    return (
        f"<li><b>frame {one.now}</b> (after {one.previous}): {html.escape(one.text)}"
        f'<span class="claims">{claims}</span></li>'
    )
