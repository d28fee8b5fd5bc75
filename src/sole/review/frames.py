"""Does judged progress mean what it says? Bins of judged frames with the truth in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sole.evals.metrics import bootstrap_interval
from sole.evals.reliability import PROGRESS_BINS, Bins, in_bins
from sole.review.saved import SavedEpisode

_DRAWS = 300


@dataclass(frozen=True)
class Reliability:
    """Judged against true progress in bins of ten points.

    Attributes:
        bins: Mean judged, mean true and number of frames of each bin that holds any.
        low, high: 95 percent interval of the mean true progress over tasks; NaN where only one
            task has frames.
    """

    bins: Bins
    low: np.ndarray
    high: np.ndarray


def reliability(episodes: Sequence[SavedEpisode]) -> Reliability | None:
    """Bin all judged frames but frame 0, which is 0 by definition, and failed reads.

    Returns:
        None when no frame was read.
    """
    kept = [np.isfinite(e.judged[1:]) for e in episodes]
    said = np.concatenate([e.judged[1:][k] for e, k in zip(episodes, kept, strict=True)])
    if not len(said):
        return None
    true = np.concatenate([e.true[1:][k] for e, k in zip(episodes, kept, strict=True)])
    tasks = np.repeat([e.env_name or e.task for e in episodes], [int(k.sum()) for k in kept])
    bins = in_bins(said, true, PROGRESS_BINS)
    # The same rule as in_bins: a value outside belongs to the outermost bin.
    where = np.clip(np.digitize(said, PROGRESS_BINS) - 1, 0, len(PROGRESS_BINS) - 2)
    ends = np.array([_interval(true[where == b], tasks[where == b]) for b in np.unique(where)])
    return Reliability(bins, ends[:, 0], ends[:, 1])


def _interval(values: np.ndarray, tasks: np.ndarray) -> tuple[float, float]:
    if len(np.unique(tasks)) < 2:
        return float("nan"), float("nan")
    return bootstrap_interval(values, _DRAWS, clusters=tasks)
