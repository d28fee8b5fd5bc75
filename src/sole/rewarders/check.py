"""One check that every reward model passes, ours or yours, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from sole.data.episode import VIEW_NAMES, Episode, EpisodeScore
from sole.rewarders.base import RewardModel

SessionKind = Literal["equals_score", "runs", "refused"]


def check_reward_model(
    model: RewardModel,
    episodes: Sequence[Episode],
    *,
    session: SessionKind = "equals_score",
    tolerance_percent: float = 0.01,
) -> None:
    """Raise AssertionError with a sentence if ``model`` breaks the contract of a reward model.

    Checked: one score per episode and one step per frame, frame 0 at 0 percent, the same answer
    twice, in any order and alone, costs counted, a missing view and wrong frames refused with
    ValueError, and sessions.

    Args:
        model: The model.
        episodes: At least two; different lengths find more. Those of an oracle need truth.
        session: ``equals_score``: stepping gives what scoring gives; ``runs``: it may differ (the
            model looks ahead or skips frames); ``refused``: ``start`` raises ValueError.
        tolerance_percent: By how much two answers to the same question may differ.

    Raises:
        AssertionError: If the model breaks the contract.
        ValueError: If fewer than two episodes are given.
    """
    if len(episodes) < 2:
        raise ValueError(f"check: expected at least 2 episodes, got {len(episodes)}")
    assert model.model_id, "model_id: expected a name, got nothing"
    assert set(model.views) <= set(VIEW_NAMES), f"views: expected {VIEW_NAMES}, got {model.views}"
    assert model.score([]) == [], "score: no episodes must give no scores"
    scores = _check_lengths(model, episodes)
    _check_repeatable(model, episodes, scores, tolerance_percent)
    _check_missing_views(model, episodes[0])
    if session == "refused":
        _refuses(lambda: model.start(episodes[0].task), "start: a model without sessions")
        return
    _check_wrong_frames(model, episodes[0])
    _check_session(model, episodes[0], scores[0], session, tolerance_percent)


def _check_lengths(model: RewardModel, episodes: Sequence[Episode]) -> list[EpisodeScore]:
    before = model.costs.episodes
    scores = model.score(episodes)
    spent = model.costs.episodes - before
    assert spent == len(episodes), f"costs: {len(episodes)} episodes scored, {spent} counted"
    assert len(scores) == len(episodes), f"score: {len(episodes)} episodes, {len(scores)} scores"
    for episode, score in zip(episodes, scores, strict=True):
        steps = len(score.steps)
        assert steps == episode.n_frames, f"score: {episode.n_frames} frames, {steps} steps"
        assert score.model_id == model.model_id, f"score: signed {score.model_id!r}"
        first = score.steps[0].progress
        at_start = first is not None and abs(first) < 1.0
        assert at_start, f"frame 0 must be 0 percent, got {first}"
    return scores


def _check_repeatable(
    model: RewardModel, episodes: Sequence[Episode], scores: list[EpisodeScore], tolerance: float
) -> None:
    again = model.score(episodes)
    turned = model.score(episodes[::-1])[::-1]
    alone = [model.score([episode])[0] for episode in episodes]
    ways = {"again": again, "in another order": turned, "one at a time": alone}
    for how, others in ways.items():
        for index, (one, other) in enumerate(zip(scores, others, strict=True)):
            apart = _apart(one, other)
            assert apart <= tolerance, f"episode {index} scored {how}: {apart:.3g} percent apart"


def _apart(one: EpisodeScore, other: EpisodeScore) -> float:
    """Largest difference in percent; infinite where only one of the two failed."""
    first, second = one.judged_progress, other.judged_progress
    if first.shape != second.shape or np.any(np.isnan(first) != np.isnan(second)):
        return float("inf")
    return float(np.nanmax(np.abs(first - second), initial=0.0))


def _check_missing_views(model: RewardModel, episode: Episode) -> None:
    for name in model.views:
        others = {n: frames for n, frames in episode.views.items() if n != name}
        if not others:  # a record needs one view; it stands in under the name that is not needed
            spare = next(n for n in VIEW_NAMES if n != name)
            others = {spare: episode.views[name]}
        lacking = replace(episode, views=others)
        _refuses(lambda lacking=lacking: model.score([lacking]), f"score: a missing view {name}")


def _check_wrong_frames(model: RewardModel, episode: Episode) -> None:
    good = {name: frames[0] for name, frames in episode.views.items()}
    wrong = {
        "frames as floats": {n: p.astype(np.float32) / 255 for n, p in good.items()},
        "grey frames": {n: p[..., 0] for n, p in good.items()},
        "frames as (3, H, W)": {n: np.zeros((3, 64, 65), np.uint8) for n in good},
    }
    for what, views in wrong.items():
        _refuses(lambda v=views: model.start(episode.task).step(v), f"step: {what}")


def _check_session(
    model: RewardModel, episode: Episode, score: EpisodeScore, kind: str, tolerance: float
) -> None:
    running = model.start(episode.task)
    steps = tuple(
        running.step({name: frames[t] for name, frames in episode.views.items()})
        for t in range(episode.n_frames)
    )
    assert steps[0].progress == 0.0, f"session: the first frame is 0, got {steps[0].progress}"
    if kind == "equals_score":
        apart = _apart(score, EpisodeScore(steps, model.model_id, episode.task))
        assert apart <= tolerance, f"session and score are {apart:.3g} percent apart"


def _refuses(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"{what} must be refused with ValueError, but nothing was raised")
