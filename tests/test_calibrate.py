"""Monotone maps against a brute-force answer; a threshold whose promise holds on chance data."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import optimize, stats

from sole.data.episode import EpisodeScore, StepScore
from sole.progress.calibrate import (
    Calibration,
    MonotoneMap,
    allowed_mistakes,
    fit_isotonic,
    fit_temperature,
    judged_success,
    pool_adjacent_violators,
    threshold_above,
    upper_bound,
)

NUMBERS = st.floats(-10, 10, allow_nan=False, width=32)
LISTS = st.lists(NUMBERS, min_size=1, max_size=12)
WEIGHTED = st.lists(st.tuples(NUMBERS, st.floats(0.1, 5)), min_size=1, max_size=7)


def best_of_all_partitions(y, w):
    """Isotonic regression the slow way: the best of all ways to cut into rising runs of means."""
    best, answer = np.inf, None
    for cuts in itertools.product([False, True], repeat=len(y) - 1):
        block = np.concatenate([[0], np.cumsum(cuts)]).astype(int)
        means = np.bincount(block, weights=y * w) / np.bincount(block, weights=w)
        loss = float((w * (y - means[block]) ** 2).sum())
        if np.all(np.diff(means) >= 0) and loss < best:
            best, answer = loss, means[block]
    return answer


@settings(deadline=None)
@given(WEIGHTED)
def test_pooling_is_the_best_of_all_rising_sequences(pairs):
    y, w = np.array(pairs).T
    np.testing.assert_allclose(
        pool_adjacent_violators(y, w), best_of_all_partitions(y, w), atol=1e-6
    )


@settings(deadline=None)
@given(WEIGHTED)
def test_pooling_agrees_with_scipy(pairs):
    y, w = np.array(pairs).T
    theirs = optimize.isotonic_regression(y, weights=w).x
    np.testing.assert_allclose(pool_adjacent_violators(y, w), theirs, atol=1e-9)


@settings(deadline=None)
@given(LISTS)
def test_pooling_rises_keeps_the_mean_and_changes_nothing_twice(values):
    y = np.array(values)
    fitted = pool_adjacent_violators(y)
    assert (np.diff(fitted) >= 0).all()
    assert fitted.mean() == pytest.approx(y.mean(), abs=1e-9)
    np.testing.assert_allclose(pool_adjacent_violators(fitted), fitted, atol=1e-12)


@settings(deadline=None)
@given(LISTS)
def test_what_rises_already_is_left_alone(values):
    y = np.sort(values)
    np.testing.assert_allclose(pool_adjacent_violators(y), y, atol=1e-12)


@pytest.mark.parametrize(("y", "w"), [([1.0, 2.0], [1.0]), ([1.0], [0.0]), ([[1.0]], [[1.0]])])
def test_wrong_shapes_and_weights_are_refused(y, w):
    with pytest.raises(ValueError, match="isotonic"):
        pool_adjacent_violators(np.array(y), np.array(w))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), min_size=1, max_size=30))
def test_isotonic_map_passes_through_the_pooled_means_and_keeps_every_order(pairs):
    said, true = np.array(pairs, float).T
    fitted = fit_isotonic(said, true)
    levels, where, counts = np.unique(said, return_inverse=True, return_counts=True)
    means = np.bincount(where.reshape(-1), weights=true) / counts
    pooled = optimize.isotonic_regression(means, weights=counts).x
    np.testing.assert_allclose(np.interp(levels, fitted.x, fitted.y), pooled, atol=1e-9)
    assert (np.diff(fitted(levels)) > 0).all()


def test_a_thousandth_of_the_raw_value_keeps_the_order_of_pooled_ones():
    flat = MonotoneMap(x=(0.0, 1.0), y=(0.3, 0.3))
    assert flat(0.9) > flat(0.1)
    assert flat(np.array([0.0, 1.0])) == pytest.approx([0.3, 0.3], abs=1e-3)
    assert np.isnan(flat(np.nan))


@pytest.mark.parametrize(
    ("x", "y"), [((0.0, 0.0), (0.0, 1.0)), ((0.0, 1.0), (1.0, 0.0)), ((0.0,), (0.0, 1.0)), ((), ())]
)
def test_a_map_that_falls_is_no_map(x, y):
    with pytest.raises(ValidationError):
        MonotoneMap(x=x, y=y)


@pytest.mark.parametrize("fit", [fit_isotonic, fit_temperature])
def test_nothing_and_nan_cannot_be_fitted(fit):
    for said, true in (([], []), ([np.nan], [1.0]), ([0.5], [1.0, 0.0])):
        with pytest.raises(ValueError, match="calibration"):
            fit(np.array(said), np.array(true))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 40_000)
    true = rng.random(40_000) < 1 / (1 + np.exp(-logits / temperature))
    fitted = fit_temperature(1 / (1 + np.exp(-logits)), true.astype(float))
    at = np.array([0.1, 0.3, 0.5, 0.8])
    wanted = 1 / (1 + np.exp(-np.log(at / (1 - at)) / temperature))
    np.testing.assert_allclose(fitted(at), wanted, atol=0.02)


@settings(deadline=None)
@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_upper_bound_agrees_with_the_beta_quantile(counts):
    k, n = counts
    exact = 1.0 if k == n else stats.beta.ppf(0.95, k + 1, n - k)
    assert upper_bound(k, n) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_have_no_bound(k, n):
    with pytest.raises(ValueError, match="bound"):
        upper_bound(k, n)


def test_the_rule_of_three_decides_how_many_failures_are_enough():
    assert allowed_mistakes(0, 0.1) is None
    assert allowed_mistakes(58, 0.05) is None
    assert allowed_mistakes(59, 0.05) == 0


@settings(deadline=None)
@given(st.integers(1, 120), st.floats(0.02, 0.5), st.floats(0.6, 0.99))
def test_no_more_mistakes_are_allowed_than_the_bound_permits(n, wanted, confidence):
    k = allowed_mistakes(n, wanted, confidence)
    if k is None:
        assert upper_bound(0, n, confidence) > wanted
    else:
        assert upper_bound(k, n, confidence) <= wanted
        assert k + 1 >= n or upper_bound(k + 1, n, confidence) > wanted


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=30), st.data())
def test_at_most_the_allowed_mistakes_reach_the_threshold(values, data):
    failed = np.array(values)
    k = data.draw(st.integers(0, len(failed) - 1))
    assert (failed >= threshold_above(failed, k)).sum() <= k


@pytest.mark.parametrize("n", [40, 90])
def test_the_promise_holds_on_chance_data(n):
    """Signals are uniform, so the true false-positive rate of a threshold is 1 - threshold.

    The bound of a chosen threshold may break in at most 5 of 100 calibrations; over 4,000 of them
    the share that breaks is within 4 standard errors of the exact 5 percent, or below.
    """
    rng = np.random.default_rng(1)
    k = allowed_mistakes(n, 0.1)
    bound = upper_bound(k, n)
    rates = [1 - threshold_above(rng.random(n), k) for _ in range(4000)]
    broken = np.mean(np.array(rates) > bound)
    assert broken <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)
    assert broken >= 0.05 - 4 * np.sqrt(0.05 * 0.95 / 4000)  # nor is it looser than it says


def test_success_is_judged_by_probability_and_else_by_progress():
    says = EpisodeScore((StepScore(0.0), StepScore(99.0, success_probability=0.4)), "m")
    mute = EpisodeScore((StepScore(0.0), StepScore(95.0), StepScore(None, error="no number")), "m")
    failed = EpisodeScore((StepScore(None, error="no number"),), "m")
    assert not judged_success(says)
    assert judged_success(says, 0.4)
    assert judged_success(mute)
    assert not judged_success(failed)


def test_what_the_given_first_frame_says_of_success_is_not_the_models_word():
    given = StepScore(0.0, success_probability=0.0, uncertainty=0.0)
    mute = EpisodeScore((given, StepScore(60.0), StepScore(100.0)), "m")
    assert judged_success(mute)
    assert np.isnan(mute.judged_success).all()
    speaking = EpisodeScore((given, StepScore(99.0, success_probability=0.3)), "m")
    assert not judged_success(speaking)
    silenced = EpisodeScore((given, StepScore(None, error="no number")), "m")
    assert silenced.says_success  # it failed, which is another thing than not to say


def record(**changes):
    linear = MonotoneMap(x=(0.0, 1.0), y=(0.1, 0.6))
    wide = MonotoneMap(x=(-100.0, 100.0), y=(-50.0, 80.0))
    values = {
        "model_id": "ramp", "made_from": "here", "signal": "progress", "success": linear,
        "progress": wide, "success_threshold": 0.4, "wanted_fpr": 0.1, "fpr_bound": 0.09,
        "confidence": 0.95, "n_failed": 40, "n_successful": 20,
    }  # fmt: skip
    return Calibration(**{**values, **changes})


def test_a_step_is_calibrated_in_both_numbers_and_keeps_its_words():
    step = StepScore(50.0, success_probability=0.9, reasoning="It moved.", uncertainty=7.0)
    after = record().apply(step)
    assert after.progress == pytest.approx(0.999 * 47.5 + 0.05)
    assert after.success_probability == pytest.approx(0.999 * 0.35 + 0.0005)
    assert (after.reasoning, after.uncertainty) == ("It moved.", 7.0)
    by_probability = record(signal="success_probability").apply(step)
    assert by_probability.success_probability == pytest.approx(0.999 * 0.55 + 0.0009)


def test_what_a_model_does_not_say_is_not_made_up():
    failed = StepScore(None, error="no number")
    assert record().apply(failed) is failed
    mute = record(signal="success_probability").apply(StepScore(10.0))
    assert mute.success_probability is None


def test_a_calibration_survives_json_exactly():
    one = record(success=fit_isotonic(np.array([0.1, 0.7, 1 / 3]), np.array([0.0, 1.0, 1.0])))
    assert Calibration.model_validate_json(one.model_dump_json()) == one
