"""``sole calibrate``: make a model's numbers mean what they say, and say what is success."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from rich.table import Table

from sole.config import parse_config
from sole.console import stderr, stdout
from sole.data.episode import Episode
from sole.errors import ConfigError
from sole.evals.calibration_fit import (
    Labelled,
    Wanted,
    applied,
    choose_signal,
    cross_fitted,
    fit,
    gather,
    operating_points,
    report,
)
from sole.evals.calibration_rows import SCHEMA, episode_rows, rows_path
from sole.evals.figures import Figure, record_figures
from sole.evals.labelled import (
    LabelledConfig,
    judge,
    labelled_data,
    labelled_episodes,
    labelled_judge,
    task_labels,
)
from sole.evals.output import make_room, write_table
from sole.evals.overlap import fingerprints, refuse_overlap
from sole.evals.reliability import PROBABILITY_BINS, draw_reliability, in_bins
from sole.progress.calibrate import Calibration
from sole.rewarders.beside import UNCALIBRATED, calibration_path
from sole.run import write_atomically
from sole.sims.registry import task_names


class CalibrateConfig(LabelledConfig):
    """Fit what a model says to what is true, and choose its success threshold."""

    split: Literal["dev", "train"] = "dev"
    """Which of the suite's tasks to fit on; the test tasks are never chosen on."""
    check: Literal["test", "dev", "train"] | None = None
    """Also measure the result on this split of the suite."""
    check_data: Path | None = None
    """Also measure the result on this data set with truth."""
    method: Literal["isotonic", "temperature"] = "isotonic"
    """Form of the success map; a temperature is one number, for few labels."""
    signal: Literal["auto", "success_probability", "progress"] = "auto"
    """What success is read from; auto is the success probability where the model gives one."""
    wanted_fpr: float = Field(0.1, gt=0, lt=1)
    """Share of failed episodes that may be judged successful."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of the bound on that share."""
    min_successful: int = Field(10, gt=0)
    """Truly successful episodes that are needed; how many failed ones, the bound says."""
    out: Path | None = None
    """The calibration; not given: beside the model, where every verb finds it. Beside it go the
    reliability diagram of the checked episodes as PNG, and NAME.episodes.parquet."""

    @property
    def wanted(self) -> Wanted:
        """What the calibration has to be."""
        return Wanted(self.method, self.wanted_fpr, self.confidence, self.min_successful)


def main(argv: Sequence[str]) -> int:
    """Entry point of ``sole calibrate``."""
    config = parse_config(CalibrateConfig, argv, "sole calibrate")
    checked = _is_checked(config)
    refuse_held_out(config.tasks)
    model = labelled_judge(config, UNCALIBRATED)
    out = _place(config, model.model_id)
    episodes = labelled_episodes(config, config.split)
    refuse_held_out([e.env_name for e in episodes])
    scores = judge(model, episodes, config.batch, "fitting")
    signal = choose_signal(scores, config.signal)
    data = gather(episodes, scores, signal)
    calibration = fit(
        data, config.wanted, model_id=model.model_id, signal=signal,
        made_from=str(config.data or " ".join(sorted(set(task_labels(episodes))))),
        fitted_on=fingerprints(episodes),
    )  # fmt: skip
    said = cross_fitted(data, config.wanted)
    found = {"fit": report(data, calibration, said)}
    bins = {"fit": _bins(data, said.success)}
    rows = episode_rows("fit", episodes, data, calibration)
    if checked:
        others = _check_episodes(config)
        refuse_overlap(episodes, others)
        held_out = gather(others, judge(model, others, config.batch, "checking"), signal)
        said = applied(held_out, calibration)
        points = operating_points(data, held_out, calibration, config.confidence)
        found["check"] = {**report(held_out, calibration, said), "points": points}
        bins["check"] = _bins(held_out, said.success)
        rows += episode_rows("check", others, held_out, calibration)
        _draw(out, model.model_id, held_out, calibration)
    write_atomically(out, calibration.model_dump_json(indent=1) + "\n")
    measured = {part: {**found[part], "bins": bins[part]} for part in found}
    measured["config"] = config.model_dump(mode="json")
    write_atomically(measured_path(out), json.dumps(measured, indent=1, allow_nan=False) + "\n")
    write_table(rows_path(out), rows, SCHEMA)
    _show(config, out, calibration, found)
    if config.figures:
        command = " ".join(["sole calibrate", *argv])
        record_figures(config.figures, calibration_figures(found, calibration), command)
    return 0


def measured_path(calibration: Path) -> Path:
    """Where what was measured of a calibration lies, for ``sole report calibration``.

    Example:
        >>> measured_path(Path("runs/calibration.json")).name
        'calibration.measured'
    """
    return calibration.with_suffix(".measured")


def _bins(data: Labelled, calibrated: np.ndarray) -> dict[str, Any]:
    """The reliability diagram's points: what was said, what was true, and how many frames."""
    found = {}
    for name, said in (("before", data.signal), ("after", calibrated)):
        bins = in_bins(said, data.success, PROBABILITY_BINS)
        found[name] = {key: getattr(bins, key).tolist() for key in ("said", "true", "counts")}
    return found


