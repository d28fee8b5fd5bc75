"""Two models on the same episodes: differences whose interval draws the same tasks for both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sole.errors import ConfigError
from sole.evals import metrics
from sole.evals.result import UNITS, trust
from sole.review.meanings import MEANINGS
from sole.review.saved import SavedEpisode, SavedRow, same_truth


@dataclass(frozen=True)
class Difference:
    """One metric of both models.

    Attributes:
        name: The metric.
        a, b: Its values, over the tasks in which both have one.
        low, high: 95 percent interval of ``b - a``; NaN where none can be made.
        n_tasks: How many tasks that are.
    """

    name: str
    a: float
    b: float
    low: float
    high: float
    n_tasks: int

    @property
    def value(self) -> float:
        """B minus A."""
        return self.b - self.a

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves no room for "no difference"."""
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """What that means for B: better, worse, differs (no direction is better), or nothing.

        Example:
            >>> Difference("mae", 30.0, 20.0, -12.0, -8.0, 5).verdict
            'better'
        """
        if not self.excludes_zero:
            return ""
        better = MEANINGS[self.name][0]
        if better not in {"up", "down"}:
            return "differs"
        return "better" if (self.value > 0) == (better == "up") else "worse"

    def gain(self) -> tuple[float, float, float]:
        """By how much B is better than A, with its interval; negative where B is worse.

        Raises:
            ConfigError: If no direction of the metric is better.

        Example:
            >>> Difference("mae", 30.0, 20.0, -12.0, -8.0, 5).gain()
            (10.0, 8.0, 12.0)
        """
        better = MEANINGS[self.name][0]
        if better == "up":
            return self.value, self.low, self.high
        if better == "down":
            return -self.value, -self.high, -self.low
        raise ConfigError(f"{self.name}: has no better direction, so nothing is gained or lost")


def check_same_episodes(a: SavedRow, b: SavedRow, names: tuple[str, str]) -> None:
    """Refuse results that are not about the same episodes.

    Args:
        a: One model.
        b: The other one.
        names: What the message calls them.

    Raises:
        ConfigError: If an episode (environment, policy, seed) is in one only, or its truth differs.
    """
    counts = [Counter(e.key for e in row.episodes) for row in (a, b)]
    only = [counts[0] - counts[1], counts[1] - counts[0]]
    if any(only):
        words = [_only_words(part, name) for part, name in zip(only, names, strict=True)]
        raise ConfigError(
            f"the results are of different episodes: {', '.join(words)}; measure both with the "
            "same tasks, policies, --episodes-per-task and --seed"
        )
    changed = [x for x, y in paired_episodes(a, b) if not same_truth(x.true, y.true)]
    if changed:
        raise ConfigError(
            f"the truth of {len(changed)} of {len(a.episodes)} episodes differs between "
            f"{names[0]} and {names[1]} (first: {changed[0].name}); measure both with the same "
            "--n-frames, simulator and cache"
        )


def _only_words(only: Counter[tuple[str, str, int]], name: str) -> str:
    counted = f"{only.total()} only in {name}"
    if not only:
        return counted
    env_name, policy, seed = next(iter(only))
    return f"{counted} (first: {env_name}, {policy}, seed {seed})"


def paired_episodes(a: SavedRow, b: SavedRow) -> list[tuple[SavedEpisode, SavedEpisode]]:
    """The same episodes of both; those with one key stand in the order they were measured in."""
    ordered = (sorted(row.episodes, key=lambda e: (e.key, e.place)) for row in (a, b))
    return list(zip(*ordered, strict=True))


def differences(a: SavedRow, b: SavedRow) -> list[Difference]:
    """Every metric of both; intervals draw whole tasks, the same ones for A and B.

    Metrics of a task are means over tasks. Metrics over all episodes (``auc`` and the like) are
    computed again from the episodes of the drawn tasks, the headline from their factors.

    Args:
        a: One model.
        b: The other one, on the same episodes.
    """
    pooled = _Pooled(a), _Pooled(b)
    found = [_headline(a, b)]
    for name in UNITS:
        if name == "headline":
            continue
        made = (
            pooled_difference(name, *pooled) if name in STATISTICS else task_difference(name, a, b)
        )
        found.append(made)
    return found


