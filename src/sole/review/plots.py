"""The two plots of a quality report as one PNG."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from sole.errors import ConfigError
from sole.report.player import progress_range
from sole.review.frames import reliability
from sole.review.saved import SavedRow

_JUDGED, _TRUE, _SOFT = "#c05f10", "#1b67a8", "#5d646d"


def check_matplotlib() -> None:
    """Raise ConfigError unless the plots can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--png needs matplotlib: pip install 'sole-rewards[report]'")


def write_plots(path: Path, row: SavedRow) -> None:
    """Write the scatter of episodes beside the reliability diagram.

    Args:
        path: The file; the caller sees to it that it appears only when it is whole.
        row: One model.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _scatter(left, row)
    _reliability(right, row)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#e3e1dc", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_SOFT, labelsize=8)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(row.model_id, fontsize=10)
    figure.savefig(path, dpi=130, format="png")


def _scatter(axes, row: SavedRow) -> None:  # noqa: ANN001
    true = np.array([e.true.max() for e in row.episodes])
    judged = np.array([e.judged_top5 for e in row.episodes])
    done = np.array([e.true_success_ever for e in row.episodes])
    low = progress_range([true, judged])[0]
    axes.plot([low, 100], [low, 100], color=_SOFT, linewidth=1, linestyle="--", label="as it is")
    axes.plot(true[~done], judged[~done], "o", color=_JUDGED, markerfacecolor="none", markersize=5,
              label="truly failed")  # fmt: skip
    axes.plot(true[done], judged[done], "o", color=_TRUE, alpha=0.7, markersize=5,
              label="truly succeeded")  # fmt: skip
    axes.set(xlabel="highest true progress (%)", ylabel="judged success score (%)",
             xlim=(low - 3, 103), ylim=(low - 3, 103))  # fmt: skip


def _reliability(axes, row: SavedRow) -> None:  # noqa: ANN001
    found = reliability(row.episodes)
    shown = [] if found is None else [found.bins.said, found.bins.true, found.low]
    low = progress_range(shown)[0]
    axes.plot([low, 100], [low, 100], color=_SOFT, linewidth=1, linestyle="--", label="as it is")
    if found is not None:
        axes.fill_between(found.bins.said, found.low, found.high, color=_JUDGED, alpha=0.15,
                          linewidth=0, label="95% over tasks")  # fmt: skip
        axes.plot(found.bins.said, found.bins.true, "o-", color=_JUDGED, markersize=4,
                  label="mean of a bin")  # fmt: skip
    axes.set(xlabel="judged progress (%)", ylabel="true progress (%)",
             xlim=(low - 3, 103), ylim=(low - 3, 103))  # fmt: skip
