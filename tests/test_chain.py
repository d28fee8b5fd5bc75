"""Stepping through an episode: scored frames, interpolation, what a failure leaves behind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sole.protocol.chain import (
    ChainState,
    frame_changed,
    fuse,
    interpolate_scores,
    scored_frames,
)

QUICK = settings(max_examples=50, deadline=None)
PERCENT = st.floats(-100, 100)


def grey(level, size=4):
    return {"external": np.full((size, size, 3), level, np.uint8)}


@QUICK
@given(st.integers(1, 200), st.integers(1, 50))
def test_first_and_last_frames_are_scored_and_no_gap_is_wider_than_asked(n_frames, every):
    frames = scored_frames(n_frames, every)
    assert frames[0] == 0
    assert frames[-1] == n_frames - 1
    assert np.all(np.diff(frames) > 0)
    assert np.all(np.diff(frames) <= every)


@pytest.mark.parametrize(("n_frames", "every"), [(0, 1), (5, 0)])
def test_no_frames_or_no_step_is_refused(n_frames, every):
    with pytest.raises(ValueError, match="expected n_frames and every"):
        scored_frames(n_frames, every)


@QUICK
@given(st.data(), st.integers(1, 60), st.integers(1, 20))
def test_interpolation_meets_the_scores_and_stays_within_neighbours(data, n_frames, every):
    frames = scored_frames(n_frames, every)
    values = np.array(data.draw(st.lists(PERCENT, min_size=len(frames), max_size=len(frames))))
    everywhere = interpolate_scores(values, frames, n_frames)
    assert everywhere.shape == (n_frames,)
    np.testing.assert_allclose(everywhere[frames], values, atol=1e-9)
    for left, right in zip(range(len(frames) - 1), range(1, len(frames)), strict=True):
        between = everywhere[frames[left] : frames[right] + 1]
        assert between.min() >= min(values[left], values[right]) - 1e-9
        assert between.max() <= max(values[left], values[right]) + 1e-9


@QUICK
@given(st.data(), st.integers(2, 40))
def test_with_a_first_value_nothing_is_left_open_and_nothing_is_invented(data, n_frames):
    rest = st.lists(st.none() | PERCENT, min_size=n_frames - 1, max_size=n_frames - 1)
    values = [0.0, *data.draw(rest)]
    everywhere = interpolate_scores(values, np.arange(n_frames), n_frames)
    last_valid = 0.0
    for value, result in zip(values, everywhere, strict=True):
        last_valid = last_valid if value is None else value
        assert result == last_valid


def test_a_missing_score_takes_the_last_valid_one():
    result = interpolate_scores([0.0, np.nan, 20.0], np.array([0, 2, 4]), 5)
    assert result.tolist() == [0.0, 0.0, 0.0, 10.0, 20.0]


def test_what_comes_before_the_first_score_stays_unknown():
    result = interpolate_scores([None, 10.0, None], np.array([0, 1, 3]), 5)
    assert np.isnan(result[0])
    assert result[1:].tolist() == [10.0, 10.0, 10.0, 10.0]
    assert np.isnan(interpolate_scores([None, None], np.array([0, 1]), 2)).all()


@pytest.mark.parametrize(
    ("values", "indices"),
    [([1.0], [0, 1]), ([1.0, 2.0], [1, 1]), ([1.0, 2.0], [0, 3]), ([1.0], [-1]), ([], [])],
)
def test_indices_that_do_not_fit_are_refused(values, indices):
    with pytest.raises(ValueError, match="one value per increasing index"):
        interpolate_scores(values, np.array(indices), 3)


def test_a_chain_starts_at_zero_with_the_first_frame_as_the_previous_one():
    state = ChainState.start(grey(1))
    assert state.stated_progress == 0
    np.testing.assert_array_equal(state.previous_views["external"], state.first_views["external"])


def test_a_valid_reply_moves_the_chain_on():
    state = ChainState.start(grey(1)).after(grey(2), 41.6)
    assert state.stated_progress == 42
    assert state.previous_views["external"][0, 0, 0] == 2
    assert state.first_views["external"][0, 0, 0] == 1


def test_a_failed_reply_leaves_value_and_picture_of_the_last_valid_one():
    state = ChainState.start(grey(1)).after(grey(2), 30.0).after(grey(3), None).after(grey(4), None)
    assert state.stated_progress == 30
    assert state.previous_views["external"][0, 0, 0] == 2
    assert (state.n_failures, state.n_failures_in_a_row) == (2, 2)


def test_a_valid_reply_after_failures_ends_the_row_but_not_the_count():
    state = ChainState.start(grey(1)).after(grey(2), None).after(grey(3), 5.0)
    assert (state.n_failures, state.n_failures_in_a_row) == (1, 0)
    assert state.stated_progress == 5


@QUICK
@given(st.lists(st.none() | PERCENT, max_size=30))
def test_whatever_happens_the_chain_states_the_last_valid_progress(replies):
    state = ChainState.start(grey(0))
    for reply in replies:
        state = state.after(grey(0), reply)
    valid = [reply for reply in replies if reply is not None]
    assert state.progress == (valid[-1] if valid else 0.0)
    assert state.n_failures == len(replies) - len(valid)


@pytest.mark.parametrize("progress", [float("nan"), 100.5, -101.0])
def test_a_chain_takes_no_number_that_is_not_a_progress(progress):
    with pytest.raises(ValueError, match=r"expected a progress in \[-100, 100\]"):
        ChainState.start(grey(0)).after(grey(1), progress)


def test_a_chain_does_not_share_pixels_with_the_callers_buffer():
    buffer = grey(1)
    state = ChainState.start(buffer)
    buffer["external"][:] = 9
    assert state.first_views["external"].max() == 1


def test_a_reused_score_is_counted_and_the_compared_frame_stays():
    state = ChainState.start(grey(1)).after_reuse()
    assert state.n_reused == 1
    assert state.previous_views["external"][0, 0, 0] == 1


@QUICK
@given(PERCENT, PERCENT, st.floats(0, 1))
def test_a_mix_lies_between_its_parts(chained, from_zero, weight):
    mixed = fuse(chained, from_zero, weight)
    assert min(chained, from_zero) <= mixed <= max(chained, from_zero)


def test_a_mix_with_one_read_missing_is_the_other_one():
    nan = np.nan
    mixed = fuse(np.array([nan, 10.0, nan]), np.array([20.0, nan, nan]), 0.5)
    np.testing.assert_array_equal(mixed, [20.0, 10.0, nan])


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_zero_to_one_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        fuse(1.0, 2.0, weight)


def test_the_same_frame_has_not_changed():
    assert not frame_changed(grey(7), grey(7), 0.0)


@QUICK
@given(st.integers(0, 255), st.integers(0, 255), st.floats(0, 255))
def test_a_change_is_the_mean_absolute_difference_in_either_direction(old, new, threshold):
    assert frame_changed(grey(old), grey(new), threshold) == (abs(old - new) > threshold)


def test_a_change_in_one_view_is_enough():
    old = {"external": grey(1)["external"], "wrist": grey(1)["external"]}
    new = {"external": grey(1)["external"], "wrist": grey(9)["external"]}
    assert frame_changed(old, new, 5.0)


def test_frames_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="views"):
        frame_changed(grey(1), {"wrist": grey(1)["external"]}, 1.0)
    with pytest.raises(ValueError, match="equal shape"):
        frame_changed(grey(1), grey(1, size=5), 1.0)
    with pytest.raises(ValueError, match="uint8"):
        frame_changed(grey(1), {"external": np.zeros((4, 4, 3))}, 1.0)
