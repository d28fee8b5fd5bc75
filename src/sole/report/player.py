"""Scrubbable players and whole pages: one HTML file that needs nothing beside it, online or off."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.report.chart import Axis, Series, line_chart

_ASSETS = Path(__file__).parent / "assets"
_MAX_SIDE_PX = 320
_QUALITY = 82


def document(title: str, body: str) -> str:
    """Wrap ``body`` (HTML) into a whole page with style and script inside; ``title`` is escaped."""
    style = (_ASSETS / "page.css").read_text()
    script = (_ASSETS / "player.js").read_text()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def player(episode: Episode, score: EpisodeScore, heading: str) -> str:
    """One episode as a player: pictures, slider, curve with a cursor, reasoning of each frame.

    Args:
        episode: Its truth, when known, is drawn beside the judgement.
        score: One step per frame.
        heading: Shown above; escaped.

    Returns:
        A ``<section>``; the pictures are JPEG in base64, at most 320 px on the longer side.

    Raises:
        ValueError: If score and episode differ in length.
    """
    check_lengths(episode, score)
    figures = "".join(
        f'<figure><img data-view="{name}" alt="{name} camera"><figcaption>{name}</figcaption>'
        "</figure>"
        for name in episode.views
    )
    last = episode.n_frames - 1
    return (
        f'<section class="player" tabindex="-1"><h3>{html.escape(heading)}</h3>'
        f'<div class="views">{figures}</div>'
        f'<div class="side">{_curve(episode, score)}</div>'
        '<div class="controls"><button type="button" aria-label="Play">▶</button>'
        f'<input type="range" min="0" max="{last}" value="0" aria-label="Frame">'
        "<output></output></div>"
        '<div class="now"></div><p class="reasoning"></p>'
        f'<script type="application/json" class="data">{safe_json(_data(episode, score))}</script>'
        "</section>"
    )


def check_lengths(episode: Episode, score: EpisodeScore) -> None:
    """Raise ValueError unless ``score`` has one step per frame of ``episode``."""
    if len(score.steps) != episode.n_frames:
        raise ValueError(
            f"expected one step per frame, got {len(score.steps)} steps for {episode.n_frames}"
        )


def safe_json(value: Any) -> str:
    """Write JSON that may stand inside a script element: no text in it can end the element.

    Example:
        >>> "<" in safe_json({"text": "</script>"})
        False
    """
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def numbers(facts: Mapping[str, str]) -> str:
    """A row of big numbers, each with a few words under it (escaped)."""
    items = (
        f"<li><b>{html.escape(value)}</b>{html.escape(words)}</li>"
        for words, value in facts.items()
    )
    return f'<ul class="numbers">{"".join(items)}</ul>'


def progress_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Range of a progress axis: 0 to 100 percent, lower where the values are.

    Example:
        >>> progress_range([np.array([0.0, 40.0])]), progress_range([np.array([-31.0])])
        ((0.0, 100.0), (-50.0, 100.0))
    """
    lowest = min((float(np.nanmin(v)) for v in values if np.isfinite(v).any()), default=0.0)
    return (0.0 if lowest >= -1.0 else -25.0 * np.ceil(-lowest / 25.0)), 100.0


def _curve(episode: Episode, score: EpisodeScore) -> str:
    seconds = np.arange(episode.n_frames) / episode.fps
    series = [Series("judged progress", seconds, score.judged_progress, "judged")]
    if episode.truth is not None:
        known = episode.truth.true_progress
        series.insert(0, Series("true progress", seconds, known, "true"))
    low, high = progress_range([s.y for s in series])
    x_axis = Axis("time (s)", 0.0, float(seconds[-1]) or 1.0)
    y_axis = Axis("progress", low, high, "%")
    return line_chart(series, x_axis, y_axis, title="progress over time", cursor=True)


def _data(episode: Episode, score: EpisodeScore) -> dict[str, Any]:
    known = None if episode.truth is None else episode.truth.true_progress
    return {
        "fps": episode.fps,
        "frames": {n: [_jpeg(f) for f in frames] for n, frames in episode.views.items()},
        "steps": [
            _step(step, t / episode.fps, None if known is None else float(known[t]))
            for t, step in enumerate(score.steps)
        ],
    }


def _step(step: StepScore, time_s: float, true_progress: float | None) -> dict[str, Any]:
    return {
        "p": _rounded(step.progress),
        "true": _rounded(true_progress),
        "success": _rounded(step.success_probability),
        "spread": _rounded(step.uncertainty),
        "time": round(time_s, 3),
        "text": step.reasoning,
        "error": step.error,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 3)


def _jpeg(frame: np.ndarray) -> str:
    picture = Image.fromarray(frame)
    picture.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
