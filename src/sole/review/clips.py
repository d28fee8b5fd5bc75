"""The worst cases as clips: the same episodes again, judged once more with the model's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sole.data.episode import Episode, EpisodeScore
from sole.errors import DataError, SoleError
from sole.evals.collection import collect
from sole.evals.labelled import judge, labelled_judge
from sole.evals.quality import QualityConfig, measured_episodes
from sole.review.saved import SavedEpisode, SavedResult, same_truth
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import Calibrated


@dataclass(frozen=True)
class Clip:
    """One worst case with its pictures, and what the model says when it thinks aloud."""

    saved: SavedEpisode
    episode: Episode
    score: EpisodeScore


@dataclass(frozen=True)
class Clips:
    """Clips by kind of worst case, or why there are none.

    Attributes:
        by_kind: The worst first.
        model_id: Who judged them once more; empty when nobody did.
        missing: Why there is no clip; empty when there are some.
    """

    by_kind: Mapping[str, tuple[Clip, ...]]
    model_id: str = ""
    missing: str = ""


def make_clips(
    result: SavedResult, cases: Mapping[str, Sequence[SavedEpisode]],
    data: Path | None, cache: Path | None,
) -> Clips:  # fmt: skip
    """Get the pictures of the cases and judge them with reasoning.

    What stands in the way (no model, no simulator, other pictures than those measured) is no error
    but a reason, since the rest of the page does not need it.

    Args:
        result: The first of its rows is the model.
        cases: By kind.
        data: The data set, where it now lies elsewhere than when it was measured.
        cache: The same of the simulated episodes.
    """
    wanted = [episode for part in cases.values() for episode in part]
    if not wanted:
        return Clips({}, missing="no episode was judged wrong")
    try:
        config = _settings(result, data, cache)
        model = _thinking_aloud(config, result.rows[0].model_id)
        episodes = _pictures(config, wanted)
        scores = judge(model, episodes, config.batch, "thinking aloud")
    except SoleError as error:
        return Clips({}, missing=str(error))
    made = iter([Clip(*row) for row in zip(wanted, episodes, scores, strict=True)])
    by_kind = {kind: tuple(next(made) for _ in part) for kind, part in cases.items()}
    return Clips(by_kind, model.model_id)


def _settings(result: SavedResult, data: Path | None, cache: Path | None) -> QualityConfig:
    recorded = result.config.get("recorded") is not None
    moved = {"recorded" if recorded else "data": data, "cache": cache}
    changes = {name: path for name, path in moved.items() if path is not None}
    try:
        return QualityConfig.model_validate({**result.config, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{result.path}: config.{where}: {first['msg']}; measure again") from error


def _thinking_aloud(config: QualityConfig, measured: str) -> RewardModel:
    """The model that was measured, with its words; refused when it is another one by now."""
    model = labelled_judge(config, config.calibration)
    if model.model_id != measured:
        raise DataError(
            f"measured was {measured}, but {config.model} is now {model.model_id}; measure again"
        )
    # A calibration without words does not fit the same model with words.
    plain = model.model if isinstance(model, Calibrated) and not config.think else model
    thinking = getattr(plain, "thinking", None)  # the controls have nothing to say
    return thinking() if thinking else plain


def _pictures(config: QualityConfig, wanted: Sequence[SavedEpisode]) -> list[Episode]:
    """The episodes themselves.

    Raises:
        DataError: If they are other ones than those that were measured.
    """
    recorded = config.data is not None or config.recorded is not None
    whole = measured_episodes(config) if recorded else None
    episodes = []
    for saved in wanted:
        if whole is None:
            again = collect([saved.env_name], 1, saved.seed, config.cache, config.n_frames,
                            policies=(saved.policy,))  # fmt: skip
            episodes.append(again[0])
        elif saved.place < len(whole):
            episodes.append(whole[saved.place])
        else:
            source = config.data or config.recorded
            raise DataError(f"{source}: has no episode {saved.place}; is it another data set?")
        _check_same(saved, episodes[-1])
    return episodes


def _check_same(saved: SavedEpisode, episode: Episode) -> None:
    if episode.truth is None or not same_truth(episode.truth.true_progress, saved.true):
        raise DataError(
            f"{saved.name}: its true progress is no longer what was measured; the simulator, the "
            "cache or the data set has changed, measure again"
        )
