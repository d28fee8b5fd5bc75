"""Progress to reward: bounds, telescoping, and what happens to frames the model failed on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sole.data.episode import EpisodeScore, StepScore
from sole.errors import ConfigError, ModelError
from sole.progress.reward import (
    apply_failure_policy,
    difference_reward,
    directions,
    level_reward,
    tri_reward,
)

QUICK = settings(max_examples=50, deadline=None)
PERCENT = st.floats(-100, 100)
EPISODES = st.lists(PERCENT, min_size=1, max_size=40).map(np.array)


def scores(*values):
    steps = [StepScore(None, error="no tag") if v is None else StepScore(v) for v in values]
    return EpisodeScore(tuple(steps), "some-model")


@QUICK
@given(EPISODES, st.floats(0, 10), st.floats(0.1, 100))
def test_a_level_reward_is_bounded_and_keeps_the_sign(progress, psi, clip):
    reward = level_reward(progress, psi, clip)
    assert reward.shape == progress.shape
    assert np.all(np.abs(reward) <= psi * clip / 100 * (1 + 1e-12))
    assert np.all(reward * progress >= 0)


@QUICK
@given(EPISODES)
def test_more_progress_is_never_paid_less(progress):
    reward = level_reward(np.sort(progress), 1.0, 60.0)
    assert np.all(np.diff(reward) >= 0)


@QUICK
@given(EPISODES, st.floats(0.5, 1.0))
def test_discounted_difference_rewards_telescope(progress, discount):
    reward = difference_reward(progress, discount)
    weights = discount ** np.arange(len(reward))
    total = (progress[-1] * discount ** len(reward) - progress[0]) / 100
    assert reward.shape == (len(progress) - 1,)
    assert np.sum(weights * reward) == pytest.approx(total, abs=1e-9)


@QUICK
@given(EPISODES)
def test_a_detour_earns_nothing(progress):
    there_and_back = np.concatenate([progress, progress[::-1]])
    assert difference_reward(there_and_back).sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("reward", [level_reward, difference_reward])
@pytest.mark.parametrize(
    "progress", [[0.0, np.nan], [np.inf, 0.0], [], [[0.0, 1.0]]], ids=["nan", "inf", "empty", "2d"]
)
def test_progress_that_is_no_finite_series_is_refused(reward, progress):
    with pytest.raises(ValueError, match="finite percent"):
        reward(np.array(progress))


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan")])
def test_a_clip_that_is_not_positive_is_refused(clip):
    with pytest.raises(ValueError, match="clip"):
        level_reward(np.zeros(2), 1.0, clip)


@pytest.mark.parametrize("discount", [0.0, 1.1, float("nan")])
def test_a_discount_outside_zero_to_one_is_refused(discount):
    with pytest.raises(ValueError, match="discount"):
        difference_reward(np.zeros(2), discount)


@pytest.mark.parametrize("policy", ["hold", "drop_episode", "raise"])
def test_without_failures_every_policy_returns_the_scores(policy):
    judged = apply_failure_policy(scores(0.0, 20.0, 10.0), policy)
    assert judged.progress is not None
    assert judged.progress.tolist() == [0.0, 20.0, 10.0]
    assert (judged.n_failures, judged.n_frames) == (0, 3)


def test_hold_keeps_the_last_valid_progress_and_counts():
    judged = apply_failure_policy(scores(0.0, None, 20.0, None, None), "hold")
    assert judged.progress is not None
    assert judged.progress.tolist() == [0.0, 0.0, 20.0, 20.0, 20.0]
    assert judged.n_failures == 3


@pytest.mark.parametrize("values", [(None,), (0.0, None), (None, None), (0.0, None, None)])
def test_hold_gives_up_an_episode_in_which_nothing_was_judged(values):
    judged = apply_failure_policy(scores(*values), "hold")
    assert judged.progress is None
    assert judged.n_failures == sum(value is None for value in values)


def test_drop_episode_gives_it_up_at_one_failure():
    judged = apply_failure_policy(scores(0.0, 5.0, None), "drop_episode")
    assert judged.progress is None
    assert (judged.n_failures, judged.n_frames) == (1, 3)


def test_raise_names_the_model_the_frame_and_the_reason():
    with pytest.raises(
        ModelError, match="some-model failed on 1 of 2 frames, first on frame 1: no"
    ):
        apply_failure_policy(scores(0.0, None), "raise")


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match="failure policy"):
        apply_failure_policy(scores(0.0), "zero")  # pyright: ignore[reportArgumentType]


@QUICK
@given(st.lists(st.none() | PERCENT, min_size=1, max_size=30))
def test_hold_returns_either_nothing_or_a_series_fit_for_a_reward(values):
    judged = apply_failure_policy(scores(*values), "hold")
    assert judged.n_failures == sum(value is None for value in values)
    if judged.progress is not None:
        assert level_reward(judged.progress).shape == (len(values),)


@QUICK
@given(EPISODES, st.floats(0, 50))
def test_directions_are_signs_and_small_changes_are_none(progress, zone):
    way = directions(progress, zone)
    change = np.diff(progress)
    assert set(way) <= {-1.0, 0.0, 1.0}
    assert np.all(way[np.abs(change) <= zone] == 0)
    assert np.all(way * change >= 0)


@QUICK
@given(EPISODES, st.randoms(use_true_random=False))
def test_a_tri_reward_lies_between_its_ends(progress, chance):
    completion = np.array([chance.random() for _ in progress])
    reward = tri_reward(progress, completion, directions(progress))
    assert reward.shape == (len(progress) - 1,)
    assert np.all((reward >= -1 / 3 - 1e-9) & (reward <= 1 + 1e-9))


def test_a_tri_reward_of_one_weight_is_that_part_alone():
    progress, completion, way = np.array([0.0, 40.0]), np.array([0.0, 0.7]), np.array([1.0])
    parts = [tri_reward(progress, completion, way, w)[0] for w in np.eye(3)]
    np.testing.assert_allclose(parts, [0.4, 0.7, 1.0])


@pytest.mark.parametrize(
    ("completion", "direction", "message"),
    [
        ([0.0, 1.1], [1.0], "completion"),
        ([0.0], [1.0], "completion"),
        ([0.0, np.nan], [1.0], "completion"),
        ([0.0, 1.0], [2.0], "direction"),
        ([0.0, 1.0], [1.0, 1.0], "direction"),
    ],
)
def test_a_tri_reward_of_something_else_is_refused(completion, direction, message):
    with pytest.raises(ValueError, match=message):
        tri_reward(np.array([0.0, 1.0]), np.array(completion), np.array(direction))


def test_a_negative_dead_zone_is_refused():
    with pytest.raises(ValueError, match="dead zone"):
        directions(np.zeros(2), -1.0)
