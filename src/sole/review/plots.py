"""The plots of the pages of :mod:`sole.review` as PNG."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sole.errors import ConfigError
from sole.report.player import progress_range
from sole.review.compare_cases import Pair
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
    figure = _figure(10.4, 5.0)
    left, right = figure.subplots(1, 2)
    best_true = np.array([e.true.max() for e in row.episodes])
    judged = np.array([e.judged_top5 for e in row.episodes])
    done = np.array([e.true_success_ever for e in row.episodes], bool)
    _scatter(left, best_true, judged, done)
    left.set(xlabel="highest true progress (%)", ylabel="judged success score (%)")
    _reliability(right, row)
    _finish(figure, path, row.model_id)


def write_clips_plot(
    path: Path, model_id: str, true: Sequence[float], judged: Sequence[float], done: Sequence[bool]
) -> None:
    """Write the scatter of recorded clips: highest judged over highest given progress, percent."""
    figure = _figure(5.2, 5.0)
    axes = figure.add_subplot()
    _scatter(axes, np.array(true), np.array(judged), np.array(done, bool))
    axes.set(xlabel="highest given progress (%)", ylabel="highest judged progress (%)")
    _finish(figure, path, model_id)


def write_compare_plot(path: Path, a: SavedRow, b: SavedRow, pairs: Sequence[Pair]) -> None:
    """Write A against B, one dot an episode: judged success score, and mean absolute error.

    Args:
        path: The file; the caller sees to it that it appears only when it is whole.
        a: One model.
        b: The other one.
        pairs: Their episodes.
    """
    figure = _figure(10.4, 5.0)
    left, right = figure.subplots(1, 2)
    done = np.array([p.a.true_success_ever for p in pairs], bool)
    for axes, name in ((left, "judged_top5"), (right, "mae")):
        said = np.array([[getattr(p.a, name), getattr(p.b, name)] for p in pairs])
        _scatter(axes, said[:, 0], said[:, 1], done, "A and B alike")
    ends = (0, 1.05 * max(p.mae for pair in pairs for p in (pair.a, pair.b)) or 1)
    left.set(xlabel="A: judged success score (%)", ylabel="B: judged success score (%)")
    right.set(xlabel="A: mean absolute error (points)", ylabel="B: mean absolute error (points)",
              xlim=ends, ylim=ends)  # fmt: skip
    _finish(figure, path, f"A {a.model_id}, B {b.model_id}")


def write_attacks_plot(path: Path, whole: Mapping[str, Any]) -> None:
    """Write one bar an attack: vulnerability at its strongest, with its interval.

    Args:
        path: The file; the caller sees to it that it appears only when it is whole.
        whole: What ``sole eval robustness`` wrote; attacks that nothing could be turned by have a
            line and no bar.
    """
    strongest = {e["attack"]: e for e in sorted(whole["effects"], key=lambda e: e["strength"])}
    names = [f"{name} {e['strength']:g}" for name, e in strongest.items()]
    shares = [e["vulnerability"] for e in strongest.values()]
    ends = [[share[k] for share in shares] for k in ("low", "value", "high")]
    low, value, high = 100 * np.array(ends, float)  # None becomes NaN, which is not drawn
    figure = _figure(6.4, 1.2 + 0.28 * len(names))
    axes = figure.add_subplot()
    places = np.arange(len(names))
    axes.barh(places, value, color=_JUDGED, alpha=0.8)
    axes.hlines(places, low, high, color=_SOFT, linewidth=1.2, label="95%")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlabel="vulnerability: failures turned into successes (%)", xlim=(0, 100))
    _finish(figure, path, str(whole["model_id"]))


def write_calibration_plot(
    path: Path, model_id: str, parts: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
) -> None:
    """Write one reliability diagram a part: share truly successful where so much was said.

    Args:
        path: The file; the caller sees to it that it appears only when it is whole.
        model_id: Whose calibration it is.
        parts: Part -> ``before`` or ``after`` -> ``said`` and ``true`` of each bin, in [0, 1].
    """
    figure = _figure(5.2 * len(parts), 5.0)
    for k, (words, bins) in enumerate(parts.items(), start=1):
        axes = figure.add_subplot(1, len(parts), k)
        axes.plot([0, 100], [0, 100], color=_SOFT, linewidth=1, linestyle="--", label="as it is")
        for name, label, colour in (("before", "as the model says", _JUDGED),
                                    ("after", "calibrated", _TRUE)):  # fmt: skip
            said, true = (100 * np.array(bins[name][end]) for end in ("said", "true"))
            axes.plot(said, true, "o-", color=colour, markersize=4, label=label)
        axes.set(xlabel="success, judged (%)", ylabel="truly successful (%)",
                 xlim=(-3, 103), ylim=(-3, 103))  # fmt: skip
        axes.set_title(words, fontsize=9)
    _finish(figure, path, model_id)


def _figure(width: float, height: float):  # noqa: ANN202
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(figure, path: Path, title: str) -> None:  # noqa: ANN001
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#e3e1dc", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_SOFT, labelsize=8)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=130, format="png")


def _scatter(
    axes, true: np.ndarray, judged: np.ndarray, done: np.ndarray, line: str = "as it is"  # noqa: ANN001
) -> None:  # fmt: skip
    low = progress_range([true, judged])[0]
    axes.plot([low, 100], [low, 100], color=_SOFT, linewidth=1, linestyle="--", label=line)
    axes.plot(true[~done], judged[~done], "o", color=_JUDGED, markerfacecolor="none", markersize=5,
              label="truly failed")  # fmt: skip
    axes.plot(true[done], judged[done], "o", color=_TRUE, alpha=0.7, markersize=5,
              label="truly succeeded")  # fmt: skip
    axes.set(xlim=(low - 3, 103), ylim=(low - 3, 103))


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
