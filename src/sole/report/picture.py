"""The picture of a run for a README: what the robot did, how it was judged, what was true."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sole.errors import ConfigError
from sole.report.run_data import (
    RolloutRecord,
    RunData,
    column,
    read_run,
    rolling_mean,
    smoothing_window,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_JUDGED, _TRUE, _SOFT = "#c05f10", "#1b67a8", "#5d646d"
_N_STRIP = 6
_TILE_PX = 220


def write_training_picture(run_folder: Path, png_path: Path) -> None:
    """Write a PNG: frames at the start and the end, progress at the end, success over episodes.

    Args:
        run_folder: A folder of ``sole rl``.
        png_path: The file; it appears only when it is whole.

    Raises:
        ConfigError: If matplotlib is not installed.
        DataError: If the folder is no run.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "the picture needs matplotlib: pip install 'sole-rewards[report]'"
        ) from error
    run = read_run(run_folder)
    shown = list({r.name: r for r in (*run.rollouts[:1], *run.rollouts[-1:])}.values())
    figure = Figure(figsize=(9.6, 3.0 + 1.8 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(run.task, fontsize=13)
    grid = figure.add_gridspec(len(shown) + 1, 2, height_ratios=(*[1.0] * len(shown), 1.5))
    for row, record in enumerate(shown):
        _draw_strip(figure.add_subplot(grid[row, :]), record)
    if shown:
        _draw_progress(figure.add_subplot(grid[-1, 0]), shown[-1])
    _draw_success(figure.add_subplot(grid[-1, 1] if shown else grid[-1, :]), run)
    temporary = png_path.with_name(f".{png_path.name}.tmp")
    figure.savefig(temporary, dpi=130, format="png")
    os.replace(temporary, png_path)


def _draw_strip(axes: Axes, record: RolloutRecord) -> None:
    views = record.episode.views
    frames = next(iter(views.values()))
    shown = np.unique(np.linspace(0, len(frames) - 1, _N_STRIP).round().astype(int))
    tiles = [np.asarray(Image.fromarray(frames[t]).resize(_tile(frames))) for t in shown]
    gap = np.full((tiles[0].shape[0], 6, 3), 255, np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)][:-1]
    axes.imshow(np.concatenate(parts, axis=1))
    axes.set_axis_off()
    when = f"the {record.name}, after {record.number} training episodes"
    axes.set_title(when, fontsize=9, color=_SOFT, loc="left")
    step = tiles[0].shape[1] + gap.shape[1]
    for place, t in enumerate(shown):
        value = record.score.steps[t].progress
        text = "no answer" if value is None else f"judged {round(value)}%"
        axes.text(
            (place + 0.5) * step, tiles[0].shape[0] + 6, text, ha="center", va="top",
            fontsize=8, color=_JUDGED,
        )  # fmt: skip


def _tile(frames: np.ndarray) -> tuple[int, int]:
    height, width = frames.shape[1:3]
    return max(1, round(width * _TILE_PX / height)), _TILE_PX


def _draw_progress(axes: Axes, record: RolloutRecord) -> None:
    seconds = np.arange(record.episode.n_frames) / record.episode.fps
    truth = record.episode.truth
    if truth is not None:
        axes.plot(seconds, truth.true_progress, color=_TRUE, linewidth=3, label="true")
    axes.plot(seconds, record.score.judged_progress, color=_JUDGED, label="judged")
    axes.set(xlabel="time (s)", ylabel="progress (%)", title=f"roll-out at the {record.name}")
    _finish(axes)


def _draw_success(axes: Axes, run: RunData) -> None:
    window, episodes = smoothing_window(run.episodes), column(run.episodes, "episode")
    for name, colour, width_pt in (("true", _TRUE, 3), ("judged", _JUDGED, 1.5)):
        values = rolling_mean(column(run.episodes, f"{name}_success"), window)
        if np.isfinite(values).any():  # what is not known has no line and no legend
            axes.plot(episodes, values, color=colour, linewidth=width_pt, label=name)
    at, true = column(run.evals, "episode"), column(run.evals, "true_success")
    if np.isfinite(true).any():
        axes.plot(at, true, "o", color=_TRUE, markersize=4, label="true, evaluated (95%)")
        low, high = column(run.evals, "true_success_low"), column(run.evals, "true_success_high")
        axes.vlines(at, low, high, color=_TRUE, linewidth=1)
    axes.set(xlabel="training episodes", ylabel="success rate", ylim=(-0.03, 1.03),
             title="success by training episode")  # fmt: skip
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#e3e1dc", linewidth=0.7)
    axes.tick_params(colors=_SOFT, labelsize=8)
    axes.legend(frameon=False, fontsize=8)
