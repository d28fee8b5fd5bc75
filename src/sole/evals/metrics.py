"""The metrics of reward models: pure functions of arrays. Definitions also in docs/metrics.md.

Sources: GVL (arXiv 2411.04549) for VOC, Robometer (arXiv 2603.02115) for Kendall and ranking,
RoboPulse++ for falling F1. A rank correlation of a constant is 0 here, not undefined: a model that
says nothing must not be left out of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

Values = Sequence[float] | np.ndarray


def as_numbers(values: Values) -> np.ndarray:
    """As floats. NaN has no rank and no distance: who holds failed reads does so before."""
    array = np.asarray(values, float)
    if np.isnan(array).any():
        place = int(np.flatnonzero(np.isnan(array.reshape(-1)))[0])
        raise ValueError(f"metric: expected numbers, got NaN at place {place}; hold or drop it")
    return array


def ranks(values: Values) -> np.ndarray:
    """Average ranks from 1; equal values share the mean of their places.

    Example:
        >>> ranks([10, 20, 20, 5]).tolist()
        [2.0, 3.5, 3.5, 1.0]
    """
    array = as_numbers(values)
    _, where, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[where.reshape(-1)]


def pearson(one: Values, two: Values) -> float:
    """Linear correlation in [-1, 1]; 0 when either is constant.

    Example:
        >>> round(pearson([1, 2, 3], [2, 4, 6]), 6), pearson([1, 1], [1, 2])
        (1.0, 0.0)
    """
    a, b = as_numbers(one), as_numbers(two)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"correlation: expected equal 1-d shapes, got {a.shape} and {b.shape}")
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(a @ b / size, -1.0, 1.0)) if size > 1e-12 else 0.0


def spearman(one: Values, two: Values) -> float:
    """Rank correlation in [-1, 1]; 0 when either is constant.

    Example:
        >>> round(spearman([1, 2, 3], [1, 8, 27]), 6)
        1.0
    """
    return pearson(ranks(one), ranks(two))


def voc(judged: Values) -> float:
    """Value-order correlation (GVL): Spearman of the judged values with time; 0 for a flat curve.

    Means something on successful expert videos only; a ramp wins it, so a static video stands
    beside it always.

    Example:
        >>> voc([0, 10, 30]), voc([5, 5, 5])
        (1.0, 0.0)
    """
    return spearman(judged, np.arange(len(judged)))


def vroc(judged_reversed: Values) -> float:
    """VOC of the values that a model gave to the video played backwards; -1 is right (VLAC).

    The values are in the order the model saw the frames, the episode's end first. A ramp in time
    scores +1 here, which is how it is found out.

    Example:
        >>> vroc([0, -20, -60])
        -1.0
    """
    return voc(judged_reversed)


def mae(judged: Values, true: Values) -> float:
    """Mean absolute error in percent points.

    Example:
        >>> mae([0, 50], [10, 50])
        5.0
    """
    return float(np.mean(np.abs(as_numbers(judged) - as_numbers(true))))


def kendall_tau_a(one: Values, two: Values) -> float:
    """(concordant - discordant) / all pairs; ties count 0 (Robometer). NaN of fewer than two.

    Example:
        >>> kendall_tau_a([1, 2, 3], [1, 3, 2])
        0.3333333333333333
    """
    a, b = as_numbers(one), as_numbers(two)
    n = len(a)
    if n < 2:
        return math.nan
    signs = np.sign(a[:, None] - a[None]) * np.sign(b[:, None] - b[None])
    return float(signs.sum() / (n * (n - 1)))


def cohen_kappa(one: Values, two: Values) -> float:
    """Agreement of two labellings beyond chance (Cohen 1960): 1 perfect, 0 chance, may be below.

    NaN for nothing, and where both always give one and the same label: then chance agrees too.

    Example:
        >>> round(cohen_kappa([1, 1, -1, -1], [1, 1, -1, 1]), 3)
        0.5
    """
    a, b = np.asarray(one), np.asarray(two)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"kappa: expected equal 1-d shapes, got {a.shape} and {b.shape}")
    if not len(a):
        return math.nan
    labels = np.unique([a, b])
    chance = float(sum(np.mean(a == label) * np.mean(b == label) for label in labels))
    agreed = float(np.mean(a == b))
    return (agreed - chance) / (1 - chance) if chance < 1 - 1e-12 else math.nan


def ranking_accuracy(scores: Values, quality: Values) -> float:
    """Share of pairs of different quality whose scores are in the same order; tied scores half.

    NaN when no two qualities differ (Robometer, arXiv 2603.02115).

    Example:
        >>> ranking_accuracy([0.1, 0.7, 0.7], [0, 1, 2])
        0.8333333333333334
    """
    a, b = as_numbers(scores), as_numbers(quality)
    better = b[:, None] > b[None]
    if not better.any():
        return math.nan
    wins = (np.sign(a[:, None] - a[None]) + 1) / 2
    return float(wins[better].mean())


def preference_accuracy(chosen: Values, rejected: Values, tie: float = 0.5) -> float:
    """Share of pairs whose better half scores higher by more than ``tie``; NaN without pairs.

    A tie is no preference and counts as a mistake, unlike in :func:`ranking_accuracy`; the share of
    them stands beside it (:func:`tie_rate`). Pairs as in RoboRewardBench and Robometer.

    Args:
        chosen: ``(N,)`` score of the truly better one of each pair.
        rejected: ``(N,)`` score of the other one.
        tie: Scores that differ by no more are equal; half a point of progress in percent.

    Example:
        >>> preference_accuracy([80, 50, 10], [20, 50, 90])
        0.3333333333333333
    """
    better = as_numbers(chosen) - as_numbers(rejected) > tie
    return float(better.mean()) if len(better) else math.nan


def tie_rate(chosen: Values, rejected: Values, tie: float = 0.5) -> float:
    """Share of pairs between whose scores there are at most ``tie`` points; NaN without pairs.

    Example:
        >>> tie_rate([80, 50, 10], [20, 50, 90])
        0.3333333333333333
    """
    tied = np.abs(as_numbers(chosen) - as_numbers(rejected)) <= tie
    return float(tied.mean()) if len(tied) else math.nan


def roc_auc(scores: Values, labels: Sequence[bool] | np.ndarray) -> float:
    """Chance that a success scores above a failure; ties count half. NaN with one class only.

    Example:
        >>> roc_auc([0.1, 0.9, 0.5], [False, True, False])
        1.0
    """
    values, truth = as_numbers(scores), np.asarray(labels, bool)
    n_true, n_false = int(truth.sum()), int((~truth).sum())
    if not n_true or not n_false:
        return math.nan
    above = ranks(values)[truth].sum() - n_true * (n_true + 1) / 2
    return float(above / (n_true * n_false))


def average_precision(scores: Values, labels: Sequence[bool] | np.ndarray) -> float:
    """Area under the precision-recall steps (AUPRC); tied scores are one step. NaN without success.

    Chance has the share of successes, not a half.

    Example:
        >>> average_precision([0.9, 0.8, 0.1], [True, False, True])
        0.8333333333333333
    """
    recall, precision, _ = _operating_points(scores, labels)
    if not len(recall):
        return math.nan
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def fpr_at_recall(scores: Values, labels: Sequence[bool] | np.ndarray, recall: float) -> float:
    """Share of failures taken for success at the highest threshold that finds ``recall`` of them.

    NaN with one class only.

    Example:
        >>> fpr_at_recall([0.9, 0.8, 0.7, 0.1], [True, False, True, False], recall=0.9)
        0.5
    """
    found, _, fpr = _operating_points(scores, labels)
    if not len(found) or np.isnan(fpr).any():
        return math.nan
    return float(fpr[np.argmax(found >= recall - 1e-12)])


def _operating_points(
    scores: Values, labels: Sequence[bool] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recall, precision and false-positive rate at every threshold, the highest first."""
    values, truth = as_numbers(scores), np.asarray(labels, bool)
    if not truth.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    thresholds = np.unique(values)[::-1]
    n_false = int((~truth).sum())
    true = truth.sum() - np.searchsorted(np.sort(values[truth]), thresholds)
    false = n_false - np.searchsorted(np.sort(values[~truth]), thresholds)
    fpr = false / n_false if n_false else np.full(len(false), math.nan)
    return true / truth.sum(), true / (true + false), fpr


