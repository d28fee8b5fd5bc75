"""``sole eval clips``: a reward model on recorded clips that come with a progress curve."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from pydantic import Field
from rich.table import Table

from sole.config import Config, parse_config
from sole.console import stdout
from sole.data.clips import read_clips
from sole.data.episode import Episode, EpisodeScore
from sole.data.scores import write_scores
from sole.evals import metrics
from sole.evals.control_rows import ALWAYS, control_rows, say_left_out
from sole.evals.figures import Figure, record_figures
from sole.evals.labelled import judge
from sole.evals.output import Share, finite, make_room
from sole.evals.per_episode import held
from sole.rewarders.base import RewardModel
from sole.rewarders.load import load_reward_model
from sole.run import write_atomically

#: Rows beside the model that never look.
CONTROLS = (*ALWAYS, "constant:0")


class ClipsConfig(Config):
    """Score folders of videos with a data.json each; report how far the numbers are right."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Holds clips: folders with data.json (`task description`, `ground-truth rewards`) and a video
    (external and wrist side by side, or external alone)."""
    model: str = "nano"
    """nano, a checkpoint folder, a model on Hugging Face, or a control: ramp, random, constant:50,
    oracle."""
    think: bool = False
    """Let the model write reasoning for every frame."""
    calibration: Path | None = None
    """A file of sole calibrate, made for this model. none: the model as it is; not given: what lies
    beside the model."""
    success_at: float = Field(100.0, gt=0, le=100)
    """Percent from which a frame is truly successful, and an episode when one frame is."""
    judged_success_at: float = Field(90.0, gt=0, le=100)
    """An episode is judged successful when its judged progress ever reaches this."""
    batch: int = Field(8, gt=0)
    """Clips judged together."""
    controls: bool = True
    """Also measure the constant 0; the ramp and the random walk always are."""
    threads: int = Field(2, gt=0)
    """CPU threads."""
    print_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of tables."""
    out: Path | None = None
    """Also write everything, each clip's curve included, as JSON here, and what the model said of
    every frame as NAME.scores.parquet beside it."""
    figures: Path | None = None
    """Record the model's numbers in this figures file, as clips.*."""


@dataclass(frozen=True)
class ClipsRow:
    """One model on all clips.

    Attributes:
        model_id: Name and version.
        numbers: Metric -> (value, low, high); intervals draw whole clips, NaN of fewer than two.
        shares: Success recall and false positives.
        n_errors: Frames whose reply could not be read; the last valid number is held there.
        curves: Judged progress of each clip, in order.
    """

    model_id: str
    numbers: dict[str, tuple[float, float, float]]
    shares: dict[str, Share]
    n_errors: int
    curves: list[list[float]]


def run_clips(argv: Sequence[str]) -> int:
    """Entry point of ``sole eval clips``."""
    config = parse_config(ClipsConfig, argv, "sole eval clips")
    make_room(config.out)
    say_left_out(CONTROLS, config.controls)
    clips = list(read_clips(config.folder, success_at=config.success_at))
    models = _models(config)
    scores = [judge(one, clips, config.batch, "scoring") for one in models]
    rows = [
        clips_row(one.model_id, clips, said, config.judged_success_at)
        for one, said in zip(models, scores, strict=True)
    ]
    text = json.dumps(_as_json(rows, clips, config), indent=1, allow_nan=False)
    if config.print_json:
        sys.stdout.write(text + "\n")
    else:
        stdout.print(_table(rows, len(clips)))
    if config.out:
        write_atomically(config.out, text)
        write_scores(scores_path(config.out), scores[0])
    if config.figures:
        record_figures(config.figures, _figures(rows[0]), " ".join(["sole eval clips", *argv]))
    return 0


def _models(config: ClipsConfig) -> list[RewardModel]:
    """The model, and the rows beside it."""
    import torch

    torch.set_num_threads(config.threads)
    think = "always" if config.think else "fast"
    model = load_reward_model(config.model, think=think, calibration=config.calibration)
    names = control_rows(CONTROLS, config.controls)
    return [model, *(load_reward_model(name) for name in names)]


def scores_path(result: Path) -> Path:
    """Where what the model said of every frame lies, for ``sole report clips``.

    Example:
        >>> scores_path(Path("runs/clips.json")).name
        'clips.scores.parquet'
    """
    return result.with_suffix(".scores.parquet")


