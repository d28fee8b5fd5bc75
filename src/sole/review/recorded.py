"""``sole report clips``: one page about recorded clips, the worst of them to look at."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field

from sole.config import Config, parse_config
from sole.console import stderr
from sole.data.clips import read_clips
from sole.data.episode import Episode, EpisodeScore
from sole.data.scores import read_scores
from sole.errors import DataError
from sole.evals.clips import scores_path
from sole.report.outputs import OutputFiles, check_output
from sole.report.player import document, player
from sole.review.pieces import STYLE, episode_scatter, number_cell, table
from sole.review.plots import check_matplotlib, write_clips_plot
from sole.run import write_atomically

_POINTS = ("mae", "bias_success", "bias_failure")
_NUMBERS = ("pooled_spearman", "pooled_pearson", "episode_spearman", "episode_pearson", *_POINTS)
_SHARES = ("success_recall", "false_positives")


class ClipsReportConfig(Config):
    """Show a result of sole eval clips as one page that needs nothing beside it."""

    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT.json")]
    """What sole eval clips --out wrote; RESULT.scores.parquet lies beside it."""
    html: Path | None = None
    """The page (.html); RESULT.html when not given."""
    png: Path | None = None
    """Also write the scatter of all clips as a picture (.png)."""
    worst: int = Field(6, ge=0)
    """Clips to look at: those with the largest mean absolute error of the first model."""
    folder: Path | None = None
    """The clips, if they now lie elsewhere."""


def run_clips_report(argv: Sequence[str]) -> int:
    """Entry point of ``sole report clips``."""
    config = parse_config(ClipsReportConfig, argv, "sole report clips", presets=False)
    page = config.html or config.result.with_suffix(".html")
    check_output("--html", page, (".html", ".htm"), ())
    if config.png:
        check_output("--png", config.png, (".png",), ())
        check_matplotlib()
    whole = _read(config.result)
    settings = whole["config"]
    place = config.folder or Path(settings["folder"])
    clips = list(read_clips(place, success_at=settings["success_at"]))
    scores = read_scores(scores_path(config.result))
    _check_same(config.result, whole, clips, scores)
    with OutputFiles() as files:
        write_atomically(files.temporary(page), clips_page(whole, clips, scores, config.worst))
        if config.png:
            write_clips_plot(files.temporary(config.png), *_places(whole, clips))
    for path in (page, config.png):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text())
        if not whole["rows"] or not {"folder", "success_at"} <= set(whole["config"]):
            raise ValueError("no rows, or no settings")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not what sole eval clips --out writes ({error})") from error
    return whole


def _check_same(
    path: Path, whole: Mapping[str, Any], clips: Sequence[Episode], scores: Sequence[EpisodeScore]
) -> None:
    names, lengths = [c.env_name for c in clips], [c.n_frames for c in clips]
    first = whole["rows"][0]
    measured = [len(curve) for curve in first["judged_progress"]]
    said = [(score.model_id, len(score.steps)) for score in scores]
    if said != [(first["model_id"], n_frames) for n_frames in measured]:
        raise DataError(f"{scores_path(path)}: does not belong to {path.name}; measure again")
    if names != whole["clips"] or lengths != measured:
        raise DataError(
            f"{path}: the clips are others than those that were measured; measure again"
        )


def _places(
    whole: Mapping[str, Any], clips: Sequence[Episode]
) -> tuple[str, list[float], list[float], list[bool]]:
    """The model, and of each clip its highest given and judged progress and whether it succeeds."""
    first = whole["rows"][0]
    truths = [clip.truth for clip in clips if clip.truth is not None]
    return (
        str(first["model_id"]),
        [float(truth.true_progress.max()) for truth in truths],
        [max(curve) for curve in first["judged_progress"]],
        [truth.any_success for truth in truths],
    )


def clips_page(
    whole: Mapping[str, Any], clips: Sequence[Episode], scores: Sequence[EpisodeScore], n_worst: int
) -> str:
    """Return one HTML page that loads nothing; all text in it is escaped.

    Args:
        whole: What ``sole eval clips`` wrote.
        clips: The clips, in its order.
        scores: What its first model said of them, with the words if it was asked for any.
        n_worst: How many are shown.
    """
    first = whole["rows"][0]
    curves = [np.array(curve, float) for curve in first["judged_progress"]]
    truths = [clip.truth.true_progress for clip in clips if clip.truth is not None]
    off = [float(np.abs(c - t).mean()) for c, t in zip(curves, truths, strict=True)]
    order = np.argsort(off)[::-1][:n_worst]
    _, given, judged, done = _places(whole, clips)
    scatter = episode_scatter(
        given, judged, done,
        [clip.env_name for clip in clips], ("highest given progress", "highest judged progress"),
    )  # fmt: skip
    players = "".join(
        player(clips[i], scores[i],
               f"{clips[i].env_name}: off by {off[i]:.0f} points on average")
        for i in order
    )  # fmt: skip
    title = f"{first['model_id']} on recorded clips"
    body = (
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<p class="lead">{len(clips)} clips, as measured, beside models that never look.</p>'
        f'<h2>Every clip</h2><div class="card">{scatter}</div>'
        f"<h2>All metrics</h2>{_table(whole['rows'])}"
        f"<h2>Furthest from the given curve</h2>{players}"
        "<footer>Intervals draw whole clips. docs/metrics.md says what each number means. Arrow "
        "keys step, space plays.</footer>"
    )
    return document(title, body)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for name in (*_NUMBERS, *_SHARES):
        digits = 1 if name in _POINTS else 2
        cells = "".join(_cell(row[name], digits) for row in rows)
        lines.append(f"<tr><td>{name}</td>{cells}</tr>")
    return table(["metric", *(row["model_id"] for row in rows)], lines)


def _cell(number: Mapping[str, float | None], digits: int) -> str:
    ends = (number[k] for k in ("value", "low", "high"))
    value, low, high = (math.nan if v is None else v for v in ends)
    return number_cell(value, low, high, digits)