def task_difference(name: str, a: SavedRow, b: SavedRow) -> Difference:
    """One metric that every task has, as the mean over the tasks in which both models have it."""
    pairs = [
        (found.get(name, math.nan), b.per_task.get(task, {}).get(name, math.nan))
        for task, found in a.per_task.items()
    ]
    known = np.array([pair for pair in pairs if not any(map(math.isnan, pair))]).reshape(-1, 2)
    if not len(known):
        return Difference(name, math.nan, math.nan, math.nan, math.nan, 0)
    gaps = known[:, 1] - known[:, 0]
    low, high = _interval(len(gaps), lambda drawn: float(gaps[drawn].mean()))
    one, two = known.mean(axis=0)
    return Difference(name, float(one), float(two), low, high, len(known))


def _headline(a: SavedRow, b: SavedRow) -> Difference:
    """The same tasks as :meth:`sole.evals.result.Row.headline`, where both have them."""
    pairs = [
        (found, b.per_task[task])
        for task, found in a.per_task.items()
        if _has(found, "spearman") and _has(b.per_task.get(task, {}), "spearman")
    ]
    if not all(any(_has(pair[k], "voc_reversed") for pair in pairs) for k in (0, 1)):
        return Difference("headline", math.nan, math.nan, math.nan, math.nan, 0)

    def of_drawn(drawn: np.ndarray) -> float:
        return trust([pairs[k][1] for k in drawn]) - trust([pairs[k][0] for k in drawn])

    low, high = _interval(len(pairs), of_drawn)
    one, two = (trust([pair[k] for pair in pairs]) for k in (0, 1))
    return Difference("headline", one, two, low, high, len(pairs))


def _has(found: Mapping[str, float], name: str) -> bool:
    return not math.isnan(found.get(name, math.nan))


def _interval(n_tasks: int, statistic: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """Over tasks; of a single one there is nothing to draw."""
    if n_tasks < 2:
        return math.nan, math.nan
    return metrics.bootstrap_interval(
        np.arange(n_tasks), statistic=lambda drawn: statistic(drawn.astype(int))
    )


#: Metrics over all episodes, each from a judged value and a truth of every episode.
STATISTICS: dict[str, tuple[str, str, Callable[[np.ndarray, np.ndarray], float]]] = {
    "auc": ("judged_top5", "true_success_ever", metrics.roc_auc),
    "auc_max": ("judged_max", "true_success_ever", metrics.roc_auc),
    "auc_last": ("judged_last", "true_success_last", metrics.roc_auc),
    "auprc": ("judged_top5", "true_success_ever", metrics.average_precision),
    "fpr_at_recall90": (
        "judged_top5", "true_success_ever", lambda s, y: metrics.fpr_at_recall(s, y, 0.9),
    ),
}  # fmt: skip


class _Pooled:
    """One model's episodes as arrays, and which of them belong to which task."""

    def __init__(self, row: SavedRow):
        self.episodes = row.episodes
        names = np.array([e.env_name for e in row.episodes])
        self.places = [np.flatnonzero(names == task) for task in sorted(set(names))]

    def column(self, name: str) -> np.ndarray:
        return np.array([getattr(e, name) for e in self.episodes])


def pooled_difference(name: str, a: _Pooled, b: _Pooled) -> Difference:
    """One of :data:`STATISTICS` for both, over all episodes."""
    judged, true, statistic = STATISTICS[name]
    columns = [(model, model.column(judged), model.column(true)) for model in (a, b)]

    def value(k: int, drawn: Sequence[int] | np.ndarray) -> float:
        model, said, done = columns[k]
        index = np.concatenate([model.places[task] for task in drawn])
        return statistic(said[index], done[index])

    n_tasks = len(a.places)
    low, high = _interval(n_tasks, lambda drawn: value(1, drawn) - value(0, drawn))
    every = range(n_tasks)
    return Difference(name, value(0, every), value(1, every), low, high, n_tasks)