def clips_row(
    model_id: str, clips: Sequence[Episode], scores: Sequence[EpisodeScore], judged_at: float
) -> ClipsRow:
    """Compute everything for one model.

    Pooled numbers take all frames of all clips as one list, as the authors' own table does;
    ``episode_*`` are means over clips. Intervals draw whole clips.
    """
    curves = [held(score) for score in scores]
    truths = [clip.truth.true_progress for clip in clips if clip.truth is not None]
    success = np.array([clip.truth is not None and clip.truth.any_success for clip in clips])
    numbers: dict[str, tuple[float, float, float]] = {}
    for name, of_frames in (("spearman", metrics.spearman), ("pearson", metrics.pearson)):
        numbers[f"pooled_{name}"] = _pooled(of_frames, curves, truths)
        each = [
            of_frames(c, t) if np.ptp(t) > 0 else math.nan
            for c, t in zip(curves, truths, strict=True)
        ]
        numbers[f"episode_{name}"] = _mean(each)
    errors = [metrics.mae(c, t) for c, t in zip(curves, truths, strict=True)]
    numbers["mae"] = _mean(errors)
    biases = np.array([float(np.mean(c - t)) for c, t in zip(curves, truths, strict=True)])
    numbers["bias_success"] = _mean(biases[success])
    numbers["bias_failure"] = _mean(biases[~success])
    judged = np.array([curve.max() >= judged_at for curve in curves])
    shares = {
        "success_recall": Share(int(judged[success].sum()), int(success.sum())),
        "false_positives": Share(int(judged[~success].sum()), int((~success).sum())),
    }
    n_errors = sum(score.n_errors for score in scores)
    rounded = [np.round(c, 2).tolist() for c in curves]
    return ClipsRow(model_id, numbers, shares, n_errors, rounded)


def _pooled(of_frames: Any, curves: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> Any:
    def of_drawn(drawn: np.ndarray) -> float:
        chosen = drawn.astype(int)
        said = np.concatenate([curves[i] for i in chosen])
        return of_frames(said, np.concatenate([truths[i] for i in chosen]))

    places = np.arange(len(curves))
    return of_drawn(places), *_interval(places, of_drawn)


def _mean(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if not len(known):
        return math.nan, math.nan, math.nan
    return float(known.mean()), *_interval(known)


def _interval(
    values: np.ndarray, statistic: Callable[[np.ndarray], float] | None = None
) -> tuple[float, float]:
    """Over clips; of one there is nothing to draw."""
    if len(values) < 2:
        return math.nan, math.nan
    return metrics.bootstrap_interval(values, statistic=statistic)


def _table(rows: Sequence[ClipsRow], n_clips: int) -> Table:
    table = Table(title=f"{n_clips} clips [95% interval over clips]")
    table.add_column("metric", no_wrap=True)
    for row in rows:
        table.add_column(row.model_id, overflow="fold")
    for name in rows[0].numbers:
        digits = 1 if name == "mae" or name.startswith("bias") else 2
        table.add_row(name, *[_cell(*row.numbers[name], digits) for row in rows])
    for name in rows[0].shares:
        table.add_row(name, *[row.shares[name].text for row in rows])
    table.add_row("n_errors", *[str(row.n_errors) for row in rows])
    return table


def _cell(value: float, low: float, high: float, digits: int) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text if math.isnan(low) else f"{text} \\[{low:.{digits}f}, {high:.{digits}f}]"


def _as_json(
    rows: Sequence[ClipsRow], clips: Sequence[Episode], config: ClipsConfig
) -> dict[str, Any]:
    return {
        "clips": [clip.env_name for clip in clips],
        "rows": [
            {
                "model_id": row.model_id,
                **{
                    name: finite(dict(zip(("value", "low", "high"), number, strict=True)))
                    for name, number in row.numbers.items()
                },
                **{name: share.as_dict() for name, share in row.shares.items()},
                "n_errors": row.n_errors,
                "judged_progress": row.curves,
            }
            for row in rows
        ],
        "config": json.loads(config.model_dump_json()),
    }


def _figures(row: ClipsRow) -> list[Figure]:
    points = {"mae", "bias_success", "bias_failure"}
    figures = [
        Figure(f"clips.{name}", value, "points" if name in points else "", low, high)
        for name, (value, low, high) in row.numbers.items()
    ]
    return figures + [
        Figure(f"clips.{name}", share.value, "share", *share.interval)
        for name, share in row.shares.items()
    ]
