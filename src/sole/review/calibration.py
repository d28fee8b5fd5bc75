"""``sole report calibration``: one page about a calibration, with its reliability diagrams."""

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
from sole.errors import DataError
from sole.evals.calibration import measured_path
from sole.progress.calibrate import Calibration
from sole.report.chart import Axis, Series, line_chart
from sole.report.outputs import OutputFiles, check_output
from sole.report.player import document, numbers, player
from sole.review.calibration_cases import KINDS, Row, film_wrong
from sole.review.clips import Clips
from sole.review.pieces import STYLE, number_cell, table
from sole.review.plots import check_matplotlib, write_calibration_plot
from sole.rewarders.calibrated import load_calibration
from sole.run import write_atomically

_ROWS = {
    "ece_before": ("calibration error of success as the model says", 3),
    "ece_after": ("the same, calibrated", 3),
    "progress_error_before": ("calibration error of progress as the model says, points", 1),
    "progress_error_after": ("the same, calibrated", 1),
    "fpr": ("failed episodes judged successful at the threshold", 3),
    "recall": ("successful episodes judged successful at the threshold", 3),
}
_PARTS = {"check": "episodes that nothing was chosen on", "fit": "episodes it was fitted on"}


class CalibrationReportConfig(Config):
    """Show a calibration and what it is worth as one page that needs nothing beside it."""

    calibration: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CALIBRATION.json")]
    """What sole calibrate saved; NAME.measured and NAME.episodes.parquet lie beside it."""
    html: Path | None = None
    """The page (.html); CALIBRATION.html when not given."""
    png: Path | None = None
    """Also write the reliability diagrams as a picture (.png)."""
    worst: int = Field(6, ge=0)
    """Clips of each kind (failures that pass, successes that do not); 0: none, and no model is
    loaded."""
    data: Path | None = None
    """The data set it was fitted on, if it now lies elsewhere."""
    check_data: Path | None = None
    """The data set it was checked on, if it now lies elsewhere."""
    cache: Path | None = None
    """The simulated episodes, if they now lie elsewhere."""


def run_calibration_report(argv: Sequence[str]) -> int:
    """Entry point of ``sole report calibration``."""
    config = parse_config(CalibrationReportConfig, argv, "sole report calibration", presets=False)
    page = config.html or config.calibration.with_suffix(".html")
    check_output("--html", page, (".html", ".htm"), ())
    if config.png:
        check_output("--png", config.png, (".png",), ())
        check_matplotlib()
    calibration = load_calibration(config.calibration)
    found = read_measured(measured_path(config.calibration))
    moved = {name: getattr(config, name) for name in ("data", "check_data", "cache")}
    clips = film_wrong(config.calibration, calibration.model_id, found, config.worst, moved)
    if clips.missing and config.worst:
        stderr.print(f"no clips: {clips.missing}", markup=False, soft_wrap=True)
    with OutputFiles() as files:
        write_atomically(files.temporary(page), calibration_page(calibration, found, clips))
        if config.png:
            parts = {words: found[part]["bins"] for part, words in _PARTS.items() if part in found}
            write_calibration_plot(files.temporary(config.png), calibration.model_id, parts)
    for path in (page, config.png):
        if path is not None:
            stderr.print(f"wrote {path}", markup=False, soft_wrap=True)
    return 0


