"""Which way a curve goes: hand cases, and who cannot win."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sole.evals.metrics import falling_f1, preference_accuracy, rising_f1, tie_rate, trend_f1
from sole.evals.trends import direction_accuracy, macro_f1, negative_rate

#: Steps: rise, rise, flat, fall, fall, flat; judged: rise, flat, flat, fall, rise, fall.
TRUE = [0, 20, 40, 42, 30, 10, 10]
JUDGED = [0, 10, 12, 12, 0, 30, 20]
curves = st.lists(st.integers(-100, 100), min_size=2, max_size=30)
many = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=30)


def test_each_trend_of_the_hand_case():
    assert rising_f1(JUDGED, TRUE) == pytest.approx(1 / 2)  # one of two found, one made up
    assert falling_f1(JUDGED, TRUE) == pytest.approx(1 / 2)
    assert trend_f1(JUDGED, TRUE, 0, 5.0) == pytest.approx(1 / 2)
    assert macro_f1(JUDGED, TRUE) == pytest.approx(1 / 2)


def test_macro_f1_weighs_all_trends_alike_however_rare():
    # Steps: 1 1 0 -1 0 0; judged: 1 0 0 -1 1 1. F1 of the one fall 1, of flat 2/5, of rising 2/5.
    true, judged = [0, 10, 20, 20, 10, 10, 10], [0, 10, 10, 10, 0, 10, 20]
    assert macro_f1(judged, true) == pytest.approx((1 + 2 / 5 + 2 / 5) / 3)


def test_a_trend_that_nobody_sees_anywhere_is_left_out():
    assert macro_f1([0, 10, 20], [0, 30, 60]) == 1.0
    assert math.isnan(macro_f1([0], [0]))


def test_always_saying_flat_earns_the_share_of_flat_steps_only():
    assert macro_f1([0] * 7, TRUE) == pytest.approx((0 + 0 + 2 * 2 / (2 * 2 + 4)) / 3)


@given(curves)
def test_the_truth_itself_is_perfect(true):
    assert macro_f1(true, true) == 1.0
    accuracy = direction_accuracy(true, true)
    assert math.isnan(accuracy) or accuracy == 1.0


def test_direction_accuracy_of_the_hand_case():
    # Pairs three apart: true +42, +10, -30, -32; judged +12, -10, +18, +8.
    assert direction_accuracy(JUDGED, TRUE) == pytest.approx(1 / 4)
    assert direction_accuracy(JUDGED, TRUE, apart=1, least=15.0) == pytest.approx(2 / 3)


def test_pairs_between_which_the_truth_stands_still_do_not_count():
    assert direction_accuracy([0, 9, 5, 50], [0, 1, 2, 50], apart=1) == 1.0
    assert math.isnan(direction_accuracy([0, 9, 5], [0, 1, 2], apart=1))
    assert math.isnan(direction_accuracy([0, 9], [0, 90]))  # nothing is three apart


@given(curves)
def test_who_stands_still_is_never_right_and_a_ramp_is_right_where_things_rise(true):
    still, ramp = (direction_accuracy(c, true) for c in (np.zeros(len(true)), range(len(true))))
    moved = np.array(true[3:]) - np.array(true[: max(len(true) - 3, 0)])
    counted = moved[np.abs(moved) > 2]
    if len(counted):
        assert still == 0.0
        assert ramp == pytest.approx(np.mean(counted > 0))


def test_negative_rate_counts_falls_and_not_what_stands_still():
    assert negative_rate(JUDGED) == pytest.approx(2 / 6)
    assert negative_rate([0, 0, 1, 100]) == 0.0
    assert math.isnan(negative_rate([0]))


def test_a_curve_with_a_hole_is_refused():
    for metric in (negative_rate, lambda c: direction_accuracy(c, c), lambda c: macro_f1(c, c)):
        with pytest.raises(ValueError, match="NaN at place 1"):
            metric([0.0, math.nan, 3.0])


def test_preferences_of_the_hand_case():
    chosen, rejected = [90, 60, 50, 20], [10, 60.4, 49, 80]
    assert preference_accuracy(chosen, rejected) == 0.5
    assert tie_rate(chosen, rejected) == 0.25
    assert tie_rate(chosen, rejected, tie=1.0) == preference_accuracy(chosen, rejected, 1.0) * 2
    assert math.isnan(preference_accuracy([], []))
    assert math.isnan(tie_rate([], []))


@given(many)
def test_right_wrong_and_tied_are_all_pairs(pairs):
    chosen, rejected = np.array(pairs).T
    right, wrong = preference_accuracy(chosen, rejected), preference_accuracy(rejected, chosen)
    assert right + wrong + tie_rate(chosen, rejected) == pytest.approx(1.0)
