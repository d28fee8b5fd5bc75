"""Judged progress becomes the reward of an agent; a judgement that failed becomes a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sole.data.episode import EpisodeScore
from sole.errors import ConfigError, ModelError

FailurePolicy = Literal["hold", "drop_episode", "raise"]
RewardForm = Literal["level", "difference", "tri"]


def level_reward(progress: np.ndarray, psi: float = 1.0, clip: float = 100.0) -> np.ndarray:
    """The paper's reward: the progress itself, ``psi * clip(p, -c, c) / 100`` at each frame.

    A step from frame t to t+1 earns the entry t+1. The agent is paid for being far, so it gains by
    staying there; :func:`difference_reward` pays for getting there.

    Args:
        progress: ``(T,)`` percent, without NaN.
        psi: Scale of the reward.
        clip: Largest magnitude of the progress that counts, in percent, positive.

    Returns:
        float64 ``(T,)`` in [-psi c / 100, psi c / 100] for a psi >= 0.

    Raises:
        ValueError: If ``progress`` is not one-dimensional and finite, or ``clip`` not positive.

    Example:
        >>> level_reward(np.array([0.0, 50.0, -80.0]), psi=2.0, clip=60.0).tolist()
        [0.0, 1.0, -1.2]
    """
    if not clip > 0:
        raise ValueError(f"level reward: expected clip > 0, got {clip}")
    return psi * np.clip(_check_progress(progress), -clip, clip) / 100.0


def difference_reward(progress: np.ndarray, discount: float = 1.0) -> np.ndarray:
    """The gain in progress of each step: ``g p[t+1] - p[t]``, over 100.

    Added up with the same discount it telescopes to ``g**(T-1) p[-1] - p[0]``, so no detour and no
    waiting pays. With the agent's own discount this is potential-based shaping (Ng, Harada and
    Russell 1999), which changes no policy's rank. It is for beside another reward: where it is the
    only one and values go on beyond a time limit, every policy is worth ``-p[0]`` and nothing is
    learned. The plain gain (``g = 1``) is that shaping and ``1 - g`` of the level reward, so it has
    the level reward's best policies.

    Args:
        progress: ``(T,)`` percent, without NaN, T >= 1.
        discount: ``g``, in (0, 1]; 1 where nothing else is paid.

    Returns:
        float64 ``(T - 1,)``, one per step.

    Raises:
        ValueError: If ``progress`` is not one-dimensional and finite, or ``discount`` not in
            (0, 1].

    Example:
        >>> difference_reward(np.array([0.0, 50.0, 25.0])).tolist()
        [0.5, -0.25]
    """
    if not 0.0 < discount <= 1.0:
        raise ValueError(f"difference reward: expected a discount in (0, 1], got {discount}")
    potential = _check_progress(progress) / 100.0
    return discount * potential[1:] - potential[:-1]


def directions(progress: np.ndarray, dead_zone_points: float = 1.0) -> np.ndarray:
    """Whether each judged moment is nearer to the goal than the one before: +1, -1, or 0.

    Args:
        progress: ``(T,)`` percent at the judged moments, without NaN.
        dead_zone_points: Changes up to this many points count as none.

    Returns:
        float64 ``(T - 1,)``.

    Raises:
        ValueError: If ``progress`` is not one-dimensional and finite, or the zone negative.

    Example:
        >>> directions(np.array([0.0, 20.0, 19.5, 5.0])).tolist()
        [1.0, 0.0, -1.0]
    """
    if not dead_zone_points >= 0:
        raise ValueError(f"directions: expected a dead zone >= 0 points, got {dead_zone_points}")
    change = np.diff(_check_progress(progress))
    return np.where(np.abs(change) <= dead_zone_points, 0.0, np.sign(change))


def tri_reward(
    progress: np.ndarray,
    completion: np.ndarray,
    direction: np.ndarray,
    weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3),
) -> np.ndarray:
    """Progress, completion and direction mixed, as in Large Reward Models (arXiv 2603.16065).

    A step earns ``w_p p / 100 + w_k k + w_c (c + 1) / 2``, with the progress p and the probability
    of completion k at its end, and the direction c of the judged stretch it lies in. The original
    asks its model three questions; here all three follow from one judgement.

    Args:
        progress: ``(T,)`` percent, without NaN, T >= 1.
        completion: ``(T,)`` in [0, 1].
        direction: ``(T - 1,)`` in [-1, 1], as of :func:`directions`.
        weights: Of progress, completion and direction.

    Returns:
        float64 ``(T - 1,)``, one per step.

    Raises:
        ValueError: If shapes do not fit, or a value is outside its range.

    Example:
        >>> p, k = np.array([0.0, 50.0, 20.0]), np.array([0.0, 0.5, 0.5])
        >>> np.round(3 * tri_reward(p, k, np.array([1.0, -1.0])), 6).tolist()
        [2.0, 0.7]
    """
    percent = _check_progress(progress)
    done, way = np.asarray(completion, np.float64), np.asarray(direction, np.float64)
    if done.shape != percent.shape or not np.all((done >= 0) & (done <= 1)):
        raise ValueError(
            f"completion: expected {percent.shape} probabilities in [0, 1], got {done.tolist()}"
        )
    if way.shape != (len(percent) - 1,) or not np.all(np.abs(way) <= 1):
        raise ValueError(
            f"direction: expected {len(percent) - 1} values in [-1, 1], got {way.tolist()}"
        )
    of_progress, of_completion, of_direction = weights
    return (
        of_progress * percent[1:] / 100.0 + of_completion * done[1:] + of_direction * (way + 1) / 2
    )


@dataclass(frozen=True)
class JudgedProgress:
    """What is left of an episode's scores once failures were dealt with.

    Attributes:
        progress: ``(T,)`` float64 percent without NaN, or None when the episode is not to be used.
        n_failures: Frames the model failed on.
        n_frames: Frames in all.
    """

    progress: np.ndarray | None
    n_failures: int
    n_frames: int


def apply_failure_policy(scores: EpisodeScore, policy: FailurePolicy) -> JudgedProgress:
    """Decide what an episode with failed frames is worth to an agent.

    ``hold`` lets a failed frame keep the last valid progress (0 before the first one: progress is
    0 at the first frame by definition), but gives up the episode when no frame beyond the first was
    judged, since its reward would be made up. ``drop_episode`` gives it up at the first failure.
    ``raise`` stops the run.

    Args:
        scores: At least one frame.
        policy: One of the three.

    Returns:
        The progress, or None, with the counts that a run reports either way.

    Raises:
        ModelError: If the policy is ``raise`` and a frame failed.
        ConfigError: If there is no such policy.

    Example:
        >>> from sole.data.episode import StepScore
        >>> steps = (StepScore(0.0), StepScore(30.0), StepScore(None, error="no tag"))
        >>> apply_failure_policy(EpisodeScore(steps, "m"), "hold").progress.tolist()
        [0.0, 30.0, 30.0]
    """
    if policy not in get_args(FailurePolicy):
        raise ConfigError(
            f"failure policy: expected one of {get_args(FailurePolicy)}, got {policy}"
        )
    progress = scores.judged_progress.astype(np.float64)
    failed = np.isnan(progress)
    n_failures = int(failed.sum())
    if n_failures and policy == "raise":
        raise ModelError(_first_failure(scores, n_failures))
    unjudged = bool(failed[1:].all()) and n_failures > 0
    if unjudged or (n_failures and policy == "drop_episode"):
        return JudgedProgress(None, n_failures, len(failed))
    return JudgedProgress(hold_last_valid(progress), n_failures, len(failed))


def hold_last_valid(values: np.ndarray) -> np.ndarray:
    """Let every NaN take the last number before it, or 0 where there is none.

    Example:
        >>> hold_last_valid(np.array([np.nan, 0.5, np.nan])).tolist()
        [0.0, 0.5, 0.5]
    """
    with_start = np.concatenate([[0.0], values])
    valid = np.where(np.isnan(with_start), 0, np.arange(len(with_start)))
    return with_start[np.maximum.accumulate(valid)][1:]


def _first_failure(scores: EpisodeScore, n_failures: int) -> str:
    frame, step = next((i, s) for i, s in enumerate(scores.steps) if s.error is not None)
    return (
        f"{scores.model_id} failed on {n_failures} of {len(scores.steps)} frames, first on frame "
        f"{frame}: {step.error}; the failure policy hold or drop_episode would go on"
    )


def _check_progress(progress: np.ndarray) -> np.ndarray:
    values = np.asarray(progress, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"progress: expected (T,) finite percent, got shape {values.shape} with "
            f"{int(np.sum(~np.isfinite(values)))} that are not finite; apply a failure policy first"
        )
    return values