def read_measured(path: Path) -> dict[str, Any]:
    """What ``sole calibrate`` measured.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        found = json.loads(path.read_text())
        if "fit" not in found or any("bins" not in found[p] for p in _PARTS if p in found):
            raise ValueError("no bins")
        if not isinstance(found.get("config", {}), dict):
            raise ValueError("config is no object")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not what sole calibrate writes ({error})") from error
    return found


def calibration_page(calibration: Calibration, found: Mapping[str, Any], clips: Clips[Row]) -> str:
    """Return one HTML page that loads nothing; all text in it is escaped.

    Args:
        calibration: The record.
        found: What was measured of it, by part (``check``, ``fit``).
        clips: Its worst cases.
    """
    title = f"Calibration of {calibration.model_id}"
    lead = (
        f"Success is read from the {calibration.signal.replace('_', ' ')}. Fitted on "
        f"{calibration.n_failed} failed and {calibration.n_successful} successful episodes of "
        f"{calibration.made_from}."
    )
    parts = [part for part in _PARTS if part in found]
    diagrams = "".join(
        f'<div><h2>{_PARTS[part].capitalize()}</h2><div class="card">{_diagram(found[part])}</div>'
        "</div>" for part in parts
    )  # fmt: skip
    body = (
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f'<p class="lead">{html.escape(lead)}</p>'
        f'{numbers(_big(calibration, found))}<div class="two">{diagrams}</div>'
        f"<h2>Before and after</h2>{_table(found, parts)}{_points(found)}"
        f"{_worst(calibration, clips)}"
        "<footer>The bound holds for episodes like those it was fitted on; on other tasks the "
        "false-positive rate may exceed it. docs/metrics.md says what each number is. Arrow "
        "keys step, space plays.</footer>"
    )
    return document(title, body)


def _big(calibration: Calibration, found: Mapping[str, Any]) -> dict[str, str]:
    sure = f"with confidence {calibration.confidence:g}"
    numbers_ = {
        "success probability from which an episode is judged successful":
            f"{calibration.success_threshold:.3g}",
        f"of failed episodes pass at most, {sure}": f"{100 * calibration.fpr_bound:.1f}%",
    }  # fmt: skip
    share = found.get("check", {}).get("fpr", {}).get("value")
    if share is not None:
        numbers_["of failed episodes passed where nothing was chosen"] = f"{100 * share:.1f}%"
    return numbers_


def _diagram(part: Mapping[str, Any]) -> str:
    ends = np.array([0.0, 100.0])
    series = [Series("as it is", ends, ends, "held")]
    for name, label, kind in (("before", "as the model says", "judged"),
                              ("after", "calibrated", "true")):  # fmt: skip
        bins = part["bins"][name]
        said, true = (100 * np.array(bins[k]) for k in ("said", "true"))
        series.append(Series(label, said, true, kind, dots=True))
    axes = Axis("success, judged", 0.0, 100.0, "%"), Axis("truly successful", 0.0, 100.0, "%")
    return line_chart(series, *axes, title="share truly successful where the model said so much")


def _table(found: Mapping[str, Any], parts: Sequence[str]) -> str:
    rows = []
    for name, (words, digits) in _ROWS.items():
        cells = "".join(_cell(found[part][name], digits) for part in parts)
        rows.append(f"<tr><td>{html.escape(words)}</td>{cells}</tr>")
    return table(["", *(_PARTS[part] for part in parts)], rows)


def _points(found: Mapping[str, Any]) -> str:
    """What a stricter or laxer threshold gives; earlier files of sole calibrate do not say it."""
    points = found.get("check", {}).get("points", [])
    if not points:
        return ""
    rows = [
        f"<tr><td>{100 * point['wanted_fpr']:g}%</td><td>{point['threshold']:.4f}</td>"
        f"{_cell(point['fpr'], 2)}{_cell(point['recall'], 2)}</tr>"
        for point in points
    ]
    heads = ["wanted false positives", "threshold", "failed that pass", "successful that pass"]
    return f"<h2>Other thresholds</h2>{table(heads, rows)}"


def _worst(calibration: Calibration, clips: Clips[Row]) -> str:
    if clips.missing:
        return f"<h2>Worst cases</h2><p>There are no clips: {html.escape(clips.missing)}.</p>"
    about = (
        "<p>Chosen by what was measured, which each heading says; an episode passes from the "
        f"calibrated probability {calibration.success_threshold:.3g} on. The curve, the numbers "
        "(not calibrated) and the words beside the pictures are one more verdict on the same "
        f"episode, of {html.escape(clips.model_id)}.</p>"
    )
    return f"<h2>Worst cases</h2>{about}" + "".join(
        f"<h2>{KINDS[kind]}</h2>"
        + ("".join(player(c.episode, c.score, c.saved.words) for c in part)
           or "<p>There are none.</p>")
        for kind, part in clips.by_kind.items()
    )  # fmt: skip


def _cell(number: Mapping[str, float | None], digits: int) -> str:
    value, low, high = (_known(number.get(k)) for k in ("value", "low", "high"))
    return number_cell(value, low, high, digits)


def _known(value: float | None) -> float:
    return math.nan if value is None else value
