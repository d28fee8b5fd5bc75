"""What the server did, as text that Prometheus reads."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RequestCounts:
    """Requests by route and status, and how long they took."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds: dict[str, float] = {}
        self._buckets: dict[str, list[int]] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; ``route`` is its pattern, so that ids stay out."""
        self.requests[method, route, status] += 1
        self.seconds[route] = self.seconds.get(route, 0.0) + seconds
        buckets = self._buckets.setdefault(route, [0] * (len(_BOUNDS_S) + 1))
        buckets[bisect.bisect_left(_BOUNDS_S, seconds)] += 1

    def lines(self) -> Iterable[str]:
        """The exposition of the counts."""
        yield "# HELP sole_requests_total Answered requests."
        yield "# TYPE sole_requests_total counter"
        for (method, route, status), n in sorted(self.requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            yield f"sole_requests_total{{{labels}}} {n}"
        yield "# HELP sole_request_seconds Time from the request's head to its answer."
        yield "# TYPE sole_request_seconds histogram"
        for route, buckets in sorted(self._buckets.items()):
            yield from self._histogram(route, buckets)

    def _histogram(self, route: str, buckets: list[int]) -> Iterable[str]:
        name, total = "sole_request_seconds", 0
        for bound, n in zip([*map(str, _BOUNDS_S), "+Inf"], buckets, strict=True):
            total += n
            yield f'{name}_bucket{{route="{route}",le="{bound}"}} {total}'
        yield f'{name}_sum{{route="{route}"}} {self.seconds[route]:.6f}'
        yield f'{name}_count{{route="{route}"}} {total}'


def exposition(
    counts: RequestCounts,
    counters: Mapping[str, tuple[str, float]],
    gauges: Mapping[str, tuple[str, float]],
) -> str:
    """The whole text; counters and gauges are (help, value) by name.

    Example:
        >>> exposition(RequestCounts(), {}, {"sole_sessions": ("Open.", 2)}).splitlines()[-1]
        'sole_sessions 2'
    """
    lines = list(counts.lines())
    for kind, entries in (("counter", counters), ("gauge", gauges)):
        for name, (about, value) in entries.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}", f"{name} {value:g}"]
    return "\n".join(lines) + "\n"
