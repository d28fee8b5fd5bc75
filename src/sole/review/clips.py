"""The worst cases as clips: the same episodes again, judged once more with the model's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from sole.data.episode import Episode, EpisodeScore
from sole.errors import DataError, SoleError
from sole.evals.collection import collect
from sole.evals.labelled import LabelledConfig, judge, labelled_judge
from sole.evals.quality import QualityConfig, measured_episodes
from sole.review.saved import Measured, SavedEpisode, SavedResult, same_truth
from sole.rewarders.base import RewardModel
from sole.rewarders.calibrated import Calibrated

One = TypeVar("One")
_Found = TypeVar("_Found", bound=Measured)


@dataclass(frozen=True)
class Clip(Generic[One]):
    """One worst case with its pictures, and what the model says when it thinks aloud."""

    saved: One
    episode: Episode
    score: EpisodeScore


@dataclass(frozen=True)
class Clips(Generic[One]):
    """Clips by kind of worst case, or why there are none.

    Attributes:
        by_kind: The worst first.
        model_id: Who judged them once more; empty when nobody did.
        missing: Why there is no clip; empty when there are some.
    """

    by_kind: Mapping[str, tuple[Clip[One], ...]]
    model_id: str = ""
    missing: str = ""


def make_clips(
    result: SavedResult, cases: Mapping[str, Sequence[SavedEpisode]],
    data: Path | None, cache: Path | None,
) -> Clips[SavedEpisode]:  # fmt: skip
    """Get the pictures of the cases and judge them with reasoning.

    What stands in the way (no model, no simulator, other pictures than those measured) is no error
    but a reason, since the rest of the page does not need it.

    Args:
        result: The first of its rows is the model.
        cases: By kind.
        data: The data set, where it now lies elsewhere than when it was measured.
        cache: The same of the simulated episodes.
    """
    if not any(cases.values()):
        return Clips({}, missing="no episode was judged wrong")
    try:
        config = settings(result, data, cache)
        model = thinking_aloud(config, config.calibration, result.rows[0].model_id)
        wanted = [episode for part in cases.values() for episode in part]
        return judged_again(cases, model, pictures_of(config, wanted), config.batch)
    except SoleError as error:
        return Clips({}, missing=str(error))


def judged_again(
    cases: Mapping[str, Sequence[One]], model: RewardModel, episodes: Sequence[Episode], batch: int
) -> Clips[One]:
    """The clips of the cases.

    Args:
        cases: By kind.
        model: Says aloud what it sees.
        episodes: Those of the cases, one kind after the other.
        batch: How many are judged together.
    """
    scores = judge(model, episodes, batch, "thinking aloud")
    pairs = iter(zip(episodes, scores, strict=True))
    by_kind = {kind: tuple(Clip(c, *next(pairs)) for c in part) for kind, part in cases.items()}
    return Clips(by_kind, model.model_id)


def settings(result: SavedResult, data: Path | None, cache: Path | None) -> QualityConfig:
    """What a result was measured with, and where its episodes lie now.

    Raises:
        DataError: If the settings are not those of this version.
    """
    recorded = result.config.get("recorded") is not None
    moved = {"recorded" if recorded else "data": data, "cache": cache}
    changes = {name: path for name, path in moved.items() if path is not None}
    try:
        return QualityConfig.model_validate({**result.config, **changes})
    except ValidationError as error:
        raise refused_settings(result.path, error) from error


def refused_settings(path: Path, error: ValidationError) -> DataError:
    """What is said of a file whose settings this version does not take."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return DataError(f"{path}: config.{where}: {first['msg']}; measure again")


def thinking_aloud(config: LabelledConfig, calibration: Path | None, measured: str) -> RewardModel:
    """The model that was measured, with its words.

    Args:
        config: Names the model.
        calibration: It was measured with.
        measured: Its id then.

    Raises:
        DataError: If it is another one by now.
    """
    model = labelled_judge(config, calibration)
    if model.model_id != measured:
        raise DataError(
            f"measured was {measured}, but {config.model} is now {model.model_id}; measure again"
        )
    # A calibration without words does not fit the same model with words.
    plain = model.model if isinstance(model, Calibrated) and not config.think else model
    thinking = getattr(plain, "thinking", None)  # the controls have nothing to say
    return thinking() if thinking else plain


def pictures_of(config: QualityConfig, wanted: Sequence[SavedEpisode]) -> list[Episode]:
    """The episodes of a result themselves; see :func:`pictures`."""
    recorded = config.data is not None or config.recorded is not None
    whole = measured_episodes(config) if recorded else None
    return pictures(config, wanted, lambda _: whole)


def pictures(
    config: LabelledConfig, wanted: Sequence[_Found],
    recorded: Callable[[_Found], Sequence[Episode] | None],
) -> list[Episode]:  # fmt: skip
    """The episodes themselves.

    Args:
        config: How they are simulated, and where they are kept.
        wanted: Which ones.
        recorded: The data set that one is of; None where it is simulated.

    Raises:
        DataError: If they are other ones than those that were measured.
    """
    episodes = []
    for saved in wanted:
        whole = recorded(saved)
        if whole is None:
            again = collect([saved.env_name], 1, saved.seed, config.cache, config.n_frames,
                            policies=(saved.policy,))  # fmt: skip
            episodes.append(again[0])
        elif saved.place < len(whole):
            episodes.append(whole[saved.place])
        else:
            raise DataError(
                f"{saved.name}: episode {saved.place} of a data set that now has {len(whole)}; is "
                "it another one?"
            )
        _check_same(saved, episodes[-1])
    return episodes


def _check_same(saved: Measured, episode: Episode) -> None:
    if episode.truth is None or not same_truth(episode.truth.true_progress, saved.true):
        raise DataError(
            f"{saved.name}: its true progress is no longer what was measured; the simulator, the "
            "cache or the data set has changed, measure again"
        )
