"""From judged and labelled episodes to a calibration, and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sole.data.episode import Episode, EpisodeScore
from sole.errors import ConfigError, DataError
from sole.evals.labelled import task_labels
from sole.evals.metrics import bootstrap_interval
from sole.evals.output import Share, finite
from sole.evals.per_episode import succeeds
from sole.evals.reliability import PROBABILITY_BINS, PROGRESS_BINS, calibration_error
from sole.progress.calibrate import (
    Calibration,
    MonotoneMap,
    Signal,
    allowed_mistakes,
    fit_isotonic,
    fit_temperature,
    raw_signal,
    threshold_above,
    upper_bound,
)

#: False-positive rates that users choose among.
OPERATING_FPRS = (0.05, 0.1, 0.2, 0.3, 0.5)
_FOLDS_OF_ONE_TASK = 5


@dataclass(frozen=True)
class Wanted:
    """What a calibration has to be.

    Attributes:
        method: Form of the success map.
        fpr: Share of failed episodes that may be judged successful.
        confidence: Of the bound on that share.
        min_successful: Truly successful episodes that are needed.
    """

    method: Literal["isotonic", "temperature"] = "isotonic"
    fpr: float = 0.1
    confidence: float = 0.95
    min_successful: int = 10


@dataclass(frozen=True)
class Labelled:
    """Judged frames with their truth, without every episode's first (0 by definition).

    Attributes:
        signal: ``(F,)`` raw sign of success in [0, 1].
        success: ``(F,)`` 1 where the task is truly done at that frame, else 0.
        judged: ``(F,)`` judged progress, percent.
        true: ``(F,)`` true progress, percent.
        episode: ``(F,)`` number of the episode.
        highest: ``(N,)`` highest signal of each episode.
        succeeded: ``(N,)`` whether it ever truly succeeded.
        tasks: ``(N,)`` its task.
    """

    signal: np.ndarray
    success: np.ndarray
    judged: np.ndarray
    true: np.ndarray
    episode: np.ndarray
    highest: np.ndarray
    succeeded: np.ndarray
    tasks: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """``(F,)`` what is drawn together: the task, or the episode when there is one task only."""
        return self._groups_of_episodes()[self.episode]

    def _groups_of_episodes(self) -> np.ndarray:
        return self.tasks if len(set(self.tasks)) > 1 else np.arange(len(self.tasks))

    @property
    def folds(self) -> np.ndarray:
        """``(F,)`` what is left out together: as the groups, but five at most of one task."""
        groups = self._groups_of_episodes()
        if len(set(self.tasks)) == 1:
            # Shuffled, because policies come in turn: every fifth episode may be of one kind.
            drawn = np.random.default_rng(0).permutation(len(groups))
            groups = drawn % _FOLDS_OF_ONE_TASK
        return groups[self.episode]


def choose_signal(scores: Sequence[EpisodeScore], wanted: str) -> Signal:
    """What success is read from; ``auto`` takes the success probability if one is ever given.

    Raises:
        ConfigError: If the success probability is wanted and there is none.
    """
    says = any(s.success_probability is not None for score in scores for s in score.steps[1:])
    if wanted == "success_probability" and not says:
        raise ConfigError("--signal: the model gives no success probability; use progress")
    return "progress" if wanted == "progress" or not says else "success_probability"


def gather(episodes: Sequence[Episode], scores: Sequence[EpisodeScore], signal: Signal) -> Labelled:
    """Put judged frames and their truth side by side; frames that could not be read are left out.

    Raises:
        DataError: If no frame could be read.
    """
    frames, highest = [], np.zeros(len(episodes))
    for i, (episode, score) in enumerate(zip(episodes, scores, strict=True)):
        truth = episode.truth
        assert truth is not None
        for t, step in enumerate(score.steps[1:], start=1):
            said = raw_signal(step, signal)
            if said is not None and step.progress is not None:
                done, true = truth.true_success[t], truth.true_progress[t]
                frames.append((said, done, step.progress, true, i))
                highest[i] = max(highest[i], said)
    if not frames:
        raise DataError("no frame has a readable judgement; there is nothing to calibrate on")
    table = np.array(frames, float)
    return Labelled(
        *table.T[:4],
        episode=table[:, 4].astype(int),
        highest=highest,
        succeeded=np.array([succeeds(e) for e in episodes]),
        tasks=np.array(task_labels(episodes)),
    )


def fit(
    data: Labelled, wanted: Wanted, *, model_id: str, signal: Signal, made_from: str,
    fitted_on: Sequence[str] = (),
) -> Calibration:  # fmt: skip
    """Fit both maps and choose the threshold.

    Args:
        data: The labelled frames.
        wanted: What it has to be.
        model_id: Of the model that judged them.
        signal: What success is read from.
        made_from: Where they came from.
        fitted_on: Fingerprints of their episodes (:mod:`sole.evals.overlap`).

    Raises:
        ConfigError: If there are too few failed or successful episodes, or the failed ones that
            must not pass already have the highest signal there is.
    """
    n_failed, n_successful = int((~data.succeeded).sum()), int(data.succeeded.sum())
    mistakes = allowed_mistakes(n_failed, wanted.fpr, wanted.confidence)
    if mistakes is None or n_successful < wanted.min_successful:
        raise ConfigError(_too_few(n_failed, n_successful, wanted))
    success = _success_fit(wanted)(data.signal, data.success)
    calibrated = success(data.highest)
    threshold = threshold_above(calibrated[~data.succeeded], mistakes)
    if threshold > success(1.0):
        raise ConfigError(
            f"more than {mistakes} of {n_failed} failed episodes have the highest signal there is: "
            f"no threshold keeps false positives under {wanted.fpr:g}; try --signal "
            "progress, or another model"
        )
    return Calibration(
        model_id=model_id,
        made_from=made_from,
        fitted_on=tuple(fitted_on),
        signal=signal,
        success=success,
        progress=fit_isotonic(data.judged, data.true),
        success_threshold=threshold,
        wanted_fpr=wanted.fpr,
        fpr_bound=upper_bound(mistakes, n_failed, wanted.confidence),
        confidence=wanted.confidence,
        n_failed=n_failed,
        n_successful=n_successful,
    )


@dataclass(frozen=True)
class Said:
    """Calibrated numbers of frames: ``(F,)`` success probabilities and ``(F,)`` percent."""

    success: np.ndarray
    progress: np.ndarray


def applied(data: Labelled, calibration: Calibration) -> Said:
    """What the calibration says about these frames; of those it was fitted on it knows too much."""
    return Said(calibration.success(data.signal), calibration.progress(data.judged))


def cross_fitted(data: Labelled, wanted: Wanted) -> Said:
    """What maps say that never saw the frame's own task.

    Of one task a fifth of the episodes is left out at a time.
    """
    folds = data.folds
    said = Said(np.empty_like(data.signal), np.empty_like(data.judged))
    for fold in np.unique(folds):
        mine = folds == fold
        success = _success_fit(wanted)(data.signal[~mine], data.success[~mine])
        said.success[mine] = success(data.signal[mine])
        progress = fit_isotonic(data.judged[~mine], data.true[~mine])
        said.progress[mine] = progress(data.judged[mine])
    return said


def report(data: Labelled, calibration: Calibration, said: Said) -> dict[str, Any]:
    """What the calibration is worth on these episodes.

    Args:
        data: The episodes.
        calibration: Gives the threshold.
        said: The calibrated numbers to measure.
    """
    fpr, recall = shares_at(data, calibration, calibration.success_threshold)
    bound = upper_bound(fpr.k, fpr.n, calibration.confidence) if fpr.n else math.nan
    return {
        "n_episodes": len(data.succeeded),
        "n_tasks": len(set(data.tasks)),
        "ece_before": _error(data, data.signal, data.success, PROBABILITY_BINS),
        "ece_after": _error(data, said.success, data.success, PROBABILITY_BINS),
        "progress_error_before": _error(data, data.judged, data.true, PROGRESS_BINS),
        "progress_error_after": _error(data, said.progress, data.true, PROGRESS_BINS),
        "fpr": finite({**fpr.as_dict(), "upper_bound": bound}),
        "recall": recall.as_dict(),
    }


def shares_at(data: Labelled, calibration: Calibration, threshold: float) -> tuple[Share, Share]:
    """False-positive rate and recall of "calibrated success from the threshold on"."""
    passes, tasks = calibration.success(data.highest) >= threshold, data.tasks
    return (
        Share.among(passes, ~data.succeeded, tasks), Share.among(passes, data.succeeded, tasks)
    )  # fmt: skip


def operating_points(
    fitted: Labelled, checked: Labelled, calibration: Calibration, confidence: float
) -> list[dict[str, Any]]:
    """What other wanted false-positive rates would give: fewer refused, more let through.

    Each threshold is chosen on the fitted episodes like the calibration's own, and measured on the
    checked ones. Rates that the fitted failures are too few to promise are left out.

    Returns:
        ``wanted_fpr``, ``threshold``, and the shares ``fpr`` and ``recall``, by rising rate.
    """
    failed = calibration.success(fitted.highest)[~fitted.succeeded]
    points = []
    for wanted in OPERATING_FPRS:
        mistakes = allowed_mistakes(len(failed), wanted, confidence)
        if mistakes is not None:
            threshold = threshold_above(failed, mistakes)
            fpr, recall = shares_at(checked, calibration, threshold)
            shares = {"fpr": fpr.as_dict(), "recall": recall.as_dict()}
            points.append({"wanted_fpr": wanted, "threshold": threshold, **shares})
    return points


def _error(
    data: Labelled, said: np.ndarray, true: np.ndarray, edges: np.ndarray
) -> dict[str, float]:
    """Calibration error over all frames; its interval draws whole tasks."""

    def of_drawn(drawn: np.ndarray) -> float:
        i = drawn.astype(int)
        return calibration_error(said[i], true[i], edges)

    everything = np.arange(len(said))
    low, high = bootstrap_interval(everything, statistic=of_drawn, clusters=data.groups)
    return {"value": of_drawn(everything), "low": low, "high": high}


def _success_fit(wanted: Wanted) -> Callable[[np.ndarray, np.ndarray], MonotoneMap]:
    return fit_isotonic if wanted.method == "isotonic" else fit_temperature


def _too_few(n_failed: int, n_successful: int, wanted: Wanted) -> str:
    share = math.log1p(-wanted.fpr)
    needed = math.ceil(math.log(1 - wanted.confidence) / share - 1e-9)
    return (
        f"too few labels: {n_failed} failed and {n_successful} successful episodes; to promise at "
        f"most {wanted.fpr:g} false positives with confidence {wanted.confidence:g} takes "
        f"{needed} failed ones, and {wanted.min_successful} successful ones are wanted; add "
        "episodes, or raise --wanted-fpr"
    )
