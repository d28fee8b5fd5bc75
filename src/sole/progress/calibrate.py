"""From what a model says to what is true: monotone maps, and a threshold with a bound.

A calibration is fitted on labelled episodes and saved as JSON. It keeps the model's own order of
frames (every map rises strictly), so it changes what a number means, never which frame is better.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sole.data.episode import EpisodeScore, StepScore

Signal = Literal["success_probability", "progress"]

#: Judged progress, in percent, that counts as done when a model gives no success probability.
DONE_PERCENT = 95.0
#: Share of the raw value in every calibrated one, so that pooled values keep their order.
_RAW_SHARE = 1e-3
_LEAST_PROBABILITY = 1e-4
#: Above the value that must not pass: more than a batch or a float32 can change.
_MARGIN = 1e-7


class MonotoneMap(BaseModel):
    """A piecewise linear map that never falls; outside its knots it stays at the last value.

    Attributes:
        x: What the model says at each knot, strictly rising.
        y: What is true there on average, never falling, in the unit of x.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    x: tuple[float, ...] = Field(min_length=1)
    y: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> MonotoneMap:
        if (
            len(self.x) != len(self.y)
            or np.any(np.diff(self.x) <= 0)
            or np.any(np.diff(self.y) < 0)
        ):
            raise ValueError("expected as many y as x, x rising strictly and y never falling")
        return self

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """Map values; a thousandth of the raw one is mixed in. NaN stays NaN."""
        raw = np.asarray(values, float)
        return (1 - _RAW_SHARE) * np.interp(raw, self.x, self.y) + _RAW_SHARE * raw


class Calibration(BaseModel):
    """What ``sole calibrate`` found for one model; saved as JSON.

    Attributes:
        version: Of this record.
        model_id: The model, with its protocol, that it holds for; no other one may use it.
        made_from: Where the labelled episodes came from.
        fitted_on: Fingerprints of those episodes (:mod:`sole.evals.overlap`); empty in records from
            before they were noted.
        signal: What the success map reads: the model's success probability, or its progress / 100.
        success: Signal in [0, 1] to the probability that the task is done at that frame.
        progress: Judged to true progress, percent.
        success_threshold: An episode is judged successful when the calibrated success probability
            of any frame reaches it.
        wanted_fpr: Share of failed episodes that may be judged successful.
        fpr_bound: What that share stays under with ``confidence``, for episodes like those of
            ``made_from``; at most ``wanted_fpr``.
        confidence: Of the bound.
        n_failed: Truly failed episodes that the threshold was chosen on.
        n_successful: Truly successful episodes among the labelled ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: Literal[1] = 1
    model_id: str
    made_from: str
    fitted_on: tuple[str, ...] = ()
    signal: Signal
    success: MonotoneMap
    progress: MonotoneMap
    success_threshold: float
    wanted_fpr: float = Field(gt=0, lt=1)
    fpr_bound: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    n_failed: int = Field(ge=0)
    n_successful: int = Field(ge=0)

    def apply(self, step: StepScore) -> StepScore:
        """Return the step with calibrated numbers; a failed read stays failed.

        The spread (``uncertainty``) stays that of the number the model had in mind.
        """
        if step.progress is None:
            return step
        said = raw_signal(step, self.signal)
        progress = float(np.clip(self.progress(step.progress), -100, 100))
        success = None if said is None else float(np.clip(self.success(said), 0, 1))
        return StepScore(
            progress, success, step.reasoning, step.uncertainty, step.error, step.scored
        )


def raw_signal(step: StepScore, signal: Signal) -> float | None:
    """The step's sign of success in [0, 1]; None where the model says nothing.

    Example:
        >>> raw_signal(StepScore(40.0, success_probability=0.1), "progress")
        0.4
    """
    if signal == "success_probability" or step.progress is None:
        return None if step.progress is None else step.success_probability
    return max(step.progress, 0.0) / 100.0


def judged_success(score: EpisodeScore, at: float = 0.5) -> bool:
    """Whether a model calls an episode successful: its success probability ever reaches ``at``.

    Of a model that gives none, the progress has to reach 95 percent.

    Example:
        >>> judged_success(EpisodeScore((StepScore(0.0), StepScore(96.0)), "m"))
        True
    """
    said = [s.success_probability for s in score.steps if s.success_probability is not None]
    if said and score.says_success:  # not in float32, which moves a threshold
        return max(said) >= at
    return any(s.progress is not None and s.progress >= DONE_PERCENT for s in score.steps)


def pool_adjacent_violators(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The never-falling sequence nearest to ``values`` in weighted squares (Ayer et al. 1955).

    Args:
        values: ``(N,)``, in the order in which they should rise.
        weights: ``(N,)`` positive; all 1 when None.

    Returns:
        ``(N,)`` float64; runs of equal numbers are the pooled blocks.

    Raises:
        ValueError: If the shapes differ or a weight is not positive.

    Example:
        >>> pool_adjacent_violators(np.array([0.0, 3.0, 1.0, 5.0])).tolist()
        [0.0, 2.0, 2.0, 5.0]
    """
    y = np.asarray(values, float)
    w = np.ones_like(y) if weights is None else np.asarray(weights, float)
    if y.ndim != 1 or w.shape != y.shape or np.any(w <= 0):
        raise ValueError(f"isotonic: expected equal (N,) and weights > 0, got {y.shape}, {w.shape}")
    means, masses, counts = [], [], []
    for value, mass in zip(y.tolist(), w.tolist(), strict=True):
        count = 1
        while means and means[-1] >= value:
            whole = masses[-1] + mass
            value = (means.pop() * masses[-1] + value * mass) / whole  # noqa: PLW2901
            mass, count = whole, count + counts.pop()  # noqa: PLW2901
            masses.pop()
        means.append(value)
        masses.append(mass)
        counts.append(count)
    return np.repeat(means, counts)


