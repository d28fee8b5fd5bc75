"""Metrics agree with scipy, keep their bounds, and cannot be won by saying nothing."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sole.evals import metrics
from sole.progress.calibrate import fit_isotonic

values = st.lists(st.integers(-100, 100), min_size=3, max_size=30)
pairs = st.integers(3, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-50, 50), min_size=n, max_size=n)] * 2)
)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_correlations_agree_with_scipy(pair):
    one, two = pair
    if len(set(one)) > 1 and len(set(two)) > 1:
        assert metrics.spearman(one, two) == pytest.approx(stats.spearmanr(one, two)[0], abs=1e-9)
        assert metrics.pearson(one, two) == pytest.approx(stats.pearsonr(one, two)[0], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_kendall_without_ties_agrees_with_scipy(pair):
    one, two = (np.array(p) + np.random.default_rng(0).uniform(0, 0.5, len(p)) for p in pair)
    assert metrics.kendall_tau_a(one, two) == pytest.approx(stats.kendalltau(one, two)[0], abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(values, st.floats(0.1, 10), st.floats(-50, 50))
def test_rank_correlation_ignores_increasing_rescaling(judged, scale, shift):
    moved = np.array(judged) * scale + shift
    assert metrics.voc(moved) == pytest.approx(metrics.voc(judged), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_ordered_pairs(scored):
    scores, labels = zip(*scored, strict=True)
    wins = [1.0 if a > b else 0.5 if a == b else 0.0
            for a, x in scored if x for b, y in scored if not y]  # fmt: skip
    auc = metrics.roc_auc(scores, labels)
    assert math.isnan(auc) if not wins else auc == pytest.approx(np.mean(wins))


@pytest.mark.parametrize("judged", [[5, 5, 5, 5], [0, 0, 0]])
def test_constant_curve_correlates_with_nothing(judged):
    assert metrics.voc(judged) == 0.0
    assert metrics.spearman(judged, np.arange(len(judged))) == 0.0


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match="equal"):
        metrics.pearson([1, 2], [1, 2, 3])


def test_falling_is_missed_by_a_ramp():
    true = [0, 50, 20, 60, 30]
    assert metrics.falling_f1([0, 25, 50, 75, 100], true) == 0.0
    assert math.isnan(metrics.falling_f1([0, 1, 2], [0, 1, 2]))


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_rising_is_falling_upside_down(pair):
    one, two = (np.array(p) for p in pair)
    falling, rising = metrics.falling_f1(-one, -two), metrics.rising_f1(one, two)
    assert math.isnan(rising) if math.isnan(falling) else rising == falling
    assert math.isnan(rising) or 0 <= rising <= 1


@settings(max_examples=50, deadline=None)
@given(values)
def test_backwards_video_of_an_honest_model_mirrors_its_voc(judged):
    assert metrics.vroc(judged[::-1]) == pytest.approx(-metrics.voc(judged), abs=1e-9)


def test_alike_values_of_a_cluster_do_not_narrow_the_interval():
    tasks = np.repeat(np.arange(6), 20)
    alike = tasks + np.random.default_rng(0).normal(0, 0.01, 120)
    low, high = metrics.bootstrap_interval(alike, clusters=tasks)
    narrow_low, narrow_high = metrics.bootstrap_interval(alike)
    assert high - low > 2 * (narrow_high - narrow_low)
    by_name = metrics.bootstrap_interval(alike, clusters=[f"t{k}" for k in tasks])
    assert by_name == (low, high)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 17, 130, 1000])
def test_the_interval_of_a_mean_is_that_of_draws_taken_one_by_one(n):
    drawn = np.random.default_rng(n).normal(0, 40, n)
    one_by_one = metrics.bootstrap_interval(drawn, statistic=lambda d: float(np.mean(d)))
    assert metrics.bootstrap_interval(drawn) == one_by_one
    assert metrics.bootstrap_interval(drawn, clusters=list(range(n))) == one_by_one


def test_interval_contains_the_mean_and_leaves_out_nan():
    drawn = np.r_[np.random.default_rng(0).normal(3, 1, 50), math.nan]
    low, high = metrics.bootstrap_interval(drawn)
    assert low < np.nanmean(drawn) < high
    assert high - low < 1


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_ranking_accuracy_is_the_auc_when_quality_is_success(pair):
    scores, quality = pair
    success = [q > 0 for q in quality]
    ranked, auc = metrics.ranking_accuracy(scores, success), metrics.roc_auc(scores, success)
    assert ranked == pytest.approx(auc, nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_agrees_with_scipy(counts):
    k, n = counts
    wanted = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(k, n) == pytest.approx((wanted.low, wanted.high), abs=1e-5)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="3 of 2"):
        metrics.wilson_interval(3, 2)


@settings(max_examples=50, deadline=None)
@given(values)
def test_no_curve_rises_less_than_it_drifts(judged):
    assert metrics.rise(judged) >= max(metrics.drift(judged), 0)


def test_interquartile_mean_agrees_with_scipy():
    drawn = np.random.default_rng(1).normal(size=40)
    assert metrics.interquartile_mean(drawn) == pytest.approx(stats.trim_mean(drawn, 0.25))


def test_draws_of_one_class_do_not_spoil_the_interval():
    labels = np.array([True, False, False])
    low, high = metrics.bootstrap_interval(
        np.arange(3), statistic=lambda i: metrics.roc_auc(i, labels[i.astype(int)])
    )
    assert 0.0 <= low <= high <= 1.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_average_precision_and_fpr_agree_with_counting(scored):
    scores, labels = [s for s, _ in scored], [bool(b) for _, b in scored]
    if not any(labels) or all(labels):
        assert np.isnan(metrics.fpr_at_recall(scores, labels, 0.5))
        return
    area, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [b for s, b in zip(scores, labels, strict=True) if s >= threshold]
        recall = sum(taken) / sum(labels)
        area += (recall - before) * sum(taken) / len(taken)
        before = recall
    assert metrics.average_precision(scores, labels) == pytest.approx(area)
    lowest = min(s for s, b in zip(scores, labels, strict=True) if b)
    false = [s >= lowest for s, b in zip(scores, labels, strict=True) if not b]
    assert metrics.fpr_at_recall(scores, labels, 1.0) == pytest.approx(np.mean(false))


GOLDEN = json.loads((Path(__file__).parent / "golden" / "metrics_sklearn.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: str(len(c["scores"])))
def test_numbers_that_scikit_learn_gave_are_ours(case):
    scores, labels = case["scores"], case["labels"]
    ours = {
        "roc_auc": metrics.roc_auc(scores, labels),
        "average_precision": metrics.average_precision(scores, labels),
        "fpr_at_recall90": metrics.fpr_at_recall(scores, labels, 0.9),
        "cohen_kappa": metrics.cohen_kappa(case["one"], case["two"]),
        "mae": metrics.mae(case["judged"], case["true"]),
        "falling_f1": metrics.falling_f1(case["judged"], case["true"]),
    }
    theirs = {name: math.nan if case[name] is None else case[name] for name in ours}
    assert ours == pytest.approx(theirs, abs=1e-9, nan_ok=True)
    levels = fit_isotonic(np.array(scores), np.array(labels, float))
    at = np.array(case["isotonic_at"])
    assert np.interp(at, levels.x, levels.y) == pytest.approx(np.array(case["isotonic"]), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(pairs, st.randoms())
def test_order_of_the_episodes_does_not_matter(pair, random):
    both = list(zip(*pair, strict=True))
    random.shuffle(both)
    labels = np.array(pair[1]) > 0
    one, two = (np.array(x, float) for x in zip(*both, strict=True))
    for metric in (metrics.spearman, metrics.pearson, metrics.mae, metrics.kendall_tau_a,
                   metrics.ranking_accuracy):  # fmt: skip
        assert metric(one, two) == pytest.approx(metric(*pair), nan_ok=True)
    for metric in (metrics.roc_auc, metrics.average_precision):
        assert metric(one, two > 0) == pytest.approx(metric(pair[0], labels), nan_ok=True)
    assert metrics.fpr_at_recall(one, two > 0, 0.9) == pytest.approx(
        metrics.fpr_at_recall(pair[0], labels, 0.9), nan_ok=True
    )


def test_time_reversal_turns_a_ramp_and_a_permutation_spoils_it():
    ramp = np.linspace(0, 100, 26)
    assert metrics.voc(ramp) == pytest.approx(1.0)
    assert metrics.voc(ramp[::-1]) == pytest.approx(-1.0)
    assert abs(metrics.voc(np.random.default_rng(0).permutation(ramp))) < 0.5


def test_ties_in_either_list_count_nothing_in_kendall_and_half_in_ranking():
    assert metrics.kendall_tau_a([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / 3)
    assert metrics.kendall_tau_a([1, 2, 3], [5, 5, 5]) == 0.0
    assert metrics.ranking_accuracy([1, 1, 2], [1, 2, 3]) == pytest.approx(2.5 / 3)
    assert math.isnan(metrics.ranking_accuracy([1, 2], [3, 3]))


NAN = [0.0, math.nan, 1.0]
GOOD = [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "metric",
    [metrics.spearman, metrics.pearson, metrics.mae, metrics.kendall_tau_a, metrics.falling_f1,
     metrics.rising_f1, lambda a, b: metrics.falling_f1(b, a), lambda a, b: metrics.rising_f1(b, a),
     metrics.ranking_accuracy, lambda a, b: metrics.roc_auc(a, [True, False, True]),
     lambda a, b: metrics.average_precision(a, [True, False, True]),
     lambda a, b: metrics.fpr_at_recall(a, [True, False, True], 0.9)],
)  # fmt: skip
def test_nan_is_refused_and_never_ranked(metric):
    with pytest.raises(ValueError, match="NaN at place 1"):
        metric(np.array(NAN), np.array(GOOD))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(-1, 1)), min_size=1, max_size=30))
def test_kappa_is_symmetric_and_one_only_where_all_agree(labels):
    one, two = zip(*labels, strict=True)
    kappa = metrics.cohen_kappa(one, two)
    assert kappa == pytest.approx(metrics.cohen_kappa(two, one), nan_ok=True)
    assert math.isnan(kappa) == (len({*one, *two}) == 1)
    if not math.isnan(kappa):
        assert kappa <= 1.0 + 1e-12
        assert (kappa > 1.0 - 1e-9) == (one == two)
