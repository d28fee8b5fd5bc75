"""Which episodes a model got most wrong, chosen by the numbers that were measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sole.review.saved import SavedEpisode

#: Kind -> what the page says of it.
KINDS = {
    "overrated": "Most overrated failures",
    "underrated": "Most underrated successes",
    "error": "Largest errors otherwise",
}


def overrating(episode: SavedEpisode) -> float:
    """Points by which the judged success score (mean of five highest) is above the best truth."""
    return episode.judged_top5 - float(episode.true.max())


def worst_cases(
    episodes: Sequence[SavedEpisode], per_kind: int
) -> dict[str, tuple[SavedEpisode, ...]]:
    """The worst episodes of each of :data:`KINDS`, the worst first; none is in two of them.

    Overrated are failures whose judged success score is above the highest true progress, by how
    much; underrated are successes whose score is below 100, the lowest first; errors are those of
    the other episodes with the largest mean absolute error.

    Args:
        episodes: As one model judged them.
        per_kind: At most so many of each.
    """
    failures = [e for e in episodes if not e.true_success_ever and overrating(e) > 0]
    successes = [e for e in episodes if e.true_success_ever and overrating(e) < 0]
    found = {
        "overrated": _first(failures, per_kind, lambda e: -overrating(e)),
        "underrated": _first(successes, per_kind, overrating),
    }
    shown = {e.place for part in found.values() for e in part}
    others = [e for e in episodes if e.place not in shown and e.mae > 0]
    return {**found, "error": _first(others, per_kind, lambda e: -e.mae)}


def _first(
    episodes: Sequence[SavedEpisode], n: int, order: Callable[[SavedEpisode], float]
) -> tuple[SavedEpisode, ...]:
    return tuple(sorted(episodes, key=lambda e: (order(e), e.place))[:n])
