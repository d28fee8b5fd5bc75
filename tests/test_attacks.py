"""Attacks disturb pictures only: same form, same truth, the same draw every time, nothing at 0."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sole.data.episode import Episode, make_example_episode
from sole.evals.attacks import (
    ATTACKS,
    COMMON_ATTACKS,
    SCENE_ATTACKS,
    attack,
    blur,
    delayed,
    dropped,
    jpeg,
    lighting,
    lookalike,
    noise,
    occlusion,
    swapped,
)

STRENGTHS = st.floats(0.01, 1.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def smooth_episode(n_frames=8, size_px=48):
    """A grey table with one red object, and a white bar that moves over it."""
    frames = np.full((n_frames, size_px, size_px, 3), 120, np.uint8)
    frames[:, 20:24, 28:32] = (220, 20, 20)
    for t in range(n_frames):
        frames[t, :, 4 * t : 4 * t + 3] = 255
    return Episode("move it", {"external": frames, "wrist": frames[:, ::-1].copy()}, seed=3)


@settings(deadline=None)
@given(
    st.sampled_from(ATTACKS), STRENGTHS, st.integers(1, 5), st.integers(1, 20), st.integers(0, 9)
)
def test_shape_and_type_stay(name, strength, n_frames, size_px, seed):
    episode = make_example_episode(n_frames, size_px, seed)
    after = attack(episode, name, strength)
    for view, frames in episode.views.items():
        assert after.views[view].shape == frames.shape
        assert after.views[view].dtype == np.uint8


@pytest.mark.parametrize("name", ATTACKS)
def test_strength_zero_changes_nothing(name):
    episode = smooth_episode()
    for view, frames in attack(episode, name, 0.0).views.items():
        np.testing.assert_array_equal(frames, episode.views[view])


@pytest.mark.parametrize("name", sorted(set(SCENE_ATTACKS | COMMON_ATTACKS) - {"jpeg"}))
def test_the_formula_itself_is_the_identity_at_strength_zero(name):
    """JPEG alone loses something at its best quality."""
    frames = make_example_episode(5, 24).views["external"]
    disturb = (SCENE_ATTACKS | COMMON_ATTACKS)[name]
    np.testing.assert_array_equal(disturb(frames, 0.0, rng()), frames)


@pytest.mark.parametrize("name", ATTACKS)
def test_full_strength_changes_a_picture_and_no_truth(name):
    episode = replace(smooth_episode(), truth=make_example_episode(8).truth)
    after = attack(episode, name, 1.0)
    assert any((after.views[v] != episode.views[v]).any() for v in episode.views)
    assert after.truth is episode.truth


@pytest.mark.parametrize("name", ATTACKS)
def test_the_same_draw_every_time_and_another_for_another_seed(name):
    episode = smooth_episode()
    one, same = attack(episode, name, 0.7), attack(episode, name, 0.7)
    np.testing.assert_array_equal(one.views["wrist"], same.views["wrist"])
    np.testing.assert_array_equal(one.views["external"], same.views["external"])
    if name not in {"blur", "jpeg", "delayed", "swapped"}:  # these draw nothing
        view = "wrist" if name == "occlusion_wrist" else "external"
        others = [attack(episode, name, 0.7, seed).views[view] for seed in range(1, 6)]
        assert any((other != one.views[view]).any() for other in others)


@pytest.mark.parametrize("name", SCENE_ATTACKS)
def test_what_stands_before_one_camera_leaves_the_other_alone(name):
    episode = smooth_episode()
    after = attack(episode, name, 1.0)
    np.testing.assert_array_equal(after.views["wrist"], episode.views["wrist"])


def test_inputs_are_not_written_to():
    episode = smooth_episode()
    before = {view: frames.copy() for view, frames in episode.views.items()}
    for name in ATTACKS:
        attack(episode, name, 1.0)
    for view, frames in episode.views.items():
        np.testing.assert_array_equal(frames, before[view])


def test_occlusion_spares_the_first_frame_and_covers_the_middle_at_full_strength():
    for seed in range(20):
        frames = np.zeros((10, 30, 40, 3), np.uint8)
        after = occlusion(frames, 1.0, rng(seed))
        patch = after[-1, 15, 20]
        assert (after[0] == 0).all()
        assert (after[5:, 15, 20] == patch).all()
        assert (after[-1] == patch).all(-1).mean() == pytest.approx(0.36, abs=0.01)


@settings(deadline=None)
@given(st.integers(0, 50))
def test_a_stronger_occlusion_covers_more(seed):
    frames = np.zeros((4, 40, 40, 3), np.uint8)
    covered = [(occlusion(frames, s, rng(seed))[-1] != 0).any(-1).sum() for s in (0.2, 0.5, 1.0)]
    assert covered == sorted(covered)


def test_lookalikes_are_copies_of_the_object_behind_what_moves():
    episode = smooth_episode()
    frames = episode.views["external"]
    after = lookalike(frames, 1.0, rng(1))
    red = (after == (220, 20, 20)).all(-1)
    assert red[-1].sum() > (frames[-1] == (220, 20, 20)).all(-1).sum()
    moving = (frames == 255).all(-1)
    np.testing.assert_array_equal(after[moving], frames[moving])


def test_a_uniform_scene_has_nothing_to_copy():
    frames = np.full((3, 20, 20, 3), 90, np.uint8)
    np.testing.assert_array_equal(lookalike(frames, 1.0, rng()), frames)


def test_lighting_is_one_lamp_for_the_whole_episode_and_both_views():
    episode = make_example_episode(6, 16)
    after = attack(episode, "lighting", 1.0)
    seen = {}
    for view, frames in episode.views.items():
        for old, new in zip(frames[..., 0].ravel(), after.views[view][..., 0].ravel(), strict=True):
            assert seen.setdefault(old, new) == new


def test_lost_frames_are_held_and_the_first_always_arrives():
    frames = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    shown = dropped(frames, 1.0, rng(4))[:, 0, 0, 0].astype(int)
    assert shown[0] == 0
    assert (np.diff(shown) >= 0).all()
    assert (shown <= np.arange(20)).all()
    assert len(set(shown)) < 12


def test_delay_shows_the_first_frame_until_the_late_ones_come():
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert delayed(frames, 1.0, rng())[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6]


def test_swapped_views_of_different_sizes_keep_their_own():
    views = {
        "external": np.full((4, 10, 20, 3), 10, np.uint8),
        "wrist": np.full((4, 8, 8, 3), 200, np.uint8),
    }
    after = swapped(views, 0.5)
    assert [int(f.mean()) for f in after["external"]] == [10, 10, 200, 200]
    assert [int(f.mean()) for f in after["wrist"]] == [200, 200, 10, 10]


@pytest.mark.parametrize("disturb", [blur, jpeg, noise])
def test_stronger_is_further_from_the_picture(disturb):
    frames = smooth_episode().views["external"]
    apart = [np.abs(disturb(frames, s, rng()).astype(int) - frames).mean() for s in (0.2, 0.6, 1.0)]
    assert apart == sorted(apart)
    assert apart[0] < apart[-1]


def test_lighting_never_leaves_the_range_by_wrapping_around():
    frames = np.array([[[[0, 0, 0], [255, 255, 255]]]], np.uint8)
    for seed in range(20):
        after = lighting(frames, 1.0, rng(seed)).astype(int)
        assert (after[0, 0, 1] >= after[0, 0, 0]).all()


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [("rain", 0.5, "blur"), ("blur", 1.5, "1.5"), ("blur", -0.1, "-0.1")],
)
def test_a_wrong_name_or_strength_is_refused(name, strength, message):
    with pytest.raises(ValueError, match=message):
        attack(smooth_episode(), name, strength)


@pytest.mark.parametrize("name", ["swapped", "occlusion_wrist"])
def test_what_needs_two_views_is_refused_with_one(name):
    both = smooth_episode()
    with pytest.raises(ValueError, match="two views"):
        attack(replace(both, views={"external": both.views["external"]}), name, 1.0)