def falling_f1(judged: Values, true: Values, least: float = 5.0) -> float:
    """F1 of noticing that things got worse between two frames by more than ``least`` points.

    NaN when nothing falls and nothing was said to fall.

    Example:
        >>> falling_f1([0, 40, 10, 20], [0, 50, 20, 30])
        1.0
    """
    return trend_f1(judged, true, -1, least)


def rising_f1(judged: Values, true: Values, least: float = 5.0) -> float:
    """F1 of noticing that things got better between two frames by more than ``least`` points.

    NaN when nothing rises and nothing was said to rise.

    Example:
        >>> rising_f1([0, 40, 10, 11], [0, 50, 20, 30])
        0.6666666666666666
    """
    return trend_f1(judged, true, 1, least)


def trend_f1(judged: Values, true: Values, trend: int, least: float) -> float:
    """F1 of noticing one trend between two frames: 1 rising, -1 falling, 0 neither.

    NaN when it neither happens nor is said.

    Example:
        >>> trend_f1([0, 40, 40], [0, 1, 2], 0, least=5.0)
        0.6666666666666666
    """
    said, real = (_trends(as_numbers(values), least) == trend for values in (judged, true))
    both = int((said & real).sum())
    wrong = int((said ^ real).sum())
    return 2 * both / (2 * both + wrong) if both + wrong else math.nan