def _place(config: CalibrateConfig, model_id: str) -> Path:
    """Where the calibration is saved; its folder is made.

    Raises:
        ConfigError: If no file is named and the model has no folder, or it cannot be made.
    """
    out = config.out or calibration_path(config.model, model_id)
    if out is None:
        raise ConfigError(f"--out: {config.model} has no folder to save beside; name a file")
    make_room(out)
    return out


def _is_checked(config: CalibrateConfig) -> bool:
    if config.check is not None and config.check_data is not None:
        raise ConfigError("--check and --check-data: expected one of them")
    checked = config.check is not None or config.check_data is not None
    if config.figures and not checked:
        raise ConfigError(
            "--figures: a rate is recorded on episodes that nothing was chosen on; give --check or "
            "--check-data too"
        )
    return checked


def refuse_held_out(names: Sequence[str]) -> None:
    """Refuse to choose anything on a test task.

    Raises:
        ConfigError: If one of the full task names is of one.
    """
    if held_out := sorted(set(names) & set(task_names("test"))):
        raise ConfigError(
            f"{', '.join(held_out[:3])}: held-out tasks are for measuring only; calibrate on "
            "others, and give these to --check or --check-data"
        )


def _check_episodes(config: CalibrateConfig) -> list[Episode]:
    if config.check_data is not None:
        return labelled_data(config.check_data)
    changed = config.model_copy(update={"data": None, "tasks": ()})
    return labelled_episodes(changed, str(config.check))


def _draw(out: Path, model_id: str, data: Labelled, calibration: Calibration) -> None:
    curves = {
        "as the model says": in_bins(data.signal, data.success, PROBABILITY_BINS),
        "calibrated": in_bins(calibration.success(data.signal), data.success, PROBABILITY_BINS),
    }
    if not draw_reliability(out.with_suffix(".png"), model_id, curves):
        stderr.print("no reliability diagram: pip install 'sole-rewards\\[report]'")


def _show(
    config: CalibrateConfig, out: Path, calibration: Calibration, found: dict[str, Any]
) -> None:
    if config.print_json:
        about = calibration.model_dump(exclude={"success", "progress", "fitted_on"})
        whole = {"calibration": about, "out": str(out), **found}
        sys.stdout.write(json.dumps(whole, allow_nan=False) + "\n")
        return
    table = Table(title=f"{calibration.model_id}, saved as {out}")
    table.add_column("what", no_wrap=True)
    for name in found:
        table.add_column(name, justify="right")
    for name, digits in _SHOWN.items():
        table.add_row(
            name.replace("_", " "), *[_cell(part[name], digits) for part in found.values()]
        )
    stdout.print(table)
    stdout.print(
        f"success from {calibration.success_threshold:.3g} on: with confidence "
        f"{calibration.confidence:g} at most {100 * calibration.fpr_bound:.1f}% of failed episodes "
        "like those it was fitted on pass"
    )
    if "check" in found:
        stdout.print(_points_table(found["check"]["points"]))


def _points_table(points: Sequence[dict[str, Any]]) -> Table:
    """What a stricter or laxer --wanted-fpr would give on the checked episodes."""
    table = Table(title="other thresholds, on the checked episodes")
    for name in ("wanted FPR", "threshold", "FPR", "recall"):
        table.add_column(name, justify="right")
    for point in points:
        shares = [_cell(point[name], 2) for name in ("fpr", "recall")]
        table.add_row(f"{point['wanted_fpr']:g}", f"{point['threshold']:.4f}", *shares)
    return table


_SHOWN = {
    "ece_before": 3, "ece_after": 3, "progress_error_before": 1, "progress_error_after": 1,
    "fpr": 3, "recall": 3,
}  # fmt: skip


def _cell(number: dict[str, Any], digits: int) -> str:
    if number["value"] is None:
        return "-"
    text = f"{number['value']:.{digits}f}"
    text += f" \\[{number['low']:.{digits}f}, {number['high']:.{digits}f}]"
    bound = number.get("upper_bound")
    return text if bound is None else f"{text} bound {bound:.{digits}f}"


def calibration_figures(found: dict[str, Any], calibration: Calibration) -> list[Figure]:
    """``calibrate.NAME`` on the checked episodes, ``calibrate.fit.NAME`` on those fitted on.

    ``calibrate.wanted20.fpr`` and ``.recall`` are what the threshold for 20 percent would give.
    """
    figures = []
    for part, prefix in (("check", "calibrate."), ("fit", "calibrate.fit.")):
        for name in _SHOWN:
            number = found[part][name]
            unit = "points" if name.startswith("progress") else "share"
            value = math.nan if number["value"] is None else number["value"]
            figures.append(Figure(prefix + name, value, unit, number["low"], number["high"]))
    for point in found["check"]["points"]:
        place = f"calibrate.wanted{round(100 * point['wanted_fpr'])}"
        for name in ("fpr", "recall"):
            share = point[name]
            value = math.nan if share["value"] is None else share["value"]
            figures.append(Figure(f"{place}.{name}", value, "share", share["low"], share["high"]))
    check = found["check"]["fpr"]
    bound = math.nan if check["upper_bound"] is None else check["upper_bound"]
    figures.append(Figure("calibrate.fpr_upper", bound, "share"))
    figures.append(Figure("calibrate.fpr_bound", calibration.fpr_bound, "share"))
    figures.append(Figure("calibrate.threshold", calibration.success_threshold, "probability"))
    return figures