def fit_isotonic(said: np.ndarray, true: np.ndarray) -> MonotoneMap:
    """Map that never falls and has the least squared error (isotonic regression).

    Equal values of ``said`` are pooled first; between blocks the map is linear, as in scikit-learn.

    Args:
        said: ``(N,)`` finite, what the model says.
        true: ``(N,)`` finite, what was true, in the same unit.

    Raises:
        ValueError: If there is nothing, or something is not finite.
    """
    x, y = _finite_pair(said, true)
    levels, where, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(where.reshape(-1), weights=y) / counts
    fitted = pool_adjacent_violators(means, counts.astype(float))
    edge = np.diff(fitted) > 0
    kept = np.r_[True, edge] | np.r_[edge, True]  # both ends of every block say all
    return MonotoneMap(x=tuple(levels[kept].tolist()), y=tuple(fitted[kept].tolist()))


def fit_temperature(said: np.ndarray, true: np.ndarray) -> MonotoneMap:
    """Map ``p -> sigmoid(logit(p) / T)`` of the most likely T (Guo et al. 2017), as a map of knots.

    One number is fitted, so a few labels do; the form may be wrong where isotonic is not.

    Args:
        said: ``(N,)`` probabilities in [0, 1].
        true: ``(N,)`` 0 or 1.

    Raises:
        ValueError: If there is nothing, or something is not finite.
    """
    p, y = _finite_pair(said, true)
    scores = _logit(p)

    def loss(slope: float) -> float:
        return float(np.mean(np.logaddexp(0.0, slope * scores) - y * slope * scores))

    low, high = 1e-3, 30.0  # slope = 1 / T; the loss is convex in it
    for _ in range(100):
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    widest = _logit(np.array([1.0]))[0]
    steps = np.linspace(-widest, widest, 201)
    sigmoid = 1 / (1 + np.exp(-np.stack([steps, (low + high) / 2 * steps])))
    return MonotoneMap(x=tuple(sigmoid[0].tolist()), y=tuple(sigmoid[1].tolist()))


def upper_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided upper bound of a share, ``k`` of ``n`` seen (Clopper and Pearson 1934).

    Exact: the share at which ``k`` or fewer of ``n`` would have probability ``1 - confidence``.

    Raises:
        ValueError: Unless 0 <= k <= n and n > 0.

    Example:
        >>> round(upper_bound(0, 59), 3)
        0.05
    """
    if not 0 <= k <= n or n <= 0:
        raise ValueError(f"bound: expected 0 <= k <= n and n > 0, got {k} of {n}")
    if k == n:
        return 1.0
    low, high = k / n, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if _at_most(k, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def allowed_mistakes(n_failed: int, wanted_fpr: float, confidence: float = 0.95) -> int | None:
    """How many of ``n_failed`` failures may pass so that the bound stays within ``wanted_fpr``.

    None when even not one is few enough: there are too few failures to promise that much.

    Example:
        >>> allowed_mistakes(28, 0.1), allowed_mistakes(29, 0.1), allowed_mistakes(100, 0.1)
        (None, 0, 4)
    """
    fits = None
    for k in range(n_failed):
        if upper_bound(k, n_failed, confidence) > wanted_fpr:
            break
        fits = k
    return fits


def threshold_above(failed: np.ndarray, n_mistakes: int) -> float:
    """The threshold that at most ``n_mistakes`` of the failed episodes reach, a little above.

    The number of mistakes must not depend on the values (:func:`allowed_mistakes` looks at their
    count only). Then the false-positive rate of the rule "at least the threshold" on new episodes
    like these is under ``upper_bound(n_mistakes, n)`` with its confidence, although the threshold
    was chosen on the same episodes: for independent draws that rate is Beta(k + 1, n - k)
    distributed or lower, whatever the values' distribution (Wilks 1941), and the Clopper-Pearson
    bound is that distribution's quantile.

    Args:
        failed: ``(N,)`` highest signal of each truly failed episode.
        n_mistakes: In 0..N-1.

    Example:
        >>> threshold_above(np.array([0.1, 0.9, 0.4]), 1) > 0.4
        True
    """
    ordered = np.sort(np.asarray(failed, float))
    return float(ordered[len(ordered) - 1 - n_mistakes]) + _MARGIN


def _at_most(k: int, n: int, share: float) -> float:
    """Probability of ``k`` or fewer successes in ``n`` draws."""
    if share >= 1.0:
        return 0.0
    total, term = 0.0, n * math.log1p(-share)
    for i in range(k + 1):
        total += math.exp(term)
        term += math.log((n - i) / (i + 1)) + math.log(share) - math.log1p(-share)
    return total


def _logit(p: np.ndarray) -> np.ndarray:
    inside = np.clip(p, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.log(inside) - np.log1p(-inside)


def _finite_pair(said: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(said, float), np.asarray(true, float)
    if x.ndim != 1 or x.shape != y.shape or not x.size or not np.isfinite([x, y]).all():
        raise ValueError(f"calibration: expected finite (N,) and (N,), got {x.shape} and {y.shape}")
    return x, y