def _trends(values: np.ndarray, least: float) -> np.ndarray:
    steps = np.diff(values)
    return np.where(np.abs(steps) > least, np.sign(steps), 0)


def drift(judged: Values) -> float:
    """Last minus first judged value, percent points: 0 is right for a static video.

    Example:
        >>> drift([0, 3, 7])
        7.0
    """
    return float(judged[-1] - judged[0])


def rise(judged: Values) -> float:
    """Highest minus first judged value, percent points: what a static video gains by itself.

    Example:
        >>> rise([0, 9, 4])
        9.0
    """
    return float(np.max(judged) - judged[0])


def wilson_interval(k: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 percent interval of a share ``k / n`` (Wilson 1927): honest near 0 and 1, unlike +-2 sd.

    Raises:
        ValueError: Unless 0 <= k <= n and n > 0.

    Example:
        >>> [round(x, 3) for x in wilson_interval(20, 20)]
        [0.839, 1.0]
    """
    if not 0 <= k <= n or n <= 0:
        raise ValueError(f"wilson interval: expected 0 <= k <= n and n > 0, got {k} of {n}")
    centre = (k + z * z / 2) / (n + z * z)
    half = z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def interquartile_mean(values: Values) -> float:
    """Mean of the middle half (Agarwal et al. 2021): robust to a lucky or unlucky seed.

    Example:
        >>> interquartile_mean([0, 1, 2, 100])
        1.5
    """
    array = np.sort(np.asarray(values, float))
    cut = len(array) // 4
    return float(array[cut : len(array) - cut].mean())


def bootstrap_interval(
    values: Values,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    statistic: Callable[[np.ndarray], float] | None = None,
    *,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (the mean) over independent units.

    Units must be independent: tasks or episodes, never frames. NaNs are left out, and so are draws
    whose statistic is NaN (an AUC without successes).

    Args:
        values: One number per unit.
        n: Draws.
        seed: Of the draws.
        level: Share of the draws inside the interval.
        statistic: Of the drawn values; None is their mean.
        clusters: One label per value, for example its task: whole clusters are drawn, since values
            of one cluster are alike and drawing them singly makes the interval too narrow.

    Example:
        >>> bootstrap_interval([2.0, 2.0, 2.0])
        (2.0, 2.0)
        >>> bootstrap_interval([0.0, 0.0, 1.0, 1.0], clusters=["a", "a", "b", "b"])
        (0.0, 1.0)
    """
    array = np.asarray(values, float)
    known = ~np.isnan(array)
    array = array[known]
    if not len(array):
        return math.nan, math.nan
    labels = np.arange(len(array)) if clusters is None else np.asarray(clusters)[known]
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    draws = np.random.default_rng(seed).integers(len(groups), size=(n, len(groups)))
    if clusters is None and statistic is None:
        means = array[draws].mean(axis=1)  # as one by one, to the same bit, and much faster
    else:
        of = np.mean if statistic is None else statistic
        drawn = (array[np.concatenate([groups[k] for k in draw])] for draw in draws)
        means = np.array([float(of(d)) for d in drawn])
    means = means[~np.isnan(means)]
    if not len(means):
        return math.nan, math.nan
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
