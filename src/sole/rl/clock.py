"""Where a run's time goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: Parts of a round; evaluations are the experimenter's own and no part of learning.
PARTS = ("sim", "render", "collect", "reward_model", "learn")
#: The reward model's part of an evaluation; ``evaluate`` is the rest of it.
EVALUATE_SCORE = "evaluate_reward_model"


@dataclass
class Clock:
    """Seconds spent in each part of a round."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Any:
        """Add the block's duration to ``name``."""
        began = time.perf_counter()
        yield
        self._add(name, time.perf_counter() - began)

    def split(self, name: str, parts: Mapping[str, float]) -> None:
        """Take seconds that were measured inside ``name`` out of it, to stand by themselves."""
        for part, seconds in parts.items():
            self._add(part, seconds)
            self._add(name, -seconds)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Return and forget what was measured."""
        taken, self.seconds = self.seconds, {}
        return {f"{name}_seconds": round(s, 3) for name, s in taken.items()}


def seconds_per_1000_steps(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each part for 1,000 environment steps, from a run's lines of training rounds.

    Args:
        rounds: Lines of metrics.jsonl of the kind ``episodes``, from the run's first one on.

    Example:
        >>> line = {"step": 500, "sim_seconds": 1.0, "learn_seconds": 3.0}
        >>> seconds_per_1000_steps([line])["learn"]
        6.0
    """
    steps = max((int(line["step"]) for line in rounds), default=0)
    total = {part: sum(line.get(f"{part}_seconds") or 0.0 for line in rounds) for part in PARTS}
    return {part: 1000 * value / steps if steps else 0.0 for part, value in total.items()}
