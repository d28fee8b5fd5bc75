"""What a reasoner would be taught to say about recorded moments, and whether the facts agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sole.data.episode import Truth
from sole.data.lerobot import DatasetInfo
from sole.data.summary import read_truths
from sole.synth.claims import Claim, judge_text
from sole.synth.reasoning import write_reasoning


@dataclass(frozen=True)
class Explained:
    """One moment with its generated text.

    Attributes:
        previous, now: Frame numbers; the text speaks of what changed between them.
        text: As a model is trained to say it.
        claims: Every claim found in it, with its verdict (None: the facts cannot tell).
    """

    previous: int
    now: int
    text: str
    claims: tuple[tuple[Claim, bool | None], ...]


def explain(
    task: str, truth: Truth, previous: int, now: int, rng: np.random.Generator
) -> Explained:
    """Write the reasoning for frame ``now`` with ``previous`` shown before it, and check it.

    Raises:
        ValueError: If the truth has no facts to speak of.
    """
    if not truth.facts:
        raise ValueError("explain: expected facts, got none")
    facts, progress = truth.facts, truth.true_progress
    text = write_reasoning(
        task, facts[0], facts[previous], facts[now],
        float(progress[previous]), float(progress[now]), rng,
    )  # fmt: skip
    return Explained(
        previous, now, text, tuple(judge_text(text, facts[previous], facts[now], facts[0]))
    )


def explain_moments(
    task: str, truth: Truth, moments: Sequence[int], rng: np.random.Generator
) -> list[Explained]:
    """Explain each moment after the first one, with the one before it as the previous frame."""
    return [explain(task, truth, before, now, rng) for before, now in pairwise(moments)]


def spread_moments(n_frames: int, n_moments: int) -> list[int]:
    """Return the first, the last and evenly spread frames between them.

    Example:
        >>> spread_moments(31, 4), spread_moments(2, 4)
        ([0, 10, 20, 30], [0, 1])
    """
    return np.unique(np.linspace(0, n_frames - 1, n_moments).round().astype(int)).tolist()


def check_claims(
    info: DatasetInfo, n_episodes: int, seed: int, n_moments: int = 8
) -> dict[str, Any]:
    """Generate reasoning for random episodes and count its claims by verdict; JSON-able.

    Args:
        info: The dataset; episodes without facts are never drawn.
        n_episodes: How many are drawn at most.
        seed: Of the draw and of the wording.
        n_moments: Frames of each episode that are spoken of, the first one included.
    """
    rng = np.random.default_rng(seed)
    known = [row["episode_index"] for row in info.episodes if row.get("has_facts")]
    drawn = rng.permutation(known)[:n_episodes].astype(int).tolist()
    verdicts: Counter[str] = Counter()
    false_kinds: Counter[str] = Counter()
    n_texts = 0
    for index, truth in read_truths(info, drawn):
        moments = spread_moments(len(truth.true_progress), n_moments)
        task = info.episodes[index]["tasks"][0]
        told = explain_moments(task, truth, moments, rng)
        n_texts += len(told)
        for claim, verdict in (pair for one in told for pair in one.claims):
            verdicts[verdict_word(verdict)] += 1
            false_kinds[claim.kind] += verdict is False
    return _rates(len(drawn), n_texts, verdicts, false_kinds)


def verdict_word(verdict: bool | None) -> str:
    """Return true, false or undecided."""
    return "undecided" if verdict is None else str(verdict).lower()


def _rates(
    n_episodes: int, n_texts: int, verdicts: Counter[str], false_kinds: Counter[str]
) -> dict[str, Any]:
    decided = verdicts["true"] + verdicts["false"]
    return {
        "n_episodes": n_episodes,
        "n_texts": n_texts,
        "n_claims": sum(verdicts.values()),
        "n_false": verdicts["false"],
        "n_undecided": verdicts["undecided"],
        "true_share": verdicts["true"] / decided if decided else None,
        "false_by_kind": {k: n for k, n in sorted(false_kinds.items()) if n},
    }
