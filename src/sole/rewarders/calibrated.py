"""A reward model whose numbers mean what they say: :mod:`sole.progress.calibrate`, applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from sole.data.episode import Episode, EpisodeScore, StepScore
from sole.errors import ConfigError, DataError
from sole.progress.calibrate import Calibration
from sole.rewarders.base import RewardModel, Session, close_session

#: Success probability that counts where neither a setting nor a calibration says so.
DEFAULT_SUCCESS_AT = 0.5


class Calibrated:
    """Another reward model, its progress and success probability calibrated at every frame.

    Frame 0 stays as the model says, since it is 0 percent by definition. Failed reads stay failed.

    Args:
        model: The model.
        calibration: Made for this very model (``model.model_id``: weights, mode and protocol).

    Raises:
        ConfigError: If the calibration was made for another model.

    Attributes:
        success_threshold: An episode is judged successful when the success probability of any
            frame reaches it.
        decoding: The model's own, if it has any.
    """

    def __init__(self, model: RewardModel, calibration: Calibration):
        if calibration.model_id != model.model_id:
            raise ConfigError(
                f"calibration: made for {calibration.model_id}, but the model is {model.model_id}; "
                "run sole calibrate with this model and these settings"
            )
        self.model, self.calibration = model, calibration
        self.views, self.costs = model.views, model.costs
        self.needs_whole_episode = getattr(model, "needs_whole_episode", False)
        self.decoding = getattr(model, "decoding", None)  # None: it has no settings of that kind
        self.success_threshold = calibration.success_threshold
        self.model_id = f"{model.model_id}/calibrated"

    def score(self, episodes: Sequence[Episode]) -> list[EpisodeScore]:
        """Judge every frame of every episode."""
        return [self._calibrated(score) for score in self.model.score(episodes)]

    def start(self, task: str) -> Session:
        """Open a session that is fed one frame at a time."""
        return _CalibratedSession(self.model.start(task), self.calibration)

    def step_sessions(
        self, sessions: Sequence[_CalibratedSession], views: Sequence[Mapping[str, np.ndarray]]
    ) -> list[StepScore]:
        """Judge the next moment of several sessions, in one batch if the model can."""
        together = getattr(self.model, "step_sessions", None)
        if together is None:
            return [session.step(v) for session, v in zip(sessions, views, strict=True)]
        steps = together([session.inner for session in sessions], views)
        return [session.take(step) for session, step in zip(sessions, steps, strict=True)]

    def thinking(self) -> RewardModel:
        """The same model with reasoning; refused unless the calibration is for that."""
        return self._in_mode("thinking")

    def fast(self) -> RewardModel:
        """The same model without words; refused unless the calibration is for that."""
        return self._in_mode("fast")

    def _in_mode(self, mode: str) -> Calibrated:
        change = getattr(self.model, mode, None)  # the controls have no modes
        return Calibrated(change(), self.calibration) if change else self

    def _calibrated(self, score: EpisodeScore) -> EpisodeScore:
        first, *rest = score.steps
        steps = (first, *(self.calibration.apply(step) for step in rest))
        return replace(score, steps=steps, model_id=self.model_id)


class _CalibratedSession:
    def __init__(self, session: Session, calibration: Calibration):
        self.inner = session
        self._calibration = calibration
        self._begun = False

    def step(self, views: Mapping[str, np.ndarray]) -> StepScore:
        """Judge the next frame."""
        return self.take(self.inner.step(views))

    def take(self, step: StepScore) -> StepScore:
        """Calibrate what the model said of the next frame; the first one stays as it is."""
        begun, self._begun = self._begun, True
        return self._calibration.apply(step) if begun else step

    def close(self) -> None:
        """Let whoever keeps the model's session forget it."""
        close_session(self.inner)


def success_at(model: RewardModel, chosen: float | None) -> float:
    """The success probability that counts: the setting, else the calibration's, else 0.5.

    Example:
        >>> from sole.rewarders.controls import Ramp
        >>> success_at(Ramp(), 0.8), success_at(Ramp(), None)
        (0.8, 0.5)
    """
    if chosen is not None:
        return chosen
    own = own_threshold(model)
    return DEFAULT_SUCCESS_AT if own is None else own


def own_threshold(model: RewardModel) -> float | None:
    """The threshold of a calibrated model, in this process or served; None of any other.

    Example:
        >>> from sole.rewarders.controls import Ramp
        >>> own_threshold(Ramp()) is None
        True
    """
    own = getattr(model, "success_threshold", None)
    return None if own is None else float(own)


def load_calibration(path: Path) -> Calibration:
    """Read what ``sole calibrate`` saved.

    Raises:
        DataError: If the file is missing or is no calibration.
    """
    try:
        return Calibration.model_validate_json(path.read_text())
    except OSError as error:
        raise DataError(f"calibration {path}: cannot be read ({error.strerror})") from error
    except (ValidationError, UnicodeDecodeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise DataError(
            f"calibration {path}: not what sole calibrate writes ({first}); make it again"
        ) from error
