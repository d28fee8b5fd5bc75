"""What a reward model has spent, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CostCounters:
    """What a reward model has spent since it was made; implementations add to it.

    A client counts what it saw itself: calls and tokens are known to its server only.
    """

    episodes: int = 0
    frames: int = 0
    model_calls: int = 0
    generated_tokens: int = 0
    parse_failures: int = 0
    seconds: float = 0.0
