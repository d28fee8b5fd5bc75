"""Does a number mean what it says? Calibration error and the diagram that shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Edges of the bins of probabilities, and of progress in percent.
PROBABILITY_BINS = np.linspace(0.0, 1.0, 11)
PROGRESS_BINS = np.linspace(-100.0, 100.0, 21)


@dataclass(frozen=True)
class Bins:
    """What was said and what was true, in bins of what was said; empty bins are left out.

    Attributes:
        said: Mean of what was said in each bin.
        true: Mean of what was true there.
        counts: How many.
    """

    said: np.ndarray
    true: np.ndarray
    counts: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean over all values of their bin's ``|said - true|``."""
        return float(np.average(np.abs(self.said - self.true), weights=self.counts))


def in_bins(said: np.ndarray, true: np.ndarray, edges: np.ndarray) -> Bins:
    """Sort values into bins of equal width.

    Args:
        said: ``(N,)`` finite, N > 0.
        true: ``(N,)`` finite, in the same unit.
        edges: Rising; a value on an inner edge belongs to the upper bin, and what lies outside to
            the outermost ones.

    Example:
        >>> bins = in_bins(np.array([0.9, 0.9]), np.array([1.0, 0.0]), PROBABILITY_BINS)
        >>> round(bins.error, 3)
        0.4
    """
    where = np.clip(np.digitize(said, edges) - 1, 0, len(edges) - 2)
    counts = np.bincount(where, minlength=len(edges) - 1)
    sums = [np.bincount(where, weights=v, minlength=len(edges) - 1) for v in (said, true)]
    kept = counts > 0
    return Bins(sums[0][kept] / counts[kept], sums[1][kept] / counts[kept], counts[kept])


def calibration_error(said: np.ndarray, true: np.ndarray, edges: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015), in the unit of the values; 0 is perfect.

    Example:
        >>> calibration_error(np.array([0.0, 1.0]), np.array([0.0, 1.0]), PROBABILITY_BINS)
        0.0
    """
    return in_bins(said, true, edges).error


def draw_reliability(path: Path, title: str, curves: Mapping[str, Bins]) -> bool:
    """Write a PNG: what was true on average where the model said so much; False without matplotlib.

    Args:
        path: The file; it appears only when it is whole.
        title: Above the diagram.
        curves: Bins of probabilities by their label.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--", label="perfect")
    for label, bins in curves.items():
        axes.plot(bins.said, bins.true, marker="o", markersize=4, label=label)
    axes.set(
        xlabel="success probability, judged", ylabel="share of frames truly successful",
        xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), title=title,
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=9)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=130, format="png")
    os.replace(temporary, path)
    return True
