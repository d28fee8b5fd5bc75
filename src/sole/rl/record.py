"""What a run says about itself: judged and true success side by side, and filmed roll-outs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sole.data.attempts import Attempt
from sole.data.episode import EpisodeScore, Truth
from sole.progress.calibrate import judged_success
from sole.rl.envs import Rollout
from sole.rl.judge import Judgement
from sole.run import write_atomically


def round_metrics(
    rollouts: Sequence[Rollout], judged: Sequence[Judgement], judged_success_at: float
) -> dict[str, float | None]:
    """Means over one round's episodes; success is *ever*, progress is at the last moment.

    What is true is None in an environment without a truth, what is judged where nothing is.
    """
    truths = _truths(rollouts)
    return {
        "judged_success": _share_judged_successful(judged, judged_success_at),
        "true_success": _mean([t.any_success for t in truths]),
        "judged_progress_final": _mean([j.judged_progress[-1] for j in judged]),
        "true_progress_final": _mean([t.true_progress[-1] for t in truths]),
        "dropped": float(sum(j.rewards is None for j in judged)),
    }


def round_attempts(
    first: int, seeds: Sequence[int], rollouts: Sequence[Rollout], judged: Sequence[Judgement]
) -> list[Attempt]:
    """What one round did, to be filmed again later (``sole synth --from-runs``)."""
    return [
        Attempt(
            first + k, k, seeds[k], np.stack(rollout.actions).astype(np.float32),
            judgement.judged_progress, _true_progress(rollout),
        )
        for k, (rollout, judgement) in enumerate(zip(rollouts, judged, strict=True))
    ]  # fmt: skip


def eval_metrics(
    rollouts: Sequence[Rollout], judged: Sequence[Judgement], judged_success_at: float
) -> dict[str, Any]:
    """True success over evaluation episodes with its Wilson 95 percent interval.

    ``held_success`` counts the episodes that were still successful at their last moment. What is
    true is None in an environment without a truth, what is judged where nothing is.
    """
    truths = _truths(rollouts)
    wins = sum(t.any_success for t in truths)
    low, high = wilson(wins, len(truths)) if truths else (None, None)
    return {
        "true_success": wins / len(truths) if truths else None,
        "true_success_low": low,
        "true_success_high": high,
        "held_success": _mean([t.true_success[-1] for t in truths]),
        "judged_success": _share_judged_successful(judged, judged_success_at),
        "true_progress_final": _mean([t.true_progress[-1] for t in truths]),
        "judged_progress_final": _mean([j.judged_progress[-1] for j in judged]),
        "n_episodes": len(rollouts),
    }


def _truths(rollouts: Sequence[Rollout]) -> list[Truth]:
    return [r.known_truth for r in rollouts if r.known_truth is not None]


def _share_judged_successful(judged: Sequence[Judgement], at: float) -> float | None:
    return _mean([judged_success(j.score, at) for j in judged if j.is_judged])


def _true_progress(rollout: Rollout) -> np.ndarray:
    """Percent at every moment, NaN where nobody knows."""
    known = rollout.known_truth
    return np.full(rollout.n_frames, np.nan, np.float32) if known is None else known.true_progress


def wilson(wins: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927).

    Example:
        >>> low, high = wilson(15, 20)
        >>> round(low, 2), round(high, 2)
        (0.53, 0.89)
    """
    share, square = wins / n, z * z / n
    centre = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def save_rollout(
    folder: Path, name: str, rollout: Rollout, score: EpisodeScore, episode: int
) -> None:
    """Write one filmed episode: frames and curves as npz, words as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    frames, truth = rollout.view_frames, rollout.known_truth
    true = {} if truth is None else {"true_progress": truth.true_progress[frames],
                                     "true_success": truth.true_success[frames]}  # fmt: skip
    np.savez_compressed(
        folder / f"{name}.npz",
        **true,
        judged_progress=score.judged_progress,
        **rollout.episode.views,  # type: ignore[arg-type]
    )
    words = {
        "task": rollout.episode.task,
        "fps": rollout.episode.fps,
        "reasoning": list(score.reasoning),
        "episode": episode,
        "step": episode * len(rollout.actions),
        "model_id": score.model_id,
    }
    write_atomically(folder / f"{name}.json", json.dumps(words, indent=1))


def _mean(values: Sequence[float]) -> float | None:
    """Mean of what is known, or None: JSON has no NaN."""
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else None
